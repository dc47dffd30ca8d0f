"""One log's files: the commit that makes rows durable, and what is known about every file.

A log engine has three of these: for activities, for the quarantine, and for notes about streams. The committed Parquet
file is the write-ahead log; there is no second format.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from otel_audit.archive.chain import BEGINNING, chain_after
from otel_audit.archive.columns import Column, parquet_schema
from otel_audit.archive.footer import Footer, footer_of
from otel_audit.archive.listing import HOT, date_folder
from otel_audit.archive.names import Coverage, FileName, Stage, format_name, resolve
from otel_audit.archive.write import parquet_bytes
from otel_audit.disk import TMP_SUFFIX, Disk
from otel_audit.errors import UnwritableError
from otel_audit.model.ranges import Ranges

__all__ = ["Store"]

_CACHED_BYTES = 128 << 20


@dataclass(frozen=True, slots=True)
class Known:
    """A published file: where it stands, and its footer."""

    path: Path
    footer: Footer


class Store:
    """The files of one log.

    One thread commits and one maintains; `files` changes only under `lock`. `settled` is False from a failed publish
    until recovery has listed the disk again: nothing is accepted in between, because what the disk holds is unknown.
    """

    def __init__(
        self,
        root: Path,
        log: str,
        columns: tuple[Column, ...],
        disk: Disk,
        clock: Callable[[], int],
        lost: Ranges = (),
        previous: tuple[str, ...] = (),
    ) -> None:
        self.root = root
        self.log = log
        self.columns = columns
        self.schema = parquet_schema(columns)
        self.disk = disk
        self.clock = clock
        self.lock = threading.Lock()
        self.files: dict[FileName, Known] = {}
        self._coverage: Coverage | None = None
        self.next_index = 0
        self.settled = False
        self.lost = lost
        """Rows that are accepted as lost."""
        self.previous = previous
        """Logs whose files stand here as well, to be read and left alone."""
        self.chain = BEGINNING
        """That of the rows before `next_index`."""
        self._recent: OrderedDict[FileName, pa.Table] = OrderedDict()
        self._recent_bytes = 0

    def coverage(self) -> Coverage:
        """What the published files amount to."""
        with self.lock:
            return self._resolved()

    def maximal(self) -> list[tuple[FileName, Known]]:
        """The files to read, in log order."""
        with self.lock:
            return [(name, self.files[name]) for name in self._resolved().files]

    @property
    def end(self) -> tuple[int, str]:
        """The index that comes next, and the chain before it."""
        return self.next_index, self.chain

    def holds(self, end: tuple[int, str]) -> bool:
        """Whether this very log, and no other copy of it, once ended there: known where a file ends there now."""
        index, chain = end
        with self.lock:
            return any(name.last + 1 == index and known.footer.chain == chain for name, known in self.files.items())

    def size_bytes(self) -> int:
        """What the files to read take on the disk."""
        return sum(known.footer.size_bytes for _, known in self.maximal())

    def _resolved(self) -> Coverage:
        if self._coverage is None:
            self._coverage = resolve(self.files, lost=self.lost)
        return self._coverage

    def adopt(self, files: dict[FileName, Known]) -> None:
        """Take what recovery found for the whole truth."""
        with self.lock:
            self.files, self._coverage = files, None

    def known(self, names: tuple[FileName, ...]) -> list[Known]:
        """Paths and footers of published files."""
        with self.lock:
            return [self.files[name] for name in names]

    def commit(self, table: pa.Table) -> tuple[int, int]:
        """Make rows durable and readable.

        Args:
            table: at least one row; every column but `log_index` and `recorded_at`.

        Returns:
            The first and last log index. When this returns, the rows survive kill and power loss.

        Raises:
            UnwritableError: nothing was promised. `settled` tells whether the next commit may follow at once.
        """
        if not self.settled:
            raise UnwritableError(f"{self.root}: a write failed at an unknown point; the folder is to be read again")
        first = self.next_index
        rows = self._numbered(table, first)
        footer = footer_of(self.log, rows, (self.chain, chain_after(self.chain, rows)))
        name = FileName(self.log, first, footer.last, Stage.COMMITTED)
        self.publish(name, self.root / HOT, parquet_bytes(rows, footer, self.columns, Stage.COMMITTED), footer)
        self.next_index, self.chain = footer.last + 1, footer.chain or BEGINNING
        self._remember(name, rows)
        return first, footer.last

    def _numbered(self, table: pa.Table, first: int) -> pa.Table:
        count = table.num_rows
        recorded_us = np.full(count, self.clock() // 1000, dtype="datetime64[us]")
        made = {
            "log_index": pa.array(np.arange(first, first + count)),
            "recorded_at": pa.array(recorded_us, pa.timestamp("us", tz="UTC")),
        }
        columns = [made[name] if name in made else table.column(name) for name in self.schema.names]
        return pa.Table.from_arrays(columns, schema=self.schema)

    def publish(self, name: FileName, folder: Path, content: pa.Buffer, footer: Footer) -> Path:
        """Write a file, make it durable, and only then let readers see it.

        Raises:
            UnwritableError: as `commit`.
        """
        final = folder / format_name(name)
        tmp = final.with_name(final.name + TMP_SUFFIX)
        try:
            # A crash here leaves an incomplete .tmp; nobody was answered, and recovery removes it.
            self.disk.write_new(tmp, memoryview(content))
            # Readers act on a file as soon as it has its name, so a power loss must not be able to take it back: the
            # entry is made durable first. A crash from here on leaves a complete .tmp, which recovery publishes.
            self.disk.fsync_folder(folder)
        except UnwritableError:
            self._abandon(tmp)
            raise
        try:
            self.disk.publish(tmp, final)
            # A crash here leaves the file under one name or both, whichever of them power loss keeps; recovery fsyncs
            # and keeps it. Nobody was answered yet, so what was in it is sent again and is a repeat.
            self.disk.fsync_folder(folder)
            # A crash here leaves both names; recovery takes the temporary one away. It may come back after power loss.
            self.disk.unlink(tmp)
            with self.lock:
                self.files[name] = Known(final, replace(footer, size_bytes=content.size))
                self._coverage = None
        except BaseException:
            # Whatever it was: the range may be taken now, and only the disk can tell.
            self.settled = False
            raise
        return final

    def _abandon(self, tmp: Path) -> None:
        """Nothing was published. If even the removal fails, the next commit must not guess what is left."""
        try:
            # A crash here leaves the .tmp, or power loss brings it back: torn, and recovery removes it; or complete,
            # and recovery publishes it unless other rows have its range by then. Nobody was answered for it.
            self.disk.unlink(tmp)
        except UnwritableError:
            self.settled = False

    def remove(self, name: FileName) -> None:
        """Unlink a file that another one hides."""
        known = self.files[name]
        # Not followed by a folder fsync: power loss may bring it back, hidden as before, and it is removed again.
        self.disk.unlink(known.path)
        with self.lock:
            del self.files[name]
            self._coverage = None
        self._forget(name)

    def sealed_folder(self, day: str) -> Path:
        """The folder for files sealed on a UTC day, made durable before any file is put in it."""
        folder = date_folder(self.root, day)
        # A crash here leaves an empty folder, which nobody minds and the next seal of that day uses.
        self.disk.make_folder(folder)
        return folder

    # --- tables of recent commits, so that a merge need not read back what was just written ---

    def _remember(self, name: FileName, table: pa.Table) -> None:
        with self.lock:
            self._recent[name] = table
            self._recent_bytes += table.nbytes
            while self._recent_bytes > _CACHED_BYTES:
                _, dropped = self._recent.popitem(last=False)
                self._recent_bytes -= dropped.nbytes

    def _forget(self, name: FileName) -> None:
        with self.lock:
            table = self._recent.pop(name, None)
            self._recent_bytes -= table.nbytes if table is not None else 0

    def recent(self, name: FileName) -> pa.Table | None:
        """The rows of a recent commit, if still in memory."""
        with self.lock:
            return self._recent.get(name)
