"""The two logs of a data folder with their indexes, and the one way to bring them in order after a start or a fault."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from otel_audit.archive.columns import COLUMNS, QUARANTINE_COLUMNS
from otel_audit.config import Settings
from otel_audit.disk import Disk
from otel_audit.log.folder import open_identity
from otel_audit.log.index import IdIndex
from otel_audit.log.lookup import FileLookup, rows_from
from otel_audit.log.quarantine import FOLDER, HELD, quarantine_key
from otel_audit.log.recover import recover
from otel_audit.log.store import Store
from otel_audit.otlp.content import keys_and_digests

__all__ = ["Stores"]


class Stores:
    """Activities and quarantine. Whoever calls `settle` keeps every writer out meanwhile."""

    def __init__(self, root: Path, log: str, settings: Settings, clock: Callable[[], int], disk: Disk) -> None:
        held = open_identity(root / FOLDER, "quarantine", disk, clock)
        self.activity = Store(root, log, COLUMNS, disk, clock)
        self.quarantine = Store(root / FOLDER, held.log, QUARANTINE_COLUMNS, disk, clock)
        window = settings.dedupe_window_s, settings.index_run_rows
        self.index = IdIndex(root / "log" / "ids", disk, clock, *window)
        self.held_index = IdIndex(root / FOLDER / "log" / "ids", disk, clock, *window)
        self.lookup = FileLookup(self.activity, keys_and_digests)
        self._indexed = False

    @property
    def settled(self) -> bool:
        """Whether what both hold is known for certain, and the indexes know every row of it."""
        return self._indexed and self.activity.settled and self.quarantine.settled

    def load(self) -> None:
        """Bring everything in order for the first time. Raises as `settle`."""
        for store in (self.activity, self.quarantine):
            recover(store)
        self.index.load(self.activity.next_index)
        self.held_index.load(self.quarantine.next_index)
        self._catch_up()

    def settle(self) -> None:
        """List again what a failed publish left unknown, and give the indexes the rows they lack.

        Raises:
            ArchiveFaultError: the files contradict each other.
            StorageError, UnwritableError: the disk refuses.
        """
        self._indexed = False
        for store in (self.activity, self.quarantine):
            if not store.settled:
                recover(store)
        self._catch_up()

    def _catch_up(self) -> None:
        # When this fails the next settling goes on: an index that lacks a row takes its repeat for new.
        self.index.rebuild((*keys_and_digests(rows), upto) for rows, upto in rows_from(self.activity, self.index.upto))
        for rows, upto in rows_from(self.quarantine, self.held_index.upto):
            pairs = zip(rows["record_id"].to_pylist(), rows["decision"].to_pylist(), strict=True)
            keys = [quarantine_key(digest) for digest, decision in pairs if decision == HELD]
            self.held_index.rebuild(iter([(keys, [0] * len(keys), upto)]))
        self._indexed = True
