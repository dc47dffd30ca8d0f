"""The high-water mark: one small file that says how far the three logs have come, and what they are called.

It is what shows that the newest files, or a whole log, are gone. It is written at the start, with each seal, at the
end, and meanwhile whenever a log has grown and `INTERVAL_NS` have passed: what is committed after the last of these is
not protected by it. It never says more than there is: only durable rows are counted.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from otel_audit.archive.extent import FLOOR, LOG, Marks, read_marks
from otel_audit.disk import Disk
from otel_audit.errors import ArchiveFaultError, StorageError
from otel_audit.log.folder import write_state
from otel_audit.log.store import Store

__all__ = ["INTERVAL_NS", "HighWater", "earlier_mark"]

INTERVAL_NS = 1_000_000_000


class HighWater:
    """The mark of a data folder. Written by one thread at a time: whoever holds the engine's task lock."""

    def __init__(self, data_dir: Path, stores: dict[str, Store], disk: Disk, clock: Callable[[], int]) -> None:
        """Raises as `read_marks`."""
        self._path = data_dir / LOG / FLOOR
        self._stores = stores
        self._disk = disk
        self._clock = clock
        self._written = read_marks(data_dir)
        self._at_ns = 0

    def of(self, kind: str) -> int:
        """The mark of a log as it was written last; 0 for one that is new."""
        return self._written.get(kind, {}).get(self._stores[kind].log, 0)

    def write(self) -> None:
        """Write it unless it says so already.

        A crash before it is done leaves the one before, which is lower: safe, only less watchful.

        Raises:
            UnwritableError: likewise.
        """
        marks: Marks = {kind: dict(marks) for kind, marks in self._written.items()}
        for kind, store in self._stores.items():
            if store.settled:
                marks.setdefault(kind, {})[store.log] = store.next_index
        if marks != self._written:
            write_state(self._path, {"logs": marks}, self._disk)
            self._written = marks
        self._at_ns = self._clock()

    def write_if_due(self) -> None:
        """Write it when the last one is old, or from before the clock was set back. Raises as `write`."""
        if not 0 <= self._clock() - self._at_ns < INTERVAL_NS:
            self.write()


def earlier_mark(store_root: Path) -> int:
    """What a release that kept a mark in each log's own folder noted there; 0 without any."""
    path = store_root / LOG / FLOOR
    try:
        return int(json.loads(path.read_bytes()).get("next_index", 0))
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise StorageError(f"{path} cannot be read now: {error.strerror}") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise ArchiveFaultError(f"{path} cannot be read: {error}") from None
