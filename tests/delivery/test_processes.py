"""Forks and exits: a parent sends its records once, a child its own, and what is lost is named."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor

import pytest

from otel_audit.delivery.delivery import Delivery
from otel_audit.delivery.endpoint import resolve_endpoint
from otel_audit.model.record import ActivityRecord, EntityRef
from tests.delivery.scripted_peer import Peer, Reply, quick

WAIT_S = 20.0


def record(name: str) -> ActivityRecord:
    return ActivityRecord.create(
        actor_id=1, owner_id=1, action="do", entity_ref=EntityRef("Thing", name), record_id=name
    )


def deliver_to(url: str, **settings: object) -> Delivery:
    return Delivery(resolve_endpoint({}, argument=url), quick(**settings))


def in_fork(work: Callable[[], None]) -> int:
    """Run something in a forked child that ends without any exit handler; the child's pid."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return pid


def ended_well(pid: int) -> bool:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def streams(peer: Peer) -> dict[str, list[int]]:
    """Numbers by stream, in the order they came."""
    found: dict[str, list[int]] = {}
    for seen in peer.accepted:
        for log_record in seen.request.resource_logs[0].scope_logs[0].log_records:
            values = {a.key: a.value for a in log_record.attributes}
            numbers = found.setdefault(values["audit.sequence.stream_id"].string_value, [])
            numbers.append(values["audit.sequence.number"].int_value)
    return found


def test_a_fork_loses_nothing_and_doubles_nothing(peer: Peer) -> None:
    answer = threading.Event()
    peer.script = [Reply(after=answer)]
    delivery = deliver_to(peer.url)
    for name in ("parent-0", "parent-1"):
        delivery.offer([record(name)], 0)
    while not peer.posts:  # the sender is in the middle of a request
        pass
    delivery.offer([record("parent-2")], 0)

    def child(number: int) -> Callable[[], None]:
        def work() -> None:
            for at in range(3):
                delivery.offer([record(f"child-{number}-{at}")], 0)
            delivery.flush(WAIT_S)
            delivery.close()

        return work

    children = [in_fork(child(number)) for number in range(3)]
    assert all(ended_well(pid) for pid in children)
    answer.set()
    delivery.offer([record("parent-3")], 0)
    delivery.close()
    expected = [f"parent-{at}" for at in range(4)] + [f"child-{n}-{at}" for n in range(3) for at in range(3)]
    assert Counter(peer.delivered) == Counter(expected)
    assert sorted(streams(peer).values()) == [[1, 2, 3], [1, 2, 3], [1, 2, 3], [1, 2, 3, 4]]
    assert len({seen.connection for seen in peer.accepted}) == 4


def test_a_fork_while_other_threads_hold_the_locks_works(peer: Peer) -> None:
    delivery = deliver_to(peer.url)
    stop = threading.Event()
    appended: list[str] = []

    def append() -> None:
        while not stop.is_set():
            name = f"parent-{len(appended)}"
            delivery.offer([record(name)], WAIT_S)
            appended.append(name)

    appender = threading.Thread(target=append)
    appender.start()

    def child(number: int) -> None:
        delivery.offer([record(f"child-{number}")], 0)
        delivery.flush(WAIT_S)

    for number in range(10):
        assert ended_well(in_fork(lambda number=number: child(number)))  # type: ignore[misc]
    stop.set()
    appender.join()
    delivery.close()
    assert Counter(peer.delivered) == Counter(appended + [f"child-{number}" for number in range(10)])


def test_a_child_of_a_closed_log_has_a_closed_log(peer: Peer) -> None:
    delivery = deliver_to(peer.url)
    delivery.close()

    def work() -> None:
        try:
            delivery.offer([record("late")], 0)
        except Exception as error:
            assert type(error).__name__ == "ClosedError"
        else:
            raise AssertionError

    assert ended_well(in_fork(work))


def append_in_worker(name: str) -> str:
    """Appends and does not flush: the worker's end must."""
    INHERITED[0].offer([record(name)], 0)
    return name


INHERITED: list[Delivery] = []


@pytest.fixture
def inherited(peer: Peer) -> Delivery:
    delivery = deliver_to(peer.url, batch_delay_s=3600)
    INHERITED[:] = [delivery]
    return delivery


def test_a_multiprocessing_child_delivers_at_its_end(peer: Peer, inherited: Delivery) -> None:
    inherited.offer([record("parent")], 0)
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=append_in_worker, args=(f"child-{at}",)) for at in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join(WAIT_S)
        assert child.exitcode == 0
    assert Counter(peer.delivered) == Counter(f"child-{at}" for at in range(3))
    inherited.close()
    assert Counter(peer.delivered) == Counter(["parent", *(f"child-{at}" for at in range(3))])


def test_a_pool_of_workers_delivers_at_its_end(peer: Peer, inherited: Delivery) -> None:
    names = [f"job-{at}" for at in range(20)]
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("fork")) as pool:
        assert list(pool.map(append_in_worker, names)) == names
    inherited.close()
    assert Counter(peer.delivered) == Counter(names)


# --- the end of the interpreter ---

PROGRAM = """
import os, sys
from otel_audit import ActivityRecord, EntityRef, OTelActivityLogRepo
log = OTelActivityLogRepo()
for at in range(3):
    log.append(ActivityRecord.create(
        actor_id=1, owner_id=1, action="do", entity_ref=EntityRef("Thing", at), record_id=f"r{at}"))
"""


def run(program: str, peer: Peer, **env: str) -> subprocess.CompletedProcess[str]:
    variables = {"OTEL_AUDIT_ENDPOINT": peer.url, "OTEL_AUDIT_BATCH_DELAY_S": "3600"} | env
    return subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_exit_delivers_what_is_queued(peer: Peer) -> None:
    ended = run(PROGRAM, peer)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
    assert peer.delivered == ["r0", "r1", "r2"]


def test_exit_after_an_unhandled_error_delivers_too(peer: Peer) -> None:
    assert run(PROGRAM + "raise SystemExit(3)", peer).returncode == 3
    assert peer.delivered == ["r0", "r1", "r2"]


def test_a_forked_child_that_exits_delivers_its_own_and_not_the_parents(peer: Peer) -> None:
    program = (
        PROGRAM
        + """
if os.fork() == 0:
    log.append(ActivityRecord.create(
        actor_id=1, owner_id=1, action="do", entity_ref=EntityRef("Thing", 9), record_id="child"))
    sys.exit(0)
os.wait()
"""
    )
    ended = run(program, peer)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert peer.delivered == ["child", "r0", "r1", "r2"]


def test_exit_says_on_stderr_how_many_were_lost_and_why(peer: Peer) -> None:
    peer.otherwise = lambda seen: Reply(503, b"disk full")
    ended = run(PROGRAM, peer, OTEL_AUDIT_EXIT_FLUSH_S="0.3")
    assert ended.stdout == ""
    last = ended.stderr.splitlines()[-1]
    assert "lost at exit" in last
    assert "count=3" in last
    assert "503" in last
    assert "disk full" in last


def test_exit_reports_what_the_peer_refused(peer: Peer) -> None:
    peer.otherwise = lambda seen: Reply(403)
    last = run(PROGRAM, peer).stderr.splitlines()[-1]
    assert "count=3" in last
    assert "403" in last


def test_a_spawned_child_delivers_at_its_end(peer: Peer, tmp_path: object) -> None:
    program = f"""
import multiprocessing
def work():
    exec({PROGRAM!r}, globals())
if __name__ == "__main__":
    child = multiprocessing.get_context("spawn").Process(target=work)
    child.start(); child.join(); raise SystemExit(child.exitcode)
"""
    script = tmp_path / "program.py"  # type: ignore[operator]
    script.write_text(program)
    ended = run(f"import runpy; runpy.run_path({str(script)!r}, run_name='__main__')", peer)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert peer.delivered == ["r0", "r1", "r2"]
