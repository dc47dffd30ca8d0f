"""Real processes for tests: forked ones that end in every way there is, and interpreters with their own program."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

from otel_audit import ActivityRecord, EntityRef, OTelActivityLogRepo
from tests.delivery.scripted_peer import quick

WAIT_S = 20.0


def record(name: str) -> ActivityRecord:
    """One with this text as its id."""
    return ActivityRecord.create(
        actor_id=1, owner_id=1, action="do", entity_ref=EntityRef("Thing", name), record_id=name
    )


def named(prefix: str, count: int) -> list[str]:
    return [f"{prefix}-{at}" for at in range(count)]


def open_log(url: str, service: str = "shop", **settings: object) -> OTelActivityLogRepo:
    """A log in the spool of this test."""
    return OTelActivityLogRepo(url, resource={"service.name": service}, settings=quick(**settings))


def append_all(log: OTelActivityLogRepo, names: list[str]) -> None:
    for name in names:
        log.append(record(name))


def die() -> NoReturn:
    """As by `kill -9` from outside, at this very place."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("still alive")


def in_fork(work: Callable[[], object]) -> int:
    """Run something in a forked child that ends without any exit handler; the child's pid."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            signal.alarm(int(WAIT_S))  # nobody waits for a child that hangs
            work()
            code = 0
        except BaseException as error:  # what a child says must not look like the test's own
            os.write(2, f"in the child: {error!r}\n".encode())
        finally:
            os._exit(code)
    return pid


def end_of(pid: int) -> int:
    """Its exit code; negative for the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def ended_well(pid: int) -> bool:
    return end_of(pid) == 0


def killed(work: Callable[[], object]) -> None:
    """A process that does something and is killed right after it."""

    def then_die() -> None:
        work()
        die()

    assert end_of(in_fork(then_die)) == -signal.SIGKILL


@contextmanager
def held_until_left() -> Iterator[tuple[Callable[[], None], Callable[[], None]]]:
    """For a child that is to live meanwhile: what it calls to wait, and what lets it go before the block ends."""
    ours, theirs = os.pipe()

    def wait() -> None:
        os.close(theirs)
        os.read(ours, 1)  # ends when nobody has the other end any more

    def let_go() -> None:
        nonlocal theirs
        if theirs >= 0:
            os.close(theirs)
            theirs = -1

    try:
        yield wait, let_go
    finally:
        let_go()
        os.close(ours)


def interpreter(program: str, url: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a program in an interpreter of its own, to its end."""
    # A machine that is busy may take more than the second that an exit waits by default.
    patient = {"OTEL_AUDIT_BATCH_DELAY_S": "3600", "OTEL_AUDIT_EXIT_FLUSH_S": "10"}
    variables = {"OTEL_AUDIT_ENDPOINT": url} | patient | env
    return subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def left_in(spool: Path) -> dict[str, list[str]]:
    """Names of everything in a spool that is still somebody's business.

    An empty folder is not: its process ended while it made or removed it, and in an hour it is swept away.
    """
    streams = [folder.name for folder in (spool / "streams").iterdir() if _holds_something(folder)]
    others = {name: sorted(path.name for path in (spool / name).iterdir()) for name in ("parked", "aside")}
    return {"streams": sorted(streams)} | others


def _holds_something(folder: Path) -> bool:
    with suppress(FileNotFoundError):
        return any(folder.iterdir())
    return False


NOTHING_LEFT: dict[str, list[str]] = {"streams": [], "parked": [], "aside": []}
