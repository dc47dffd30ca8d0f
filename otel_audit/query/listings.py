"""The listing of a data folder, made again only as far as folders changed: cheap with thousands of sealed files.

A folder's modification time moves whenever a name appears in it or goes. It is trusted once it lies well before the
moment of listing: the kernel's clock is coarse, so a name may appear without the time moving right after a change.
"""

from __future__ import annotations

import os
import time
from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from otel_audit.archive.extent import Extent, extent_token, read_extent
from otel_audit.archive.listing import (
    ARCHIVE,
    HOT,
    Listing,
    LocatedFile,
    list_log,
    scan_files,
    without_a_target,
)
from otel_audit.archive.names import Coverage, FileName, Stage, parse_name, resolve
from otel_audit.errors import StorageError
from otel_audit.model.ranges import Ranges, merged

__all__ = ["Listings"]

_SETTLED_NS = 2_000_000_000


@dataclass(frozen=True, slots=True)
class _Folder:
    """What a folder held: (mtime, inode) from before the listing, and the names of interest."""

    token: tuple[int, int]
    settled: bool
    entries: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Sealed:
    """The sealed files of all logs; per log what they amount to by themselves."""

    paths: dict[FileName, Path]
    coverage: dict[str, Coverage]
    firsts: dict[str, list[int]]


class Listings:
    """Gives `list_log(root)` as of now. Not safe to share between threads: its owner locks.

    Args:
        clock: nanoseconds since 1970, by the clock that dates files.
    """

    def __init__(self, root: Path, clock: Callable[[], int] = time.time_ns) -> None:
        self._root = root
        self._clock = clock
        self._folders: dict[str, _Folder] = {}
        self._archive: _Folder | None = None
        self._day_paths: list[str] = []
        self._days: tuple[_Folder, ...] = ()
        self._sealed = _Sealed({}, {}, {})
        self._parts: tuple[object, ...] = ()
        self._listing: Listing | None = None
        self._lost: Mapping[str, Ranges] = {}
        self._marked: object = None
        self._last_extent = Extent()

    def current(self) -> Listing:
        """The files to read; the same object as long as nothing changed.

        Raises:
            ArchiveFaultError, NotADataFolderError, StorageError: as `list_log`.
        """
        try:
            extent = self._extent()  # before the files, which are never behind it
            root = self._look(str(self._root))
            if root is None or self._listing is None:
                scan_files(self._root, extent)  # says what is wrong with a folder that is not ours
            # Hot before the archive: a file sealed in between is seen twice, never missed.
            hot = self._look(str(self._root / HOT))
            sealed = self._look_at_archive(extent)
        except OSError as error:
            raise StorageError(f"cannot list {self._root}: {error.strerror}") from error
        parts = (root, hot, sealed, extent)
        if self._listing is not None and all(a is b for a, b in zip(parts, self._parts, strict=True)):
            return self._listing
        listing = self._resolve(hot.entries if hot is not None else (), sealed, extent)
        if listing is None:
            # A hole or an overlap: files moved during the listing, or a fault. This one tries again and decides.
            self.forget()
            return list_log(self._root)
        self._parts, self._listing = parts, listing
        return listing

    def forget(self) -> None:
        """List everything again next time."""
        self._folders.clear()
        self._archive, self._day_paths, self._days = None, [], ()
        self._parts, self._listing = (), None

    def _extent(self) -> Extent:
        """What must be there; the same object as long as the mark and the folder of lost ranges stand as they were."""
        marked = extent_token(self._root)
        if marked != self._marked:
            self._last_extent, self._marked = read_extent(self._root), marked
        return self._last_extent

    def _look(self, path: str) -> _Folder | None:
        # Text and os.stat: a log of seven years has 2,500 folders, and pathlib would take twice as long as the kernel.
        try:
            status = os.stat(path)  # noqa: PTH116
            token = status.st_mtime_ns, status.st_ino
            known = self._folders.get(path)
            if known is not None and known.settled and known.token == token:
                return known
            now = self._clock()
            entries = tuple(os.listdir(path))
        except FileNotFoundError:
            self._folders.pop(path, None)
            if fault := without_a_target(Path(path)):
                raise fault from None
            return None
        seen = _Folder(token, status.st_mtime_ns + _SETTLED_NS < now, entries)
        if seen == known:
            return known
        self._folders[path] = seen
        return seen

    def _look_at_archive(self, extent: Extent) -> _Sealed:
        archive = self._look(str(self._root / ARCHIVE))
        if archive is not self._archive:
            names = sorted(entry for entry in archive.entries if entry.startswith("date=")) if archive else []
            self._archive, self._day_paths = archive, [str(self._root / ARCHIVE / name) for name in names]
        days = [(path, folder) for path in self._day_paths if (folder := self._look(path)) is not None]
        folders = tuple(folder for _, folder in days)
        same = len(folders) == len(self._days) and all(a is b for a, b in zip(folders, self._days, strict=True))
        if same and extent.lost == self._lost:
            return self._sealed
        paths: dict[FileName, Path] = {}
        by_log: dict[str, list[FileName]] = {}
        for path, folder in days:
            for entry in folder.entries:
                name = parse_name(entry)
                if name is not None and name.stage is Stage.SEALED:
                    paths[name] = Path(path, entry)
                    by_log.setdefault(name.log, []).append(name)
        coverage = {log: resolve(found, lost=extent.lost.get(log, ())) for log, found in by_log.items()}
        firsts = {log: [name.first for name in part.files] for log, part in coverage.items()}
        self._days, self._lost, self._sealed = folders, extent.lost, _Sealed(paths, coverage, firsts)
        return self._sealed

    def _resolve(self, hot_entries: tuple[str, ...], sealed: _Sealed, extent: Extent) -> Listing | None:
        """Hot and sealed files together; None when a range is missing or two contradict each other."""
        hot: dict[FileName, Path] = {}
        by_log: dict[str, list[FileName]] = {}
        for entry in hot_entries:
            name = parse_name(entry)
            if name is not None and name.stage is not Stage.SEALED:
                hot[name] = self._root / HOT / entry
                by_log.setdefault(name.log, []).append(name)
        coverage: dict[str, Coverage] = {}
        for log in extent.logs({*by_log, *sealed.coverage}):
            mark, lost = extent.marks.get(log, 0), extent.lost.get(log, ())
            coverage[log] = _with_hot(
                sealed.coverage.get(log), sealed.firsts.get(log, []), by_log.get(log, []), mark, lost
            )
        if not all(part.faultless for part in coverage.values()):
            return None
        files = tuple(
            LocatedFile(name, sealed.paths[name] if name.stage is Stage.SEALED else hot[name])
            for part in coverage.values()
            for name in part.files
        )
        return Listing(files, coverage)


def _with_hot(sealed: Coverage | None, firsts: list[int], hot: list[FileName], mark: int, lost: Ranges) -> Coverage:
    """`resolve` of a log's sealed and hot files, without going again through sealed files before the first hot one."""
    if sealed is None:
        return resolve(hot, mark=mark, lost=lost)
    if not hot and mark <= sealed.next_index:
        return sealed
    if not hot or not sealed.faultless:
        return resolve([*sealed.files, *sealed.hidden, *hot], mark=mark, lost=lost)
    # Sealed ranges follow each other without holes but for lost rows, so those before the file
    # that holds the first hot index cannot meet any hot file.
    keep = max(0, bisect_right(firsts, min(name.first for name in hot)) - 1)
    tail = sealed.files[keep:]
    start = tail[0].first if tail else 0
    part = resolve([*tail, *hot], start, mark, lost)
    return Coverage(
        (*sealed.files[:keep], *part.files),
        (*sealed.hidden, *part.hidden),
        part.holes,
        part.overlaps,
        part.next_index,
        merged((*sealed.lost, *part.lost)) if tail else part.lost,
    )
