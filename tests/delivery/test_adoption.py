"""What a process leaves in the spool when it ends before its time, and who delivers it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from otel_audit import UndeliveredError
from otel_audit.delivery import spooled
from tests.delivery.processes import (
    NOTHING_LEFT,
    WAIT_S,
    append_all,
    die,
    end_of,
    ended_well,
    held_until_left,
    in_fork,
    killed,
    left_in,
    named,
    open_log,
)
from tests.delivery.scripted_peer import Peer, Reply, Seen, until


@pytest.fixture(params=["process", "disk"])
def durability(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture(autouse=True)
def _looking_round_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spooled, "_LOOK_ROUND_S", 0.02)


def of_service(peer: Peer, service: str) -> list[str]:
    return [name for seen in peer.accepted if seen.service == service for name in seen.ids]


def test_what_a_killed_process_had_taken_the_next_one_delivers(peer: Peer, durability: str, spool: Path) -> None:
    """Under its own Resource, stream and numbers, each once; and the collector is told where that stream ends."""

    def first_life() -> None:
        append_all(open_log(peer.url, "first", durability=durability, spool_dir=str(spool), batch_delay_s=3600), names)

    names = named("first", 5)
    killed(first_life)
    assert peer.seen == []
    with open_log(peer.url, "second", durability=durability, spool_dir=str(spool)) as log:
        append_all(log, ["second"])
        until(lambda: len(peer.told) == 1)
    assert Counter(peer.delivered) == Counter([*names, "second"])
    assert (of_service(peer, "first"), of_service(peer, "second")) == (names, ["second"])
    (its_stream,) = [stream for stream, numbers in peer.streams.items() if numbers == [1, 2, 3, 4, 5]]
    assert peer.told[0] == (its_stream, "recovered", 5)
    assert peer.told[1][1:] == ("closed", 1)
    assert [seen.service for seen in peer.seen if seen.is_marker] == ["first", "second"]
    assert left_in(spool) == NOTHING_LEFT


def test_only_what_was_not_delivered_yet_is_delivered_by_the_next(peer: Peer, durability: str, spool: Path) -> None:
    def first_life() -> None:
        log = open_log(peer.url, durability=durability, spool_dir=str(spool), batch_max_records=2, retry_initial_s=3600)
        append_all(log, names)
        until(lambda: log.stats.trouble)

    names = named("first", 6)
    answers = iter([Reply(), Reply(), Reply(503)])
    peer.otherwise = lambda seen: next(answers)
    killed(first_life)
    peer.otherwise = lambda seen: Reply()
    with open_log(peer.url, durability=durability, spool_dir=str(spool)) as log:
        append_all(log, ["second"])
        until(lambda: len(peer.told) == 1)
    assert Counter(peer.delivered) == Counter([*names, "second"])


def test_generations_that_all_find_the_collector_away_lose_nothing(peer: Peer, durability: str, spool: Path) -> None:
    """Each takes the streams over that the ones before have left, and leaves them in turn, its own among them."""
    peer.otherwise = lambda seen: Reply(503)

    def life(name: str) -> None:
        log = open_log(peer.url, name, durability=durability, spool_dir=str(spool))
        append_all(log, named(name, 3))
        until(lambda: log.stats.trouble)

    lives = named("life", 4)
    for name in lives:
        killed(lambda name=name: life(name))  # type: ignore[misc]
    peer.otherwise = lambda seen: Reply()
    with open_log(peer.url, "last", durability=durability, spool_dir=str(spool)) as log:
        append_all(log, ["last"])
        until(lambda: len(peer.told) == len(lives))
    assert Counter(peer.delivered) == Counter(["last", *(each for name in lives for each in named(name, 3))])
    for name in lives:
        assert of_service(peer, name) == named(name, 3)
    assert sorted(peer.streams.values()) == [[1], *[[1, 2, 3]] * 4]
    assert left_in(spool) == NOTHING_LEFT


@pytest.mark.parametrize("is_under_way", [False, True], ids=["not tried yet", "under way"])
def test_a_stream_that_was_closed_with_the_collector_away_ends_as_closed(
    peer: Peer, durability: str, spool: Path, is_under_way: bool
) -> None:
    tried: list[Seen] = []
    peer.otherwise = lambda seen: (tried.append(seen), Reply(503))[1]
    log = open_log(peer.url, "first", durability=durability, spool_dir=str(spool), exit_flush_s=0.2)
    append_all(log, named("first", 3))
    until(lambda: tried or not is_under_way)
    with pytest.raises(UndeliveredError) as caught:
        log.close()
    assert (caught.value.count, caught.value.kept) == (3, True)
    assert str(spool) in str(caught.value)
    peer.otherwise = lambda seen: Reply()
    with open_log(peer.url, "second", durability=durability, spool_dir=str(spool)) as log:
        append_all(log, ["second"])
        until(lambda: len(peer.told) == 1)
        assert [state for _, state, _ in peer.told] == ["closed"]
    assert Counter(peer.delivered) == Counter([*named("first", 3), "second"])
    assert left_in(spool) == NOTHING_LEFT


def test_records_for_another_collector_are_left_to_a_process_that_sends_there(
    peer: Peer, durability: str, spool: Path
) -> None:
    other = Peer()
    try:
        killed(
            lambda: append_all(
                open_log(other.url, durability=durability, spool_dir=str(spool), batch_delay_s=3600), ["theirs"]
            )
        )
        for here, name in ((peer, "ours"), (other, "late")):
            with open_log(here.url, durability=durability, spool_dir=str(spool)) as log:
                append_all(log, [name])
                log.flush(WAIT_S)
                until(lambda here=here: here is peer or here.told)  # type: ignore[misc]
        assert peer.delivered == ["ours"]
        assert Counter(other.delivered) == Counter(["theirs", "late"])
    finally:
        other.stop()


# --- who may take over, and when ---


def test_a_living_process_keeps_its_stream_to_itself(peer: Peer, durability: str, spool: Path) -> None:
    """However long it says nothing: another log on the same spool, in this process or in another, leaves it alone."""
    first = open_log(peer.url, durability=durability, spool_dir=str(spool), batch_delay_s=3600)
    append_all(first, ["first"])

    def other(name: str) -> None:
        with open_log(peer.url, durability=durability, spool_dir=str(spool)) as log:
            append_all(log, [name])
            log.flush(WAIT_S)

    other("beside")
    assert ended_well(in_fork(lambda: other("child")))
    assert Counter(peer.delivered) == Counter(["beside", "child"])
    first.close()
    assert Counter(peer.delivered) == Counter(["beside", "child", "first"])
    assert {state for _, state, _ in peer.told} == {"closed"}


def test_a_stream_can_be_taken_over_while_a_fork_of_its_dead_process_lives(
    peer: Peer, durability: str, spool: Path
) -> None:
    """What the child inherited of its parent's stream holds nobody up."""
    with held_until_left() as (wait, let_go):

        def parent() -> None:
            log = open_log(peer.url, "parent", durability=durability, spool_dir=str(spool), batch_delay_s=3600)
            append_all(log, ["parent"])
            if os.fork() == 0:
                wait()
                append_all(log, ["child"])
                log.close()
                os._exit(0)

        killed(parent)
        with open_log(peer.url, "second", durability=durability, spool_dir=str(spool)) as log:
            append_all(log, ["second"])
            until(lambda: [state for _, state, _ in peer.told] == ["recovered"])
            log.flush(WAIT_S)
            assert Counter(peer.delivered) == Counter(["parent", "second"])
            let_go()
            until(lambda: "child" in peer.delivered)
    until(lambda: left_in(spool) == NOTHING_LEFT)
    assert Counter(peer.delivered) == Counter(["parent", "second", "child"])


def test_a_program_that_a_dead_process_had_started_holds_nothing_up(peer: Peer, durability: str, spool: Path) -> None:
    """Not even one that was given every open file it could be given."""
    ours, theirs = os.pipe()

    def parent() -> None:
        append_all(open_log(peer.url, durability=durability, spool_dir=str(spool), batch_delay_s=3600), ["parent"])
        os.set_inheritable(ours, True)
        program = "import sys; sys.stdin.read()"
        subprocess.Popen([sys.executable, "-S", "-c", program], stdin=ours, close_fds=False)

    killed(parent)
    os.close(ours)
    with open_log(peer.url, durability=durability, spool_dir=str(spool)) as log:
        append_all(log, ["second"])
        until(lambda: len(peer.told) == 1)
        os.write(theirs, b"x")  # it lives: a pipe without a reader would raise
    os.close(theirs)
    assert Counter(peer.delivered) == Counter(["parent", "second"])


def test_a_worker_that_is_killed_is_made_up_for_by_those_who_live(peer: Peer, durability: str, spool: Path) -> None:
    """As a prefork server does: the master opens the log, the workers append, one dies, its siblings or the master
    deliver what it had."""
    log = open_log(peer.url, durability=durability, spool_dir=str(spool), batch_delay_s=3600)

    def worker(number: int) -> None:
        append_all(log, named(f"worker-{number}", 5))
        if number == 0:
            die()
        log.close()

    workers = [in_fork(lambda number=number: worker(number)) for number in range(4)]  # type: ignore[misc]
    assert sorted(end_of(pid) for pid in workers) == [-9, 0, 0, 0]
    append_all(log, ["master"])
    until(lambda: len(left_in(spool)["streams"]) == 1)
    log.close()
    assert Counter(peer.once_each) == Counter(["master", *(name for n in range(4) for name in named(f"worker-{n}", 5))])
    assert Counter(state for _, state, _ in set(peer.told)) == {"closed": 4, "recovered": 1}
    assert left_in(spool) == NOTHING_LEFT


def test_workers_that_end_without_exit_handlers_leave_their_records_to_the_others(
    peer: Peer, durability: str, spool: Path
) -> None:
    """As Celery's workers do: os.fork and os._exit, many of them, each for a few records.

    One may end while it delivers what another one left, and before it could note that: then that comes again.
    """
    log = open_log(peer.url, durability=durability, spool_dir=str(spool), batch_delay_s=3600)
    workers = [
        in_fork(lambda number=number: append_all(log, named(f"task-{number}", 2)))  # type: ignore[misc]
        for number in range(8)
    ]
    assert [end_of(pid) for pid in workers] == [0] * 8
    append_all(log, ["parent"])
    until(lambda: len(left_in(spool)["streams"]) == 1)
    log.close()
    assert Counter(peer.once_each) == Counter(["parent", *(name for n in range(8) for name in named(f"task-{n}", 2))])


def test_a_daemon_keeps_what_was_appended_before_and_after_it_became_one(
    peer: Peer, durability: str, spool: Path
) -> None:
    """Two forks, parent and child gone without exit handlers, another folder, and every open file closed."""

    def program() -> None:
        log = open_log(peer.url, durability=durability, spool_dir=str(spool), batch_delay_s=3600)
        append_all(log, ["before"])
        if os.fork():
            os._exit(0)
        os.setsid()
        if os.fork():
            os._exit(0)
        os.chdir("/")
        os.closerange(3, 256)
        append_all(log, ["after"])
        until(lambda: len(left_in(spool)["streams"]) == 1)
        log.close()

    assert ended_well(in_fork(program))
    until(lambda: len(peer.told) == 2)
    assert Counter(peer.delivered) == Counter(["before", "after"])
    assert {state for _, state, _ in peer.told} == {"closed", "recovered"}
    until(lambda: left_in(spool) == NOTHING_LEFT)


def test_many_processes_on_one_spool_share_what_was_left_and_double_nothing(
    peer: Peer, durability: str, spool: Path
) -> None:
    settings = {"durability": durability, "spool_dir": str(spool)}
    peer.otherwise = lambda seen: Reply(503)
    for number in range(6):
        killed(
            lambda number=number: append_all(  # type: ignore[misc]
                open_log(peer.url, f"dead-{number}", batch_delay_s=3600, **settings), named(f"dead-{number}", 10)
            )
        )

    def living(number: int) -> None:
        with open_log(peer.url, f"living-{number}", batch_max_records=7, **settings) as log:
            for name in named(f"living-{number}", 20):
                append_all(log, [name])
                log.flush(WAIT_S)

    left = set(left_in(spool)["streams"])
    assert len(left) == 6
    peer.otherwise = lambda seen: Reply()
    pids = [in_fork(lambda number=number: living(number)) for number in range(4)]  # type: ignore[misc]
    assert [end_of(pid) for pid in pids] == [0] * 4
    with open_log(peer.url, "last", **settings) as log:
        append_all(log, ["last"])
        until(lambda: len(left_in(spool)["streams"]) == 1)
    assert {stream for stream, state, _ in peer.told if state == "recovered"} == left
    dead = [name for n in range(6) for name in named(f"dead-{n}", 10)]
    living_ones = [name for n in range(4) for name in named(f"living-{n}", 20)]
    assert Counter(peer.once_each) == Counter(["last", *dead, *living_ones])
    for numbers in peer.streams.values():
        assert list(dict.fromkeys(numbers)) == list(range(1, max(numbers) + 1))
    assert left_in(spool) == NOTHING_LEFT
