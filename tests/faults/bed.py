"""The bed: one scenario, run again and again with one operation going wrong, and checked as a whole each time."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from uuid import UUID

from otel_audit.disk import Disk
from otel_audit.errors import OtelAuditError
from otel_audit.otlp.decode import Decoded
from tests.faults.disk import A_WRITE, ANY_OPERATION, Died, Fault, FaultyDisk
from tests.faults.world import Ledger, Violation, World, check, check_after, persist
from tests.log.requests import record, request

Faults = dict[int, Fault]


def timed(number: int) -> UUID:
    """A UUIDv7 of a fixed time, so that every run is the same."""
    return UUID(int=(1_763_000_000_000 + number << 80) | (7 << 76) | (2 << 62) | number)


@cache
def requests() -> list[Decoded]:
    """What senders send: ids with a time and without, repeats, a conflict, invalid records, words about streams."""
    return [
        request(record(timed(0)), record("a"), stream=("s", 1)),
        request(record("b"), stream=("s", 3)),
        request(record(timed(1)), record("a"), record(timed(1)), stream=("s", 4)),
        request(record("c"), broken=1, stream=("s", 7)),
        request(record("a", action="other"), stream=("s", 9)),
        request(record(timed(2)), record("d")),
        request(record("e"), broken=2, stream=("t", 1), markers=[("t", "open", 3)]),
        request(record("f")),
        request(record(timed(0)), record("g")),
        request(markers=[("s", "open", 9), ("t", "recovered", 3)]),
        request(markers=[("s", "closed", 9)]),
    ]


IDS = frozenset([*"abcdefg", *(str(timed(number)) for number in range(3))])


def scenario(root: Path, disk: Disk, ledger: Ledger) -> None:
    """Commits, merges, removals, seals, runs of the index, a decision, and two restarts."""
    sent = requests()
    opened: list[World] = []

    def restart() -> None:
        opened[:] = [World(root, disk, ledger)]

    def send(*window: int) -> None:
        persist(lambda: opened[0].send(*(sent[at] for at in window)))

    persist(restart)
    for at in range(4):
        send(at)
    persist(lambda: opened[0].maintain())
    send(4, 9)
    persist(lambda: opened[0].maintain())
    persist(restart)
    send(5, 6)
    persist(lambda: opened[0].drop(sent[3].rejected[0].sha256))
    persist(lambda: opened[0].seal())
    send(7, 8)
    send(10)
    persist(lambda: opened[0].maintain())
    persist(lambda: opened[0].close())
    persist(restart)
    send(0, 2, 6)
    persist(lambda: opened[0].maintain())


def operations(base: Path) -> list[str]:
    """The operations of a run in which nothing goes wrong."""
    disk, ledger = FaultyDisk({}), Ledger()
    scenario(base / "data", disk, ledger)
    check(base / "data", ledger, IDS)
    shutil.rmtree(base / "data")
    return disk.trace


def matrix(trace: list[str]) -> list[Faults]:
    """Every operation with everything that can go wrong at it."""
    return [
        {at: fault}
        for at, kind in enumerate(trace)
        for fault in (*ANY_OPERATION, *(A_WRITE if kind == "write_new" else ()))
    ]


def pairs(trace: list[str], draw: random.Random, count: int) -> list[Faults]:
    """Two faults in one run: a call that fails, and anything at a later operation, often one of the next few."""
    single = matrix(trace)
    drawn = []
    while len(drawn) < count:
        ((first, fault),) = draw.choice(single).items()
        near = [case for case in single if 0 < next(iter(case)) - first <= 6]
        later = draw.choice(near if near and draw.random() < 0.5 else single)
        if fault.what == "fail" and next(iter(later)) > first:
            drawn.append({first: fault} | later)
    return drawn


def run(base: Path, faults: Faults) -> None:
    """One run. Raises Violation when a promise does not hold afterwards."""
    root, ledger = base / "data", Ledger()
    disk = FaultyDisk(faults, ledger.see)
    try:
        try:
            scenario(root, disk, ledger)
        except Died:
            loss = faults[len(disk.trace) - 1].loss
            if loss is not None:
                disk.after_power_loss(root, loss, base / "left")
                root = base / "left"
        except OtelAuditError as error:
            raise Violation(f"it does not heal: {type(error).__name__}: {error}") from error
        check_after(root, ledger, requests(), IDS)
    finally:
        for folder in ("data", "left"):
            shutil.rmtree(base / folder, ignore_errors=True)


def violations(base: Path, cases: Iterable[Faults], enough: Callable[[int], bool] = lambda _: False) -> list[str]:
    """What is found over many runs, one sentence per run that broke a promise; `enough` of them end the search."""
    found: list[str] = []
    for faults in cases:
        try:
            run(base, faults)
        except Violation as violation:
            what = ", ".join(f"{fault} at operation {at}" for at, fault in faults.items())
            found.append(f"{what}: {violation}")
            if enough(len(found)):
                break
    return found
