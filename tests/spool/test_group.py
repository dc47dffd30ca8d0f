"""Group commit: all of a group or none of it, numbers without a gap, and nobody waits for ever, whatever interrupts."""

from __future__ import annotations

import gc
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from otel_audit.errors import SpoolUnwritableError, UnwritableError
from otel_audit.spool import group as group_module
from otel_audit.spool.group import GroupCommit
from otel_audit.spool.places import segments
from tests.spool.interrupts import Caller, Interrupt, interrupting, until
from tests.spool.plain import new_spool, own_stream, records_in


class Numbers:
    """The least that can be written to. `before` is called at the start of each write, and may fail it."""

    def __init__(self) -> None:
        self.last = 0
        self.items: list[bytes] = []
        self.groups: list[list[bytes]] = []
        self.before: Callable[[], object] = lambda: None

    def write(self, items: Sequence[bytes]) -> int:
        first = self.last + 1
        self.groups.append(list(items))
        self.before()
        self.items += items
        self.last += len(items)
        return first


class Gate:
    """Holds up the writes of a stream until it is opened."""

    def __init__(self, numbers: Numbers) -> None:
        self._entered, self._open = threading.Event(), threading.Event()
        numbers.before = self._wait

    def _wait(self) -> None:
        self._entered.set()
        assert self._open.wait(10)

    def await_write(self) -> None:
        assert self._entered.wait(10)

    def open(self) -> None:
        self._open.set()


@pytest.fixture
def numbers() -> Numbers:
    return Numbers()


@pytest.fixture
def commit(numbers: Numbers) -> GroupCommit:
    return GroupCommit(numbers)


def waiting(commit: GroupCommit) -> int:
    """How many items wait for the write that comes next."""
    return 0 if (group := commit._open) is None else len(group.items)


def submitting(commit: GroupCommit, *items: bytes) -> Caller:
    """Another thread that submits, and waits for its turn."""
    before = waiting(commit)
    caller = Caller(lambda: commit.submit(items))
    until(lambda: waiting(commit) > before or not caller.is_alive())
    return caller


def test_a_lone_thread_gets_numbers_in_order(commit: GroupCommit, numbers: Numbers) -> None:
    assert [commit.submit([b"a"]), commit.submit([b"b", b"c"]), commit.submit([b"d"])] == [1, 2, 4]
    assert numbers.items == [b"a", b"b", b"c", b"d"]


def test_whoever_comes_during_a_write_shares_the_next_one(commit: GroupCommit, numbers: Numbers) -> None:
    gate = Gate(numbers)
    first = Caller(lambda: commit.submit([b"first"]))
    gate.await_write()
    others = [submitting(commit, b"%d-a" % at, b"%d-b" % at) for at in range(15)]
    gate.open()
    assert first.ended() and all(other.ended() for other in others)
    assert [other.result for other in others] == list(range(2, 32, 2))
    assert len(numbers.groups) == 2


def test_sixteen_threads_get_each_number_once_and_share_writes(commit: GroupCommit, numbers: Numbers) -> None:
    pause = threading.Event()
    numbers.before = lambda: pause.wait(0.0005)

    def append(name: int) -> list[tuple[int, bytes]]:
        found = []
        for at in range(40):
            item = b"%d-%d" % (name, at)
            found.append((commit.submit([item]), item))
        return found

    callers = [Caller(lambda name=name: append(name)) for name in range(16)]  # type: ignore[misc]
    assert all(caller.ended() for caller in callers)
    told = sorted(pair for caller in callers for pair in caller.result)
    assert told == list(enumerate(numbers.items, start=1))
    assert len(numbers.groups) < len(told) / 4


def test_a_write_that_fails_fails_all_of_its_group_and_no_other(commit: GroupCommit, numbers: Numbers) -> None:
    gate = Gate(numbers)
    first = Caller(lambda: commit.submit([b"good"]))
    gate.await_write()
    unlucky = [submitting(commit, b"bad-%d" % at) for at in range(3)]

    def fail() -> None:
        numbers.before = lambda: None
        raise UnwritableError("cannot write: no space left")

    numbers.before = fail
    gate.open()
    assert first.ended() and first.result == 1
    for caller in unlucky:
        assert caller.ended() and isinstance(caller.error, SpoolUnwritableError)
        assert "no space left" in str(caller.error)
        assert isinstance(caller.error.__cause__, UnwritableError)
    assert commit.submit([b"after"]) == 2
    assert numbers.items == [b"good", b"after"]


@pytest.mark.parametrize("error", [ValueError("odd"), MemoryError(), TimeoutError("of a signal handler")])
def test_an_error_that_is_not_the_disks_stays_with_its_thread_and_the_others_are_written(
    commit: GroupCommit, numbers: Numbers, error: Exception
) -> None:
    gate = Gate(numbers)
    first = Caller(lambda: commit.submit([b"good"]))
    gate.await_write()
    leader = submitting(commit, b"leader")
    others = [submitting(commit, b"%d" % at) for at in range(5)]

    def fail() -> None:
        numbers.before = lambda: None
        raise error

    numbers.before = fail
    gate.open()
    assert first.ended() and leader.ended() and all(other.ended() for other in others)
    assert leader.error is error
    assert sorted(other.result for other in others) == [2, 3, 4, 5, 6]
    assert sorted(numbers.items) == sorted([b"good", b"0", b"1", b"2", b"3", b"4"])


def test_others_hear_nothing_of_an_error_that_comes_when_the_write_is_done(
    commit: GroupCommit, numbers: Numbers, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(numbers)
    first = Caller(lambda: commit.submit([b"good"]))
    gate.await_write()
    leader, other = submitting(commit, b"leader"), submitting(commit, b"other")
    real = numbers.write

    def write(items: Sequence[bytes]) -> int:
        monkeypatch.setattr(numbers, "write", real)
        real(items)
        raise TimeoutError("just after it")

    gate.open()
    monkeypatch.setattr(numbers, "write", write)
    assert first.ended() and leader.ended() and other.ended()
    assert numbers.items == [b"good", b"leader", b"other"]
    assert other.result == 3


def test_a_time_limit_that_a_signal_handler_keeps_harms_its_own_thread_alone(tmp_path: Path) -> None:
    """As RQ and Celery keep theirs: the handler raises, wherever the main thread is, in a write as well."""
    commit = GroupCommit(own_stream(new_spool(tmp_path / "spool").root))
    stop = threading.Event()

    def expire(number: int, frame: object) -> None:
        raise TimeoutError("the task took too long")

    def append(name: int) -> list[bytes]:
        taken: list[bytes] = []
        while not stop.is_set():
            item = b"%d-%d" % (name, len(taken))
            commit.submit([item])
            taken.append(item)
        return taken

    before = signal.signal(signal.SIGALRM, expire)
    callers = [Caller(lambda name=name: append(name)) for name in range(6)]  # type: ignore[misc]
    struck: list[BaseException] = []
    gc.disable()
    try:
        for at in range(150):
            with suppress(TimeoutError):
                signal.setitimer(signal.ITIMER_REAL, 0.0002 + at % 20 * 0.0001)
                # Bounded, for a caught OSError may swallow the handler's exception; so would a collection of garbage.
                deadline = time.monotonic() + 1.0
                try:
                    while time.monotonic() < deadline:
                        commit.submit([b"task"])
                except BaseException as error:
                    struck.append(error)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        gc.enable()
        stop.set()
    assert {type(error) for error in struck} == {TimeoutError}
    assert all(caller.ended() for caller in callers)
    assert [caller.error for caller in callers] == [None] * 6
    (folder,) = (tmp_path / "spool" / "streams").iterdir()
    there = Counter(item.partition(b"#")[0] for _, path in segments(folder) for item in records_in(path))
    for caller in callers:
        assert all(there[item] == 1 for item in caller.result)


# --- from within ---


def test_a_finalizer_that_submits_during_a_write_is_told_so_and_does_not_wait(
    commit: GroupCommit, numbers: Numbers
) -> None:
    told: list[int] = []

    class Cycle:
        def __init__(self) -> None:
            self.me = self

        def __del__(self) -> None:
            told.append(commit.submit([b"inner"]))

    def collect() -> None:
        Cycle()
        gc.collect()

    numbers.before = collect
    assert commit.submit([b"outer"]) == 1
    assert told == [0]
    assert numbers.items == [b"outer"]
    assert commit.submit([b"next"]) == 2


@pytest.fixture
def on_signal() -> Iterator[Callable[[Callable[[], object]], None]]:
    """Sets what the main thread does at SIGUSR1."""
    before = signal.getsignal(signal.SIGUSR1)
    yield lambda action: (signal.signal(signal.SIGUSR1, lambda *_: action()), None)[1]
    signal.signal(signal.SIGUSR1, before)


OnSignal = Callable[[Callable[[], object]], None]


def test_a_signal_handler_that_submits_during_its_threads_write_does_not_wait(
    commit: GroupCommit, numbers: Numbers, on_signal: OnSignal
) -> None:
    told: list[int] = []
    on_signal(lambda: told.append(commit.submit([b"inner"])))
    numbers.before = lambda: signal.raise_signal(signal.SIGUSR1)
    assert commit.submit([b"outer"]) == 1
    assert told == [0]


def test_a_signal_handler_that_submits_while_its_thread_waits_for_another_does_not_wait(
    commit: GroupCommit, numbers: Numbers, on_signal: OnSignal
) -> None:
    """Else the thread would be chosen to lead, and be in the handler, waiting for a leader."""
    told: list[int] = []
    gate = Gate(numbers)
    leader = Caller(lambda: commit.submit([b"leader"]))
    gate.await_write()

    def handle() -> None:
        told.append(commit.submit([b"inner"]))
        gate.open()

    on_signal(handle)

    def interrupt() -> None:
        until(lambda: waiting(commit))
        signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1)  # type: ignore[arg-type]

    helper = Caller(interrupt)
    assert commit.submit([b"outer"]) == 2
    assert helper.ended() and leader.ended()
    assert told == [0]


# --- interrupted ---


def test_a_thread_that_is_interrupted_while_it_waits_leaves_and_takes_nothing(
    commit: GroupCommit, numbers: Numbers, on_signal: OnSignal
) -> None:
    gate = Gate(numbers)
    leader = Caller(lambda: commit.submit([b"leader"]))
    gate.await_write()

    def leave() -> None:
        raise Interrupt

    on_signal(leave)

    def interrupt() -> None:
        until(lambda: waiting(commit))
        signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1)  # type: ignore[arg-type]

    helper = Caller(interrupt)
    with pytest.raises(Interrupt):
        commit.submit([b"gone"])
    last = submitting(commit, b"last")
    gate.open()
    assert helper.ended() and leader.ended() and last.ended()
    assert (leader.result, last.result) == (1, 2)
    assert numbers.items == [b"leader", b"last"]


def told_the_truth(caller: Caller, item: bytes, numbers: Numbers) -> bool:
    """Whoever was told a number has it; whoever was told an error is in doubt only if it was interrupted itself."""
    if caller.error is None:
        return numbers.items[caller.result - 1] == item
    return isinstance(caller.error, Interrupt) or item not in numbers.items


def every_moment(scenario: Callable[[int], str]) -> int:
    """Run a scenario with an interrupt at each moment there is."""
    at = 0
    while scenario(at):
        at += 1
    return at


def test_a_leader_interrupted_at_any_moment_leaves_nobody_waiting() -> None:
    def scenario(at: int) -> str:
        numbers = Numbers()
        commit = GroupCommit(numbers)
        gate = Gate(numbers)
        where = ""

        def lead() -> int:
            nonlocal where
            with interrupting(at, group_module) as struck:
                try:
                    return commit.submit([b"leader"])
                finally:
                    where = struck.where

        leader = Caller(lead)
        until(lambda: numbers.groups or not leader.is_alive())
        followers = [Caller(lambda name=name: commit.submit([name])) for name in (b"one", b"two")]  # type: ignore[misc]
        gate.open()
        everybody = [(leader, b"leader"), (followers[0], b"one"), (followers[1], b"two")]
        for caller, item in everybody:
            assert caller.ended(), f"{item!r} waits for ever after {where}"
            assert told_the_truth(caller, item, numbers), f"{item!r} was told {caller.result}, {caller.error}: {where}"
        assert len(set(numbers.items)) == numbers.last, f"doubled: {numbers.items}, {where}"
        assert Caller(lambda: commit.submit([b"next"])).ended(), f"wedged by {where}"
        return where

    assert every_moment(scenario) > 15


def test_an_heir_interrupted_at_any_moment_leaves_nobody_waiting() -> None:
    """One that waits while another leads, and is to lead next with others behind it."""

    def scenario(at: int) -> str:
        numbers = Numbers()
        commit = GroupCommit(numbers)
        gate = Gate(numbers)
        where = ""
        leader = Caller(lambda: commit.submit([b"leader"]))
        gate.await_write()

        def inherit() -> int:
            nonlocal where
            with interrupting(at, group_module) as struck:
                try:
                    return commit.submit([b"heir"])
                finally:
                    where = struck.where

        heir = Caller(inherit)
        until(lambda: waiting(commit) or not heir.is_alive())
        behind = submitting(commit, b"behind")
        gate.open()
        for caller, item in ((leader, b"leader"), (heir, b"heir"), (behind, b"behind")):
            assert caller.ended(), f"{item!r} waits for ever after {where}"
            assert told_the_truth(caller, item, numbers), f"{item!r} was told {caller.result}, {caller.error}: {where}"
        assert len(set(numbers.items)) == numbers.last, f"doubled: {numbers.items}, {where}"
        assert Caller(lambda: commit.submit([b"next"])).ended(), f"wedged by {where}"
        return where

    assert every_moment(scenario) > 15


@pytest.mark.parametrize("done", [False, True])
def test_those_who_share_the_write_of_an_interrupted_thread_have_it_done_once(
    commit: GroupCommit, numbers: Numbers, done: bool
) -> None:
    gate = Gate(numbers)
    first = Caller(lambda: commit.submit([b"first"]))
    gate.await_write()
    second, third = submitting(commit, b"second"), submitting(commit, b"third")
    write = numbers.write

    def interrupted(items: Sequence[bytes]) -> int:
        numbers.write = write  # type: ignore[method-assign]
        if done:
            write(items)
        raise Interrupt

    numbers.write = interrupted  # type: ignore[method-assign]
    gate.open()
    assert first.ended() and second.ended() and third.ended()
    assert isinstance(second.error, Interrupt)
    assert third.result == (3 if done else 2)
    assert numbers.items == ([b"first", b"second", b"third"] if done else [b"first", b"third"])
