"""A log driven step by step, without threads, and everything that was promised about it meanwhile."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from otel_audit.archive.listing import list_log
from otel_audit.config import Settings, load_settings
from otel_audit.disk import Disk
from otel_audit.errors import OtelAuditError, StorageError
from otel_audit.log.folder import open_identity
from otel_audit.log.maintenance import Maintenance
from otel_audit.log.quarantine import FOLDER, HELD, decision_rows
from otel_audit.log.stats import Counters
from otel_audit.log.status import folder_status
from otel_audit.log.stores import Stores
from otel_audit.log.streams import FOLDER as STREAMS
from otel_audit.log.writer import Committed, Writer
from otel_audit.otlp.decode import Decoded
from tests.faults.notes import Promises, broken

SETTINGS = load_settings(
    {}, min_free_bytes=0, merge_fan_in=3, input_keep_s=0.0, index_run_rows=3, dedupe_window_s=0.0, seal_rows=8
)
_TRIES = 4
_A_NOTE = ["kind", "stream_id", "first_number", "last_number", "records"]


class Violation(AssertionError):
    """A promise was broken."""


def demand(condition: bool, what: str) -> None:
    """Raise Violation unless the condition holds."""
    if not condition:
        raise Violation(what)


def clock() -> Callable[[], int]:
    """A clock that goes on a second each time it is read."""
    now = 1_764_000_000_000_000_000

    def read() -> int:
        nonlocal now
        now += 1_000_000_000
        return now

    return read


@dataclass
class Ledger:
    """What senders were told and what readers saw, over all restarts.

    Attributes:
        acknowledged: ids of activities.
        held: SHA-256 of records told to be in quarantine.
        seen: ids by (log, index), read the moment a file had its name; of a note, what it says.
        promises: what the streams log must keep.
    """

    acknowledged: set[str] = field(default_factory=set)
    held: set[str] = field(default_factory=set)
    seen: dict[tuple[str, int], str] = field(default_factory=dict)
    promises: Promises = field(default_factory=Promises)

    def see(self, path: Path) -> None:
        """Read a file that has just been published."""
        if path.suffix != ".parquet":
            return
        log = next((name for name in (FOLDER, STREAMS) if name in path.parts), "")
        for index, record_id in _rows(path):
            before = self.seen.setdefault((log, index), record_id)
            demand(before == record_id, f"index {index} was {before}, and {record_id} was published there")


def _rows(path: Path) -> list[tuple[int, str]]:
    try:
        wanted = _A_NOTE if STREAMS in path.parts else ["record_id"]
        table = pq.read_table(path, columns=["log_index", *wanted], partitioning=None)
    except (pa.ArrowException, OSError) as error:
        raise Violation(f"a published file cannot be read: {error}") from error
    rows = table.to_pylist()
    return [(row["log_index"], " ".join(str(row[name]) for name in wanted)) for row in rows]


class World:
    """An open folder. Every method that changes it may raise StorageError, as the engine's parts do."""

    def __init__(
        self,
        root: Path,
        disk: Disk,
        ledger: Ledger,
        settings: Settings = SETTINGS,
        now: Callable[[], int] | None = None,
    ) -> None:
        self._now = now or clock()
        self._ledger = ledger
        identity = open_identity(root, "activity", disk, self._now)
        self._stores = Stores(root, identity.log, settings, self._now, disk)
        self._stores.load()
        counters = Counters()
        self._writer = Writer(self._stores, settings, counters)
        self._maintenance = Maintenance(self._stores, settings, self._now, counters)

    def _settle(self) -> None:
        if not self._stores.settled:
            self._stores.settle()

    def send(self, *window: Decoded) -> list[Committed]:
        """Commit a window, and note what was answered."""
        self._settle()
        for request in window:
            self._ledger.promises.send(request)
        answers = self._writer.write(list(window))
        for index in (self._stores.index, self._stores.held_index):
            if index.spill_due:
                index.begin_spill()
        done = [answer for answer in answers if isinstance(answer, Committed)]
        demand(len(done) == len(window), "a request was refused")
        for request, answer in zip(window, done, strict=True):
            if not answer.conflicts:
                self._ledger.acknowledged.update(request.table["record_id"].to_pylist())
            self._ledger.held.update(item.sha256 for item in request.rejected)
            self._ledger.promises.keep(request, answer)
        return done

    def maintain(self) -> None:
        """What the engine's second thread does at a time."""
        self._settle()
        self._maintenance.run_one()

    def seal(self) -> None:
        """Seal everything."""
        self._settle()
        self._maintenance.seal_everything()

    def drop(self, digest: str) -> None:
        """Decide about a held record."""
        self._settle()
        self._stores.quarantine.commit(decision_rows([digest], "dropped", "not wanted"))
        self._stores.held_index.add([], [], self._stores.quarantine.next_index)

    def close(self) -> None:
        """A clean end."""
        self._stores.high_water.write()


def persist(step: Callable[[], object]) -> None:
    """Repeat a step as a sender or a maintenance loop does."""
    for attempt in range(_TRIES):
        try:
            step()
            return
        except StorageError:
            if attempt == _TRIES - 1:
                raise


def check(root: Path, ledger: Ledger, complete: frozenset[str] = frozenset()) -> None:
    """Demand every promise of a folder as readers see it. `complete`: exactly these ids are in the log."""
    promised = {"": ledger.acknowledged, FOLDER: ledger.held, STREAMS: ledger.promises.marked}
    for log in promised:
        if not (root / log / "log" / "log.json").exists():
            demand(not promised[log] and not any(of == log for of, _ in ledger.seen), f"log {log!r} is gone")
            continue
        try:
            rows = [row for file in list_log(root / log).files for row in _rows(file.path)]
        except OtelAuditError as error:
            raise Violation(str(error)) from error
        demand([index for index, _ in rows] == list(range(len(rows))), f"log {log!r} is not contiguous")
        for (of, index), record_id in ledger.seen.items():
            if of == log:
                there = rows[index][1] if index < len(rows) else None
                demand(there == record_id, f"a reader saw {record_id} at {index}, now there is {there}")
        ids = Counter(record_id for _, record_id in rows)
        if log == FOLDER:
            _check_held(root, ledger)
        elif not log:
            demand(max(ids.values(), default=1) == 1, f"doubled: {[i for i, n in ids.items() if n > 1]}")
            demand(ledger.acknowledged <= ids.keys(), f"lost: {ledger.acknowledged - ids.keys()}")
            demand(not complete or complete == ids.keys(), f"not as sent: {complete ^ ids.keys()}")
    demand(not (found := broken(root, ledger.promises)), "; ".join(found))


def _check_held(root: Path, ledger: Ledger) -> None:
    held: Counter[str] = Counter()
    for file in list_log(root / FOLDER).files:
        table = pq.read_table(file.path, columns=["record_id", "decision"], partitioning=None)
        held.update(row["record_id"] for row in table.to_pylist() if row["decision"] == HELD)
    demand(max(held.values(), default=1) == 1, "a record is held twice")
    demand(ledger.held <= held.keys(), f"lost from quarantine: {ledger.held - held.keys()}")


def check_after(root: Path, ledger: Ledger, everything: list[Decoded], ids: frozenset[str]) -> None:
    """Open what a fault has left, demand every promise, then send it all again and use the log to the end."""
    disk = Disk()
    try:
        world = World(root, disk, ledger)
        check(root, ledger)
        known = len(ledger.acknowledged)
        answers = world.send(*everything)
        demand(sum(answer.duplicates for answer in answers) >= known, "an acknowledged record was taken for new")
        check(root, ledger, ids)
        world.maintain()
        world.seal()
        world.maintain()
        world.close()
        World(root, disk, ledger)
        check(root, ledger, ids)
        demand(not (faults := folder_status(root, check=True).faults), f"faults: {faults}")
        left = [path.name for path in root.rglob("*.tmp")]
        demand(not [name for name in left if "parquet" in name], f"temporary files: {left}")
    except OtelAuditError as error:
        raise Violation(f"{type(error).__name__}: {error}") from error
