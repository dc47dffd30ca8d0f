"""The chaos proxy: stands between the producers and the collector, and lets a request meet its fate."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

from otel_audit.otlp.names import LOG_HEADER
from tests.torture.fates import REFUSALS, Fate, Weather
from tests.torture.http1 import SOON_S, Message, answer, exchange, length_of, read_head, reset, send_part

_NO_ANSWER = (OSError, EOFError, TimeoutError)
_LATE_S = (0.5, 3.0)
_REFUSED = {
    Fate.BUSY: (503, "Service Unavailable", ()),
    Fate.BUSY_AFTER: (503, "Service Unavailable", (("retry-after", "1"),)),
    Fate.MANY: (429, "Too Many Requests", ()),
    Fate.MANY_AFTER: (429, "Too Many Requests", (("retry-after", "0"),)),
    Fate.BAD_GATEWAY: (502, "Bad Gateway", ()),
    Fate.GATEWAY_TIMEOUT: (504, "Gateway Timeout", ()),
}


class _Cut(Exception):
    """The client's connection ends here; what it was to see before is written."""


class ChaosProxy:
    """Serves on `port` once started, in the running event loop.

    Args:
        capture: gets every export request that the collector has acknowledged, once for each time it did.

    Attributes:
        met: how many requests met which fate.
        collector_away: requests that found no collector to answer.
    """

    def __init__(
        self, collector_port: int, rng: random.Random, weather: Weather, capture: Callable[[Message], None]
    ) -> None:
        self._collector_port, self._rng, self._weather, self._capture = collector_port, rng, weather, capture
        self.met: Counter[Fate] = Counter()
        self.collector_away = 0
        self._last_success = answer(200, "OK", ("content-type", "application/x-protobuf"))
        self._connections: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self.port = 0

    async def start(self) -> None:
        """Begin to serve on a free port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """End, with all connections, if it was started."""
        if self._server is None:
            return
        self._server.close()
        for writer in tuple(self._connections):
            reset(writer)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(writer)
        try:
            with suppress(_Cut, *_NO_ANSWER):
                while (head := await read_head(reader)) is not None:
                    fate = self._weather.draw() if head.startswith(b"POST") else Fate.PASS
                    self.met[fate] += 1
                    reply = await self._meet(fate, head, reader, writer)
                    async with asyncio.timeout(SOON_S):
                        writer.write(reply.raw)
                        await writer.drain()
        finally:
            self._connections.discard(writer)
            writer.close()

    async def _meet(
        self, fate: Fate, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> Message:
        length = length_of(head)
        if fate is Fate.RESET:
            await reader.readexactly(self._rng.randint(0, length))
            reset(writer)
            raise _Cut
        request = Message(head, await reader.readexactly(length))
        if fate in REFUSALS:
            status, reason, headers = _REFUSED[fate]
            return answer(status, reason, *headers, body=b"not now")
        match fate:
            case Fate.LIE:
                return self._last_success
            case Fate.SLOW:
                await asyncio.sleep(self._rng.uniform(*_LATE_S))
            case Fate.CUT:
                with suppress(*_NO_ANSWER):
                    await send_part(self._collector_port, request, self._rng.randint(0, len(request.raw) - 1))
                reset(writer)
                raise _Cut
            case Fate.TWICE:
                both = await asyncio.gather(self._ask(request), self._ask(request))
                return self._rng.choice(both)
        reply = await self._ask(request)
        return await self._spoil(fate, reply, writer)

    async def _spoil(self, fate: Fate, reply: Message, writer: asyncio.StreamWriter) -> Message:
        """What the client gets of an answer that the collector has given."""
        match fate:
            case Fate.ANSWER_LOST:
                reset(writer)
                raise _Cut
            case Fate.ANSWER_CUT:
                writer.write(reply.raw[: self._rng.randint(0, len(reply.raw) - 1)])
                await writer.drain()
                raise _Cut
            case Fate.ANSWER_LATE:
                await asyncio.sleep(self._rng.uniform(*_LATE_S))
            case Fate.ANSWER_REPLACED:
                return answer(502, "Bad Gateway", body=b"upstream went away")
        return reply

    async def _ask(self, request: Message) -> Message:
        try:
            reply = await exchange(self._collector_port, request)
        except _NO_ANSWER:
            self.collector_away += 1
            return answer(502, "Bad Gateway", body=b"no collector")
        if reply.status == 200 and request.method == b"POST" and reply.header(LOG_HEADER.encode()):
            self._last_success = reply
            self._capture(request)
        return reply
