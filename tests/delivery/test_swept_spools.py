"""Whatever sweeps old files away takes a lock, a folder or the whole spool from under a living process."""

from __future__ import annotations

import os
import shutil
import threading
from collections import Counter
from pathlib import Path

import pytest

from otel_audit import UndeliveredError
from otel_audit.delivery import making, spooled
from tests.delivery.processes import NOTHING_LEFT, WAIT_S, append_all, in_fork, left_in, named, open_log, record
from tests.delivery.scripted_peer import Peer, Reply, until


@pytest.fixture(params=["process", "disk"])
def durability(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture(autouse=True)
def _looking_round_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spooled, "_LOOK_ROUND_S", 0.02)


def swept(spool: Path) -> int:
    """Every lock there is, removed; how many."""
    owners = list((spool / "streams").glob("*/owner"))
    for owner in owners:
        owner.unlink(missing_ok=True)
    return len(owners)


def test_a_lock_that_is_removed_under_a_living_process_costs_no_record(
    peer: Peer, durability: str, spool: Path
) -> None:
    """Siblings look for streams to take over all the while."""
    settings = {"durability": durability, "spool_dir": str(spool)}
    ours, theirs = os.pipe()

    def sibling() -> None:
        log = open_log(peer.url, "sibling", **settings)
        append_all(log, [f"sibling-{os.getpid()}"])
        os.close(theirs)
        os.read(ours, 1)  # until the test has ended
        log.close()

    log = open_log(peer.url, "living", batch_delay_s=3600, **settings)
    append_all(log, ["first"])
    pids = [in_fork(sibling) for _ in range(2)]
    until(lambda: len(peer.delivered) >= 2)
    names = named("living", 150)
    receipts = []
    for at, name in enumerate(names):
        receipts.append(log.append(record(name)))
        if at % 50 == 25:
            assert swept(spool)
    log.flush(WAIT_S)
    assert set(peer.delivered) >= {"first", *names}
    assert [receipt.wait(WAIT_S).stream_number for receipt in receipts] == list(range(2, 152))
    log.close()
    os.close(theirs)
    for pid in pids:
        assert os.waitpid(pid, 0)[1] == 0
    os.close(ours)
    until(lambda: left_in(spool) == NOTHING_LEFT)
    repeats = Counter(peer.delivered) - Counter(set(peer.delivered))
    assert not repeats
    assert Counter(last for _, state, last in set(peer.told) if state == "closed")[1] >= 2
    for numbers in peer.streams.values():
        assert numbers == list(range(1, len(numbers) + 1))


def test_a_stream_whose_lock_is_gone_is_read_to_its_end(peer: Peer, durability: str, spool: Path) -> None:
    log = open_log(peer.url, durability=durability, spool_dir=str(spool), batch_delay_s=3600)
    append_all(log, ["before"])
    assert swept(spool) == 1
    log.flush(WAIT_S)
    append_all(log, ["after"])
    log.close()
    assert peer.delivered == ["before", "after"]
    assert sorted(peer.told) == sorted((stream, "closed", 1) for stream in peer.streams)
    assert left_in(spool) == NOTHING_LEFT


@pytest.mark.parametrize("what", ["", "streams"])
def test_a_spool_that_is_removed_under_a_living_process_is_made_anew_and_that_is_said(
    peer: Peer, durability: str, spool: Path, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was in it is gone, and a flush says so; what comes after is not harmed."""
    said: list[str] = []
    monkeypatch.setattr(making, "report", lambda level, event, **values: said.append(event))
    log = open_log(peer.url, durability=durability, spool_dir=str(spool), batch_delay_s=3600)
    append_all(log, ["before"])
    shutil.rmtree(spool / what)
    append_all(log, ["after"])
    with pytest.raises(UndeliveredError) as caught:
        log.flush(WAIT_S)
    assert caught.value.count == 1
    assert peer.delivered == ["after"]
    assert set(said) == {"somebody has removed the spool or a part of it; it is made anew"}
    log.take_refused()
    append_all(log, ["later"])
    log.flush(WAIT_S)
    assert peer.delivered == ["after", "later"]
    log.close()
    assert left_in(spool) == NOTHING_LEFT


@pytest.mark.parametrize("pool", ["parked", "sent", "aside"])
def test_a_pool_that_is_removed_under_a_living_process_stops_nothing(
    peer: Peer, durability: str, spool: Path, pool: str
) -> None:
    log = open_log(peer.url, durability=durability, spool_dir=str(spool), batch_delay_s=3600)
    append_all(log, ["before"])
    shutil.rmtree(spool / pool)
    peer.script = [Reply(400)]
    with pytest.raises(UndeliveredError, match="refused"):
        log.flush(WAIT_S)
    assert [len(refusal.records) for refusal in log.refusals] == [1]
    log.retry_refused()
    append_all(log, ["after"])
    log.flush(WAIT_S)
    assert Counter(peer.delivered) == Counter(["before", "after"])
    log.close()


def test_what_cannot_be_sent_for_want_of_a_thread_is_taken_and_left_to_the_next_process(
    peer: Peer, durability: str, spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As while the interpreter shuts down, or where a limit on threads is reached."""

    def start(self: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    log = open_log(peer.url, durability=durability, spool_dir=str(spool))
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        append_all(log, ["first", "second"])
        with pytest.raises(UndeliveredError) as caught:
            log.close()
    assert (caught.value.count, caught.value.kept) == (2, True)
    with open_log(peer.url, durability=durability, spool_dir=str(spool)) as log:
        append_all(log, ["next"])
        until(lambda: len(peer.told) == 1)
    assert Counter(peer.delivered) == Counter(["first", "second", "next"])
    assert {state for _, state, _ in peer.told} == {"closed"}


def test_a_thread_that_could_not_be_started_is_started_with_a_later_append(
    peer: Peer, durability: str, spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    log = open_log(peer.url, durability=durability, spool_dir=str(spool))
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        append_all(log, ["first"])
    append_all(log, ["second"])
    log.flush(WAIT_S)
    assert peer.delivered == ["first", "second"]
    log.close()
