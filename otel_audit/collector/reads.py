"""Hands reads on to the process that answers them: so many at once, and never more of an answer than the client takes.

- A read waits for its turn, in order; where too many wait, and where it waits too long, it is answered 503 with
  Retry-After. Its turn lasts until the answer begins: a slow client keeps nobody else waiting.
- An answer passes in small pieces, the next one when the client has taken the one before.
- A client that leaves ends its read: the connection closes, which the process notices.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Coroutine
from typing import Any

from otel_audit.collector.answers import Receive, Scope, Send
from otel_audit.collector.read_process import ReadProcess
from otel_audit.config import Settings
from otel_audit.errors import MalformedRequestError, OtelAuditError, OverloadedError, ReaderUnavailableError
from otel_audit.model.problem_json import PROBLEM_MEDIA_TYPE, problem_from_error

__all__ = ["Reads"]

_PIECE_BYTES = 64 << 10
_START_S = 20.0
_GRACE_S = 5.0
_POLL_S = 0.05
_WHY = "the process that answers reads ended; it is started again"
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_HOP = frozenset({b"connection", b"transfer-encoding", b"keep-alive", b"date", b"server"})


class Reads:
    """An ASGI application for /v1/audit, for one event loop."""

    def __init__(self, process: ReadProcess, settings: Settings) -> None:
        self._process = process
        self._time_s: float = settings.read_time_limit_s
        self._wait_s: float = settings.read_wait_s
        self._most: int = settings.reads_at_once + settings.reads_waiting
        self._turns = asyncio.Semaphore(settings.reads_at_once)
        self._present = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; raises ConnectionError when the answer ends early, so that the server cuts it off."""
        if self._present >= self._most:
            await _refuse(OverloadedError("as many reads as there is room for are waiting"), scope, send)
            return
        self._present += 1
        try:
            await _unless(receive, self._answer(scope, send))
        finally:
            self._present -= 1

    async def _answer(self, scope: Scope, send: Send) -> None:
        writer: StreamWriter | None = None
        try:
            try:
                async with self._turn():
                    reader, writer = await self._connected()
                    writer.write(_request(scope))
                    async with asyncio.timeout(self._time_s + _GRACE_S):
                        status, headers, length = await _head(reader)
            except OtelAuditError as error:
                await _refuse(error, scope, send)
                return
            except (OSError, EOFError, ValueError) as error:  # a time-out is an OSError
                await _refuse(ReaderUnavailableError(_WHY if str(error) else "the read took too long"), scope, send)
                return
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await _pass_on(reader, 0 if scope["method"] == "HEAD" else length, send)
        finally:
            if writer is not None:
                writer.transport.abort()

    @contextlib.asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._wait_s):
                await self._turns.acquire()
        except TimeoutError:
            raise OverloadedError(f"other reads took more than {self._wait_s:g} s") from None
        try:
            yield
        finally:
            self._turns.release()

    async def _connected(self) -> tuple[StreamReader, StreamWriter]:
        """Raises ReaderUnavailableError, or OSError when the process has just ended."""
        waited = 0.0
        while (path := self._process.path) is None:
            if waited >= _START_S:
                raise ReaderUnavailableError("the process that answers reads is not running; it is started again")
            await asyncio.sleep(_POLL_S)
            waited += _POLL_S
        return await asyncio.open_unix_connection(path, limit=_PIECE_BYTES)


async def _unless(receive: Receive, answering: Coroutine[Any, Any, None]) -> None:
    """Do it, unless the client goes away meanwhile."""
    task = asyncio.ensure_future(answering)
    watch = asyncio.ensure_future(_gone(receive))
    try:
        await asyncio.wait({task, watch}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
    finally:
        for one in (task, watch):
            one.cancel()
        await asyncio.gather(task, watch, return_exceptions=True)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _request(scope: Scope) -> bytes:
    """The request's line alone: no header has a meaning for a read, and credentials are for who stands before us."""
    if scope["method"] not in _METHODS:
        raise MalformedRequestError("no such method")
    raw: bytes = scope["raw_path"]
    query: bytes = scope["query_string"]
    target = raw + b"?" + query if query else raw
    method: bytes = scope["method"].encode()
    return method + b" " + target + b" HTTP/1.1\r\nhost: reads\r\nconnection: close\r\n\r\n"


async def _head(reader: StreamReader) -> tuple[int, list[tuple[bytes, bytes]], int]:
    """Status, headers and length of an answer of our own server, which always tells the length."""
    lines = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")[:-2]
    pairs = [(name.lower(), value.strip()) for name, _, value in (line.partition(b":") for line in lines[1:])]
    length = int(dict(pairs)[b"content-length"])
    return int(lines[0].split()[1]), [pair for pair in pairs if pair[0] not in _HOP], length


async def _pass_on(reader: StreamReader, left: int, send: Send) -> None:
    while left:
        piece = await reader.read(min(left, _PIECE_BYTES))
        if not piece:
            raise ConnectionError("the process that answers reads ended within an answer")
        left -= len(piece)
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _refuse(error: OtelAuditError, scope: Scope, send: Send) -> None:
    """As the routes refuse: a problem, with `Retry-After` where a repeat may help."""
    problem = problem_from_error(error)
    body = json.dumps(problem).encode()
    headers = [
        (b"content-type", PROBLEM_MEDIA_TYPE.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
    ]
    if error.retryable:
        headers.append((b"retry-after", b"1"))
    await send({"type": "http.response.start", "status": problem["status"], "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body, "more_body": False})
