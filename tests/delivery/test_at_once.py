"""Appends from everywhere at once: threads, tasks, signal handlers within appends, and several logs on one spool."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections import Counter
from pathlib import Path

import pytest

from otel_audit import OTelActivityLogRepo
from tests.delivery.processes import (
    NOTHING_LEFT,
    WAIT_S,
    append_all,
    ended_well,
    in_fork,
    left_in,
    named,
    open_log,
    record,
)
from tests.delivery.scripted_peer import Peer, until

SIGNALS = 100


@pytest.fixture(params=["memory", "process", "disk"])
def durability(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_threads_and_tasks_share_one_log(peer: Peer, durability: str) -> None:
    """Every record once, and the numbers of the stream in the order of the requests, without a gap."""
    log = open_log(peer.url, durability=durability, batch_max_records=50)
    names = {at: named(f"thread-{at}", 60) for at in range(6)}
    threads = [threading.Thread(target=append_all, args=(log, mine)) for mine in names.values()]

    async def tasks() -> None:
        await asyncio.gather(*(log.aappend(record(f"task-{at}")) for at in range(60)))
        await log.aflush(WAIT_S)

    for thread in threads:
        thread.start()
    asyncio.run(tasks())
    for thread in threads:
        thread.join()
    log.close()
    assert Counter(peer.delivered) == Counter([*named("task", 60), *(name for mine in names.values() for name in mine)])
    assert list(peer.streams.values()) == [list(range(1, 421))]
    in_order = [name for name in peer.delivered if name in set(names[0])]
    assert in_order == names[0]


def test_a_task_that_is_cancelled_in_the_middle_gives_its_room_back(peer: Peer, durability: str) -> None:
    """Whether it was stored or not: nothing waits for it, and closing does not."""
    log = open_log(peer.url, durability=durability)

    async def scenario() -> None:
        tasks = [asyncio.create_task(log.aappend(record(f"task-{at}"))) for at in range(200)]
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await log.aappend(record("after"))
        await log.aflush(WAIT_S)
        await log.aclose()

    asyncio.run(scenario())
    assert log.stats.waiting_bytes == 0
    assert len(set(peer.delivered)) == len(peer.delivered)
    assert "after" in peer.delivered
    assert [state for _, state, _ in peer.told] == ["closed"]


def test_a_signal_handler_may_append_in_the_middle_of_an_append(peer: Peer, durability: str, tmp_path: Path) -> None:
    """One SIGTERM after the other, while the main thread and others append: nothing hangs, and all is delivered."""
    said = tmp_path / "said"
    from_child, to_parent = os.pipe()

    def program() -> None:
        os.close(from_child)
        log = open_log(peer.url, durability=durability, spool_dir=str(tmp_path / "spool"))
        returned: list[str] = []
        signals = iter(range(SIGNALS))
        done = threading.Event()

        def append(name: str) -> None:
            log.append(record(name))
            returned.append(name)

        def on_signal(number: int, frame: object) -> None:
            at = next(signals)
            if at == SIGNALS - 1:
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                done.set()
            append(f"signal-{at}")

        def go_on(who: str) -> None:
            at = 0
            while not done.is_set():
                if who == "main":
                    os.write(to_parent, b"x")  # the signal comes in one of the next appends
                append(f"{who}-{at}")
                at += 1

        signal.signal(signal.SIGTERM, on_signal)
        threads = [threading.Thread(target=go_on, args=(who,)) for who in ("thread-0", "thread-1")]
        for thread in threads:
            thread.start()
        go_on("main")
        for thread in threads:
            thread.join()
        log.flush(WAIT_S)
        log.close()
        said.write_text("\n".join(returned))

    pid = in_fork(program)
    os.close(to_parent)
    while os.read(from_child, 1):
        os.kill(pid, signal.SIGTERM)
    assert ended_well(pid)
    os.close(from_child)
    returned = said.read_text().splitlines()
    assert set(named("signal", SIGNALS)) < set(returned)
    assert Counter(peer.once_each) == Counter(returned)
    assert len({stream for stream in peer.streams if len(peer.streams[stream]) > 1}) == 1


def test_two_logs_of_one_process_share_a_spool(peer: Peer, tmp_path: Path) -> None:
    """Each with a stream and a sender of its own, in parent and child."""
    spool = str(tmp_path / "spool")
    logs = [open_log(peer.url, f"service-{at}", spool_dir=spool) for at in range(2)]

    def append_to_both(prefix: str) -> None:
        for at, log in enumerate(logs):
            append_all(log, named(f"{prefix}-{at}", 3))
        for log in logs:
            log.flush(WAIT_S)
            log.close()

    assert ended_well(in_fork(lambda: append_to_both("child")))
    append_to_both("parent")
    expected = [name for who in ("child", "parent") for at in range(2) for name in named(f"{who}-{at}", 3)]
    assert Counter(peer.delivered) == Counter(expected)
    assert sorted(peer.streams.values()) == [[1, 2, 3]] * 4
    for at in range(2):
        of_service = [name for seen in peer.posts if seen.service == f"service-{at}" for name in seen.ids]
        assert Counter(of_service) == Counter([*named(f"child-{at}", 3), *named(f"parent-{at}", 3)])
    assert left_in(Path(spool)) == NOTHING_LEFT


def test_a_spool_on_a_relative_path_stays_where_it_was_opened(
    peer: Peer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    log: OTelActivityLogRepo = open_log(peer.url, spool_dir="spool", batch_delay_s=3600)
    append_all(log, ["before"])
    monkeypatch.chdir(tmp_path / "elsewhere")
    append_all(log, ["after"])
    assert ended_well(in_fork(lambda: append_all(log, ["child"])))
    until(lambda: len(left_in(tmp_path / "spool")["streams"]) == 2)
    log.close()
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert peer.delivered[:2] == ["before", "after"]
