"""Forks: a parent sends its records once and a child its own, whatever the durability."""

from __future__ import annotations

import multiprocessing
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import pytest

from otel_audit import ClosedError, OTelActivityLogRepo
from tests.delivery.processes import WAIT_S, append_all, ended_well, in_fork, interpreter, named, open_log, record
from tests.delivery.scripted_peer import Peer, Reply, until


@pytest.fixture(params=["memory", "process", "disk"])
def durability(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_a_fork_loses_nothing_and_doubles_nothing(peer: Peer, durability: str) -> None:
    answer = threading.Event()
    peer.script = [Reply(after=answer)]
    log = open_log(peer.url, durability=durability)
    append_all(log, ["parent-0", "parent-1"])
    until(lambda: peer.posts)  # the sender is in the middle of a request
    append_all(log, ["parent-2"])

    def child(number: int) -> Callable[[], None]:
        def work() -> None:
            append_all(log, named(f"child-{number}", 3))
            log.flush(WAIT_S)
            log.close()

        return work

    children = [in_fork(child(number)) for number in range(3)]
    assert all(ended_well(pid) for pid in children)
    answer.set()
    append_all(log, ["parent-3"])
    log.close()
    expected = named("parent", 4) + [name for n in range(3) for name in named(f"child-{n}", 3)]
    assert Counter(peer.delivered) == Counter(expected)
    assert sorted(peer.streams.values()) == [[1, 2, 3], [1, 2, 3], [1, 2, 3], [1, 2, 3, 4]]
    assert {(state, last) for _, state, last in peer.told} == {("closed", 3), ("closed", 4)}
    assert len(peer.told) == 4
    assert len({seen.connection for seen in peer.accepted}) == 4


def test_a_fork_while_other_threads_hold_the_locks_works(peer: Peer, durability: str) -> None:
    log = open_log(peer.url, durability=durability)
    stop = threading.Event()
    appended: list[str] = []

    def append() -> None:
        while not stop.is_set():
            name = f"parent-{len(appended)}"
            log.append(record(name))
            appended.append(name)

    appender = threading.Thread(target=append)
    appender.start()

    def child(number: int) -> None:
        append_all(log, [f"child-{number}"])
        log.flush(WAIT_S)

    for number in range(5):
        assert ended_well(in_fork(lambda number=number: child(number)))  # type: ignore[misc]
    stop.set()
    appender.join()
    log.close()
    assert Counter(peer.delivered) == Counter(appended + named("child", 5))


def test_a_child_of_a_closed_log_has_a_closed_log(peer: Peer, durability: str) -> None:
    log = open_log(peer.url, durability=durability)
    log.close()

    def work() -> None:
        with pytest.raises(ClosedError):
            log.append(record("late"))

    assert ended_well(in_fork(work))


def test_a_child_of_a_child_has_a_stream_of_its_own(peer: Peer, durability: str) -> None:
    log = open_log(peer.url, durability=durability)
    append_all(log, ["parent"])

    def child() -> None:
        append_all(log, ["child"])

        def grandchild() -> None:
            append_all(log, ["grandchild"])
            log.close()

        assert ended_well(in_fork(grandchild))
        log.close()

    assert ended_well(in_fork(child))
    log.close()
    assert Counter(peer.delivered) == Counter(["parent", "child", "grandchild"])
    assert sorted(peer.streams.values()) == [[1], [1], [1]]


FORK_IN_C = """
import ctypes, os, time
from tests.delivery.processes import append_all
log = OTelActivityLogRepo()
# Those that looked for the Resource are joined, but may not have come to their end.
while os.path.exists("/proc/self/task") and len(os.listdir("/proc/self/task")) > 1:
    time.sleep(0.01)
worker = ctypes.PyDLL(None).fork()
append_all(log, ["worker-0", "worker-1"] if worker == 0 else ["master-0", "master-1"])
log.close()
if worker:
    assert os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1]) == 0
"""


def test_a_fork_in_c_that_runs_no_python_hooks_is_noticed(peer: Peer, durability: str) -> None:
    """As uWSGI forks its workers, from a process without threads: each has a stream of its own, and a sender."""
    program = "from otel_audit import OTelActivityLogRepo" + FORK_IN_C
    ended = interpreter(program, peer.url, OTEL_AUDIT_DURABILITY=durability)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert Counter(peer.delivered) == Counter([*named("master", 2), *named("worker", 2)])
    assert sorted(peer.streams.values()) == [[1, 2], [1, 2]]


FIRST_APPENDS_AT_ONCE = """
import ctypes, os, sys, threading, time, traceback
from concurrent.futures import ThreadPoolExecutor
from tests.delivery.processes import append_all
log = OTelActivityLogRepo()
while os.path.exists("/proc/self/task") and len(os.listdir("/proc/self/task")) > 1:
    time.sleep(0.01)
def work(name):
    sys.setswitchinterval(1e-6)  # each thread comes in the middle of what the others do
    start = threading.Barrier(8)
    def append(at):
        start.wait()
        append_all(log, [f"{name}-{at}"])
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(append, range(8)))
    log.close()
for name in range(10):
    worker = ctypes.PyDLL(None).fork()
    if worker == 0:
        code = 1
        try:
            work(name)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1]) == 0
"""


def test_threads_that_append_first_after_a_fork_in_c_share_one_stream(peer: Peer, durability: str) -> None:
    """As in a uWSGI worker with threads: only one of them makes what the process has for itself."""
    program = "from otel_audit import OTelActivityLogRepo" + FIRST_APPENDS_AT_ONCE
    ended = interpreter(program, peer.url, OTEL_AUDIT_DURABILITY=durability)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert Counter(peer.delivered) == Counter(name for worker in range(10) for name in named(str(worker), 8))
    assert list(peer.streams.values()) == [[*range(1, 9)]] * 10


# --- multiprocessing, whose children have an end of their own ---

INHERITED: list[OTelActivityLogRepo] = []


def append_in_worker(name: str) -> str:
    """Appends and does not flush: the worker's end must."""
    INHERITED[0].append(record(name))
    return name


@pytest.fixture
def inherited(peer: Peer, durability: str) -> OTelActivityLogRepo:
    log = open_log(peer.url, durability=durability, batch_delay_s=3600)
    INHERITED[:] = [log]
    return log


FORK: Any = multiprocessing.get_context("fork")


def test_a_multiprocessing_child_delivers_at_its_end(peer: Peer, inherited: OTelActivityLogRepo) -> None:
    inherited.append(record("parent"))
    children = [FORK.Process(target=append_in_worker, args=(name,)) for name in named("child", 3)]
    for child in children:
        child.start()
    for child in children:
        child.join(WAIT_S)
        assert child.exitcode == 0
    assert Counter(peer.delivered) == Counter(named("child", 3))
    inherited.close()
    assert Counter(peer.delivered) == Counter(["parent", *named("child", 3)])
    assert Counter(state for _, state, _ in peer.told) == {"closed": 4}


def test_a_pool_of_executors_delivers_at_its_end(peer: Peer, inherited: OTelActivityLogRepo) -> None:
    names = named("job", 20)
    with ProcessPoolExecutor(2, mp_context=FORK) as pool:
        assert list(pool.map(append_in_worker, names)) == names
    inherited.close()
    assert Counter(peer.delivered) == Counter(names)


def test_a_pool_that_is_closed_delivers_at_its_end(peer: Peer, inherited: OTelActivityLogRepo) -> None:
    names = named("job", 20)
    pool = FORK.Pool(2)
    assert pool.map(append_in_worker, names) == names
    pool.close()
    pool.join()
    inherited.close()
    assert Counter(peer.delivered) == Counter(names)


@pytest.mark.parametrize("durability", ["process", "disk"], indirect=True)
def test_a_pool_that_is_terminated_leaves_its_records_to_the_parent(peer: Peer, inherited: OTelActivityLogRepo) -> None:
    """Leaving a `with Pool()` block kills the workers, which then deliver nothing themselves."""
    names = named("job", 20)
    with FORK.Pool(2) as pool:
        assert pool.map(append_in_worker, names) == names
    inherited.append(record("parent"))
    until(lambda: {*names} <= {*peer.delivered})
    inherited.close()
    # One that was killed between the peer's answer and its note of it has sent records that the parent sends again.
    assert set(peer.delivered) == {"parent", *names}
