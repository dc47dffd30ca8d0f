"""The three logs of a data folder, their indexes, and the one way to bring all in order after a start or a fault."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from otel_audit.archive import extent
from otel_audit.archive.columns import COLUMNS, QUARANTINE_COLUMNS, STREAM_COLUMNS
from otel_audit.archive.extent import LOG
from otel_audit.config import Settings
from otel_audit.disk import Disk
from otel_audit.errors import ArchiveFaultError, UnwritableError
from otel_audit.log.budget import Budget
from otel_audit.log.folder import open_side_log, read_identity
from otel_audit.log.health import Health
from otel_audit.log.held import held
from otel_audit.log.high_water import HighWater, earlier_mark
from otel_audit.log.index import IdIndex
from otel_audit.log.lookup import FileLookup, rows_from
from otel_audit.log.quarantine import FOLDER, HELD, quarantine_key
from otel_audit.log.recover import recover
from otel_audit.log.saying import say
from otel_audit.log.store import Store
from otel_audit.log.streams import FOLDER as STREAMS_FOLDER
from otel_audit.otlp.content import DIGESTED, keys_and_digests

__all__ = ["Stores"]


class Stores:
    """Activities, quarantine, and notes about streams. Whoever calls `settle` keeps every writer out meanwhile."""

    def __init__(self, root: Path, log: str, settings: Settings, clock: Callable[[], int], disk: Disk) -> None:
        # A folder of an earlier release has no streams log; like a new one, it gets an empty one here. A crash between
        # these leaves a log that is not there yet, or an empty one: the next start goes on.
        marks = extent.read_marks(root)
        kept = open_side_log(root / FOLDER, "quarantine", marks.get("quarantine", {}), disk, clock)
        noted = open_side_log(root / STREAMS_FOLDER, "streams", marks.get("streams", {}), disk, clock)
        lost = extent.read_lost(root)
        identity = read_identity(root)
        previous = identity.previous if identity is not None else ()
        self.activity = Store(root, log, COLUMNS, disk, clock, lost.get(log, ()), previous)
        self.quarantine = Store(
            root / FOLDER, kept.log, QUARANTINE_COLUMNS, disk, clock, lost.get(kept.log, ()), kept.previous
        )
        self.streams = Store(
            root / STREAMS_FOLDER, noted.log, STREAM_COLUMNS, disk, clock, lost.get(noted.log, ()), noted.previous
        )
        self._by_kind = {
            extent.ACTIVITY: self.activity,
            extent.QUARANTINE: self.quarantine,
            extent.STREAMS: self.streams,
        }
        self.every = tuple(self._by_kind.values())
        self.high_water = HighWater(root, self._by_kind, disk, clock)
        self.born_ns = noted.created_at_ns
        window = settings.dedupe_window_s, settings.index_run_rows
        self.index = _index_of(self.activity, *window)
        self.held_index = _index_of(self.quarantine, *window)
        self.budget = Budget(settings.quarantine_max_bytes)
        self._root = root
        self.health = Health(root, disk, settings.min_free_bytes)
        self.lookup = FileLookup(self.activity, keys_and_digests)
        self._indexed = False

    @property
    def settled(self) -> bool:
        """Whether what they hold is known for certain, and the indexes know every row of it."""
        return self._indexed and all(store.settled for store in self.every)

    def index_of(self, store: Store) -> IdIndex | None:
        """The index of a log's ids; that of streams has none."""
        return {self.activity.log: self.index, self.quarantine.log: self.held_index}.get(store.log)

    def load(self) -> None:
        """Bring everything in order for the first time. Raises as `settle`."""
        for kind in self._by_kind:
            self._recover(kind)
        self.index.load(self.activity.next_index, self.activity.holds)
        self.held_index.load(self.quarantine.next_index, self.quarantine.holds)
        self._catch_up()
        with suppress(UnwritableError):
            # A full disk must not keep a log from being opened and read. The mark stays lower, and is due again.
            self.high_water.write()

    def _recover(self, kind: str) -> None:
        store = self._by_kind[kind]
        marks = [self.high_water.of(kind), earlier_mark(store.root)]
        # An index too knows of rows that were durable.
        if (index := self.index_of(store)) is not None:
            marks.append(index.claimed_end())
        recover(store, max(marks))

    def settle(self) -> None:
        """List again what a failed publish left unknown, and give the indexes the rows they lack.

        Raises:
            ArchiveFaultError: the files contradict each other.
            StorageError, UnwritableError: the disk refuses.
        """
        self._indexed = False
        for kind, store in self._by_kind.items():
            if not store.settled:
                self._recover(kind)
        self._catch_up()

    def close(self) -> None:
        """Keep what the next start would otherwise have to find out again. Raises UnwritableError."""
        if self.settled:
            for index in (self.index, self.held_index):
                index.close()

    def _catch_up(self) -> None:
        # When this fails the next settling goes on: an index that lacks a row takes its repeat for new.
        activities = rows_from(self.activity, self.index.upto, DIGESTED)
        self.index.rebuild((*keys_and_digests(rows), upto) for rows, upto in activities)
        for rows, upto in rows_from(self.quarantine, self.held_index.upto, ("record_id", "decision")):
            pairs = zip(rows["record_id"].to_pylist(), rows["decision"].to_pylist(), strict=True)
            keys = [quarantine_key(digest) for digest, decision in pairs if decision == HELD]
            self.held_index.rebuild(iter([(keys, [0] * len(keys), upto)]))
        self.count_held()
        self._indexed = True

    def count_held(self) -> None:
        """Bring the quarantine's budget up to what is held now. Raises StorageError."""
        try:
            self.budget.recount(held(self._root))
        except ArchiveFaultError as error:
            # The budget judges nothing but whether there is room: damage there must not keep a log from opening.
            say("error", "quarantine_not_counted", error=str(error), advice=error.advice)


def _index_of(store: Store, window_s: float, run_rows: int) -> IdIndex:
    return IdIndex(store.root / LOG / "ids", store.disk, store.clock, window_s, run_rows, store.log, lambda: store.end)
