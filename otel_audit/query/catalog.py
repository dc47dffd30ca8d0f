"""The files to read now, with what their footers say about them; each footer is opened once, for files never change.

DuckDB checks no checksum of any kind. So each footer is checked against its digest before it is believed, and a hot
file, which is small and soon replaced, is read whole against its own once, before DuckDB sees it. Sealed files are too
many for that: the collector's slow check reads them in turn.
"""

from __future__ import annotations

import os
import threading
import time
from array import array
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pyarrow as pa

from otel_audit.archive.footer import parse_footer, read_metadata, unreadable
from otel_audit.archive.listing import HOT
from otel_audit.archive.verify import check_file
from otel_audit.errors import ArchiveFaultError, ReaderUnavailableError
from otel_audit.model.completeness import LostRows
from otel_audit.query.listings import Listings

__all__ = ["Catalog", "FileFacts", "RowGroup", "Snapshot"]

Token = tuple[int, int, int]
_TRIES = 8
_PAUSE_S = 0.02


@dataclass(frozen=True, slots=True)
class RowGroup:
    """Rows `first` to `last` (log indexes) of a file; `min_us` and `max_us` span their `occurred_at`."""

    path: str
    first: int
    last: int
    min_us: int
    max_us: int

    @property
    def rows(self) -> int:
        """How many rows the row group holds."""
        return self.last - self.first + 1


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What a reader needs to know of a file.

    `id_span`: least and greatest `record_id`, None when unknown. `groups`: per row group its last log index and the
    span of its `occurred_at`, flat. `row_bytes`: what a row takes once decompressed, on average, in the row group where
    rows are largest.
    """

    path: str
    log: str
    first: int
    last: int
    min_us: int
    max_us: int
    id_span: tuple[str, str] | None
    groups: array[int] = field(repr=False)
    row_bytes: int

    @property
    def rows(self) -> int:
        """How many rows the file holds."""
        return self.last - self.first + 1

    def row_groups(self) -> Iterator[RowGroup]:
        """The row groups, in log order."""
        first = self.first
        for at in range(0, len(self.groups), 3):
            last, min_us, max_us = self.groups[at : at + 3]
            yield RowGroup(self.path, first, last, min_us, max_us)
            first = last + 1


@dataclass(frozen=True)
class Snapshot:
    """The files of one instant: every row of every log in exactly one of them, or accepted as lost. In log order.

    `ends`: by log, the index that follows its last row.
    """

    files: tuple[FileFacts, ...]
    logs: tuple[str, ...]
    lost: tuple[LostRows, ...] = ()
    ends: Mapping[str, int] = field(default_factory=dict)

    @cached_property
    def rows(self) -> int:
        """Rows in all logs together."""
        return sum(file.rows for file in self.files)

    @cached_property
    def by_newest(self) -> tuple[FileFacts, ...]:
        """By the end of the span of `occurred_at`, latest first."""
        return tuple(sorted(self.files, key=lambda file: file.max_us, reverse=True))

    @cached_property
    def by_oldest(self) -> tuple[FileFacts, ...]:
        """By the beginning of the span of `occurred_at`, earliest first."""
        return tuple(sorted(self.files, key=lambda file: file.min_us))

    def vanished(self) -> bool:
        """Whether a file has gone since: then what failed is worth another try."""
        return any(not Path(file.path).exists() for file in self.files)


class Catalog:
    """Snapshots of a data folder. Safe to share between threads.

    Keeps the facts of the files of the latest snapshot, about a kilobyte each.
    """

    def __init__(self, root: Path, clock: Callable[[], int] = time.time_ns) -> None:
        self._listings = Listings(root.absolute(), clock)
        self._lock = threading.Lock()
        self._facts: dict[str, tuple[Token, FileFacts]] = {}
        self._listed: object = None
        self._snapshot = Snapshot((), ())

    def snapshot(self) -> Snapshot:
        """The files as of now; the same object as long as nothing changed.

        Raises:
            ArchiveFaultError: ranges missing or overlapping, or a damaged or foreign file.
            NotADataFolderError, StorageError: as `list_log`.
            ReaderUnavailableError: files go away faster than they can be opened.
        """
        with self._lock:
            for attempt in range(_TRIES):
                listing = self._listings.current()
                if listing is self._listed:
                    return self._snapshot
                try:
                    known = {str(file.path): self._known(file.path) for file in listing.files}
                except FileNotFoundError:
                    self._listings.forget()
                    time.sleep(_PAUSE_S * attempt)
                    continue
                files = tuple(facts for _, facts in known.values())
                self._facts = known
                self._listed, self._snapshot = (
                    listing,
                    Snapshot(
                        files,
                        tuple(listing.coverage),
                        listing.lost,
                        {log: part.next_index for log, part in listing.coverage.items()},
                    ),
                )
                return self._snapshot
        raise ReaderUnavailableError("files are merged and sealed faster than their footers can be read")

    def forget_listing(self) -> None:
        """List again next time, whatever the folders' times say."""
        with self._lock:
            self._listings.forget()
            self._listed = None

    def _known(self, path: Path) -> tuple[Token, FileFacts]:
        """Files never change, but a folder that is restored under a reader has others of the same names."""
        token = _token(path)
        known = self._facts.get(str(path))
        return known if known is not None and known[0] == token else (token, _read_facts(path))


def _token(path: Path) -> Token:
    """Tells a file from another one in its place. Raises FileNotFoundError when it has gone."""
    try:
        status = os.stat(path)  # noqa: PTH116  thousands of files at a time
    except FileNotFoundError:
        raise
    except OSError as error:
        raise unreadable(path, error) from error
    return status.st_ino, status.st_mtime_ns, status.st_size


def _read_facts(path: Path) -> FileFacts:
    """Raises ArchiveFaultError for a damaged or foreign file, FileNotFoundError for one that has gone."""
    try:
        if path.parent.name == HOT:
            check_file(path)
        metadata = read_metadata(path)
        footer = parse_footer(metadata, path)
        if footer.occurred_min_us is None or footer.occurred_max_us is None:
            raise ArchiveFaultError(f"{path}: no activity file (its footer has no span of occurred_at)")
        whole = footer.occurred_min_us, footer.occurred_max_us
        names = metadata.schema.names
        at_time, at_id = names.index("occurred_at"), names.index("record_id")
        groups = array("q")
        ids: list[tuple[str, str] | None] = []
        last = footer.first - 1
        row_bytes = 1
        for number in range(metadata.num_row_groups):
            group = metadata.row_group(number)
            last += group.num_rows
            row_bytes = max(row_bytes, group.total_byte_size // max(1, group.num_rows))
            times = group.column(at_time).statistics
            span = (times.min_raw, times.max_raw) if times is not None and times.has_min_max else whole
            groups.extend((last, *span))
            text = group.column(at_id).statistics
            ids.append((text.min, text.max) if text is not None and text.has_min_max else None)
    except FileNotFoundError:
        raise
    except ArchiveFaultError:
        if path.exists():
            raise
        raise FileNotFoundError(path) from None
    except (pa.ArrowException, OSError, ValueError) as error:
        raise unreadable(path, error) from error
    known = [pair for pair in ids if pair is not None]
    id_span = (min(low for low, _ in known), max(high for _, high in known)) if len(known) == len(ids) > 0 else None
    return FileFacts(str(path), footer.log, footer.first, footer.last, *whole, id_span, groups, row_bytes)
