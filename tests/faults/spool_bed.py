"""The bed of the spool: one story of several processes, run again and again with something going wrong."""

from __future__ import annotations

import itertools
import random
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from otel_audit import disk as disk_module
from otel_audit.errors import OtelAuditError
from otel_audit.spool.format import HEAD_BYTES, Entry, scan
from otel_audit.spool.places import segments
from tests.faults.append_disk import A_GROWTH, ANY_CHANGE, AppendDisk
from tests.faults.disk import Died, Fault
from tests.faults.spool_world import Ledger, Process, all_dead, check_after
from tests.faults.world import Violation

Faults = dict[int, Fault]


class Story:
    """Steps of several processes. A step in which one dies ends there; the next step finds another in its place."""

    def __init__(self, root: Path, disk: AppendDisk, ledger: Ledger, *, synced: bool) -> None:
        self._root, self._disk, self._ledger, self._synced = root, disk, ledger, synced
        self._items = (b"item-%d" % at for at in itertools.count())
        self._living: dict[str, Process] = {}

    def steps(self) -> list[Callable[[], object]]:
        """Appends, groups, rotation, refusal, another Resource, a clean end, adoption, retry, damage, a full disk."""
        first, second, third, fourth = (lambda name=name: self._process(name) for name in "1234")
        return [
            lambda: self._append(first(), 1),
            lambda: self._append(first(), 3),
            lambda: first().deliver(most=2),
            *[lambda: self._append(first(), 2)] * 5,
            lambda: first().deliver("no answer"),
            lambda: first().deliver(),
            lambda: first().deliver("refused", 3),
            lambda: self._describe(first(), b"another service"),
            lambda: self._append(first(), 2),
            lambda: first().deliver_all(),
            lambda: self._append(second(), 2),
            lambda: second().deliver("refused", 1),
            lambda: self._append(first(), 7),
            lambda: self._end(second()),
            lambda: first().deliver("not sent"),
            lambda: self._kill("1"),
            lambda: self._adopt(third()),
            lambda: third().deliver_left(most=2),
            lambda: third().deliver_left("not sent", 2),
            lambda: self._append(third(), 2),
            lambda: third().deliver_left("refused", 2),
            lambda: self._kill("3"),
            lambda: self._adopt(fourth()),
            lambda: fourth().deliver_all_left(),
            lambda: fourth().retry(),
            lambda: fourth().deliver_left("refused"),
            lambda: fourth().deliver_all_left(),
            lambda: self._append(third(), 4),
            lambda: self._spoil_and_kill("3"),
            lambda: self._adopt(fourth()),
            lambda: fourth().deliver_all_left(),
            lambda: self._append(fourth(), 1),
            lambda: self._fill(fourth()),
            lambda: self._append(fourth(), 1),
            lambda: fourth().deliver_all(),
            lambda: self._append(fourth(), 3),
            lambda: fourth().pools.expire(keep_bytes=0),
            lambda: self._end(fourth()),
        ]

    def tell(self) -> None:
        """The whole of it."""
        for step in self.steps():
            try:
                step()
            except Died as death:
                if str(death).startswith("power"):
                    raise
                self._all_die()

    def _process(self, name: str) -> Process:
        if name not in self._living:
            self._living[name] = Process(self._root, self._disk, self._ledger, synced=self._synced)
        return self._living[name]

    def _append(self, process: Process, count: int) -> None:
        process.append(*itertools.islice(self._items, count))

    def _describe(self, process: Process, service: bytes) -> None:
        process.described = (service, "")

    def _adopt(self, process: Process) -> None:
        process.adopt()

    def _end(self, process: Process) -> None:
        process.close()
        self._living = {name: other for name, other in self._living.items() if other is not process}

    def _kill(self, name: str) -> None:
        if name in self._living:
            self._living.pop(name).die()

    def _all_die(self) -> None:
        """Only one of them did; the others come to no harm by it, but what they know is of no use to the story."""
        for process in self._living.values():
            process.die()
        all_dead()
        self._living.clear()
        self._disk.revive()

    def _spoil_and_kill(self, name: str) -> None:
        """A bit of the second of its records that wait flips."""
        process = self._process(name)
        folder, stream_id = process.own.folder, process.own.stream_id
        if folder is not None and stream_id is not None and segments(folder):
            _, path = segments(folder)[0]
            records = [entry for entry in scan(path.read_bytes()) if isinstance(entry, Entry) and entry.kind == 1]
            if len(records) > 2:
                self._disk.spoil(path, records[1].start + HEAD_BYTES)
                self._ledger.spoilt.add((stream_id, records[1].number))
        self._kill(name)

    def _fill(self, process: Process) -> None:
        """The disk has no room but for what kept copies give way."""
        self._disk.room = 10
        taken = process.append(*itertools.islice(self._items, 1))
        if not self._disk.faults and not taken:
            raise Violation("kept copies did not make room")
        self._disk.room = None


def operations(base: Path, *, synced: bool = True) -> list[str]:
    """The operations of a run in which nothing goes wrong."""
    disk, ledger = AppendDisk({}), Ledger()
    Story(base / "spool", disk, ledger, synced=synced).tell()
    check_after(base / "spool", ledger)
    shutil.rmtree(base / "spool")
    return disk.trace


def matrix(trace: list[str], *, power: bool = True) -> list[Faults]:
    """Every operation with everything that can go wrong at it."""
    return [
        {at: fault}
        for at, kind in enumerate(trace)
        for fault in (*ANY_CHANGE, *(A_GROWTH if kind in {"append", "write_new"} else ()))
        if power or fault.what != "power"
    ]


def pairs(trace: list[str], draw: random.Random, count: int, *, power: bool = True) -> list[Faults]:
    """Two faults in one run: a call that fails or a process that dies, and then anything, often soon after."""
    single = matrix(trace, power=power)
    firsts = [case for case in single if next(iter(case.values())).what != "power"]
    drawn = []
    while len(drawn) < count:
        ((first, fault),) = draw.choice(firsts).items()
        near = [case for case in single if 0 < next(iter(case)) - first <= 6]
        later = draw.choice(near if near and draw.random() < 0.5 else single)
        if next(iter(later)) > first:
            drawn.append({first: fault} | later)
    return drawn


def run(base: Path, faults: Faults, *, synced: bool = True) -> None:
    """One run. Raises Violation when a promise does not hold afterwards."""
    root, ledger = base / "spool", Ledger()
    disk = AppendDisk(faults)
    sync, disk_module.sync_handle = disk_module.sync_handle, lambda handle: None  # the model is what counts
    loss = None
    try:
        try:
            Story(root, disk, ledger, synced=synced).tell()
        except Died:
            loss = faults[len(disk.trace) - 1].loss
            assert loss is not None
            all_dead()
            disk.after_power_loss(root, loss, base / "left")
            root = base / "left"
        except (OSError, OtelAuditError) as error:
            raise Violation(f"it does not heal: {type(error).__name__}: {error}") from error
        check_after(root, ledger, loss)
    finally:
        disk_module.sync_handle = sync
        all_dead()
        for folder in ("spool", "left"):
            shutil.rmtree(base / folder, ignore_errors=True)


def violations(
    base: Path, cases: Iterable[Faults], enough: Callable[[int], bool] = lambda _: False, *, synced: bool = True
) -> list[str]:
    """What is found over many runs, one sentence per run that broke a promise; `enough` of them end the search."""
    found: list[str] = []
    for faults in cases:
        try:
            run(base, faults, synced=synced)
        except Violation as violation:
            what = ", ".join(f"{fault} {fault.loss or ''} at operation {at}" for at, fault in faults.items())
            found.append(f"{what}: {violation}")
            if enough(len(found)):
                break
    return found
