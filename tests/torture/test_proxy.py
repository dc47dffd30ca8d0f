"""The chaos proxy does to a request what its fate says, and the tape replays what was acknowledged and nothing else."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

import pytest

from otel_audit.otlp.names import LOG_HEADER
from tests.torture import proxy
from tests.torture.fates import REFUSALS, Fate, Weather
from tests.torture.http1 import Message, answer, exchange, length_of, read_head
from tests.torture.proxy import ChaosProxy
from tests.torture.replays import Tape

BODY = b"\x0a\x0faudit.record.id\x12\x26\x0a\x24" + b"0" * 35 + b"7" + b"\x0a\x0caudit.action\x12\x06\x0a\x04edit"
HEAD = b"POST /v1/logs HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: %d\r\n\r\n" % len(BODY)
REQUEST = Message(HEAD, BODY)
SUCCESS = answer(200, "OK", (LOG_HEADER, "a" * 16))


class Fixed(Weather):
    """Every request meets the same fate."""

    def __init__(self, fate: Fate) -> None:
        self._fate = fate

    def draw(self) -> Fate:
        return self._fate


class Upstream:
    """Stands where the collector stands. `bodies`: of the requests that came whole; `broken`: how many did not."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.broken = 0
        self._ended: list[asyncio.Event] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ended = asyncio.Event()
        self._ended.append(ended)
        try:
            while (head := await read_head(reader)) is not None:
                self.bodies.append(await reader.readexactly(length_of(head)))
                writer.write(SUCCESS.raw)
        except (asyncio.IncompleteReadError, ConnectionError):
            self.broken += 1
        finally:
            writer.close()
            ended.set()

    async def at_rest(self) -> None:
        for ended in self._ended:
            await ended.wait()


def through(fate: Fate, act: Callable[[ChaosProxy], Awaitable[None]]) -> tuple[Upstream, list[bytes]]:
    """Start both, act, stop both; what arrived and what was captured."""
    upstream, captured = Upstream(), []

    async def run() -> None:
        server = await asyncio.start_server(upstream.serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        chaos = ChaosProxy(port, random.Random(3), Fixed(fate), lambda request: captured.append(request.body))
        await chaos.start()
        await act(chaos)
        await chaos.stop()
        await upstream.at_rest()
        server.close()

    asyncio.run(run())
    return upstream, captured


@pytest.mark.parametrize("fate", Fate)
def test_a_fate_is_what_it_says(fate: Fate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxy, "_LATE_S", (0.0, 0.0))
    seen: list[int | str] = []

    async def act(chaos: ChaosProxy) -> None:
        try:
            seen.append((await exchange(chaos.port, REQUEST)).status)
        except (OSError, EOFError):
            seen.append("nothing")

    upstream, captured = through(fate, act)
    arrived = {Fate.TWICE: 2, Fate.LIE: 0, Fate.CUT: 0} | dict.fromkeys(REFUSALS, 0)
    answered: dict[Fate, int | str] = {Fate.ANSWER_REPLACED: 502}
    for other in Fate:
        if other in REFUSALS and other is not Fate.RESET:
            answered[other] = int(other.value.split()[1])
        elif other in (Fate.RESET, Fate.CUT, Fate.ANSWER_LOST, Fate.ANSWER_CUT):
            answered[other] = "nothing"
    assert upstream.bodies == [BODY] * arrived.get(fate, 1)
    assert upstream.broken <= (fate is Fate.CUT)
    assert captured == upstream.bodies
    assert seen == [answered.get(fate, 200)]


def test_where_no_collector_answers_the_client_hears_502_and_nothing_is_captured() -> None:
    captured: list[Message] = []

    async def run() -> int:
        chaos = ChaosProxy(9, random.Random(3), Fixed(Fate.PASS), captured.append)
        await chaos.start()
        reply = await exchange(chaos.port, REQUEST)
        await chaos.stop()
        return reply.status

    assert asyncio.run(run()) == 502
    assert captured == []


def test_a_connection_carries_one_request_after_the_other() -> None:
    seen = []

    async def act(chaos: ChaosProxy) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", chaos.port)
        for _ in range(3):
            writer.write(REQUEST.raw)
            seen.append((await reader.readuntil(b"\r\n\r\n")).split(b" ")[1])
        writer.close()

    upstream, _ = through(Fate.PASS, act)
    assert seen == [b"200"] * 3
    assert upstream.bodies == [BODY] * 3


@pytest.mark.parametrize(
    ("plant", "body"),
    [
        ("", None),
        ("ack-before-commit", None),
        ("replay-renamed", BODY.replace(b"07\x0a\x0c", b"00\x0a\x0c")),
        ("replay-edited", BODY.replace(b"edit", b"edi0")),
    ],
    ids=["no plant", "another plant", "renamed", "edited"],
)
def test_a_replay_is_changed_in_one_place_where_that_is_planted(plant: str, body: bytes | None) -> None:
    async def act(chaos: ChaosProxy) -> None:
        tape = Tape(random.Random(4))
        for _ in range(10):
            tape.capture(REQUEST)
        await tape.replay_changed(chaos.port, plant)  # type: ignore[arg-type]

    upstream, _ = through(Fate.PASS, act)
    assert upstream.bodies == ([] if body is None else [body])


def test_what_is_replayed_in_the_run_is_a_part_and_afterwards_it_is_all() -> None:
    counts = []

    async def act(chaos: ChaosProxy) -> None:
        tape = Tape(random.Random(4))
        for number in range(40):
            tape.capture(Message(HEAD, b"%0*d" % (len(BODY), number)))
        await tape.replay(chaos.port, 300)
        counts.append(tape.replayed)
        await tape.replay_all(chaos.port)
        counts.append(tape.replayed)

    upstream, _ = through(Fate.PASS, act)
    assert counts == [300, 340]
    assert 3 < len(set(upstream.bodies[:300])) < 25
    assert len(set(upstream.bodies[300:])) == 40
