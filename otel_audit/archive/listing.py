"""Which files hold the log at this instant, as a reader without any lock sees it.

Hot is listed before the archive: a file that is sealed in between is then seen twice (and resolved), never missed.
A hole means that a merge or seal moved files during the listing, so it is listed again; a hole that stays is a fault.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from otel_audit.archive.extent import LOG, Extent, read_extent
from otel_audit.archive.names import Coverage, FileName, Stage, parse_name, resolve
from otel_audit.errors import ArchiveFaultError, NoLogError, NotADataFolderError, StorageError
from otel_audit.model.completeness import LostRows

__all__ = [
    "ARCHIVE",
    "HOT",
    "LOG",
    "Listing",
    "LocatedFile",
    "date_folder",
    "has_log",
    "linked_folders",
    "list_log",
    "resolve_files",
    "scan_files",
    "without_a_target",
]

HOT, ARCHIVE = "hot", "archive"
_TRIES = 8
_PAUSE_S = 0.02


@dataclass(frozen=True, slots=True)
class LocatedFile:
    """A file of the log and where it stands."""

    name: FileName
    path: Path


@dataclass(frozen=True, slots=True)
class Listing:
    """The files to read: maximal, by log and then in log order.

    Attributes:
        coverage: per log, what its names amount to.
    """

    files: tuple[LocatedFile, ...]
    coverage: dict[str, Coverage]

    @property
    def log(self) -> str | None:
        """The log's name when there is exactly one."""
        return next(iter(self.coverage)) if len(self.coverage) == 1 else None

    @property
    def next_index(self) -> int:
        """The index that follows the last row of the only log; 0 when there is none."""
        return self.coverage[self.log].next_index if self.log is not None else 0

    @property
    def lost(self) -> tuple[LostRows, ...]:
        """The rows that no file has and that are accepted as lost."""
        return tuple(LostRows(log, *rows) for log, coverage in self.coverage.items() for rows in coverage.lost)

    @property
    def faults(self) -> list[str]:
        """What is wrong, one sentence each."""
        found = []
        for log, coverage in self.coverage.items():
            found += [f"log {log}: rows {first}-{last} are missing" for first, last in coverage.holes]
            found += [
                f"log {log}: {one.first}-{one.last} and {two.first}-{two.last} overlap"
                for one, two in coverage.overlaps
            ]
        return found


def has_log(root: Path) -> bool:
    """Whether there is, or should be, a log in a folder: one of the quarantine or the streams may not be there yet."""
    return root.is_dir() or any(read_extent(root).marks.values())


def date_folder(root: Path, day: str) -> Path:
    """Where files sealed on a UTC day stand."""
    return root / ARCHIVE / f"date={day}"


def linked_folders(root: Path) -> list[Path]:
    """Where the folders of a log really stand that are symbolic links: itself, `hot`, `archive`, or one of a day."""
    folders = [root, root / HOT, root / ARCHIVE]
    with suppress(OSError):  # whoever lists the log says what is wrong with it
        folders += [Path(entry.path) for entry in os.scandir(root / ARCHIVE) if entry.is_symlink()]
    return [folder.resolve() for folder in folders if folder.is_symlink()]


def without_a_target(folder: Path) -> StorageError | None:
    """The fault of a folder that was not found because it is a symbolic link whose target is not there (a disk that is
    not mounted, say): to take it for an empty one would be to lose what stands in it."""
    if not folder.is_symlink():
        return None
    return StorageError(f"{folder} is a symbolic link to {folder.readlink()}, which is not there")


def scan_files(root: Path, extent: Extent | None = None) -> dict[FileName, Path]:
    """Every published file by name: hot first, then the archive. Other files are passed over, never touched.

    Args:
        extent: what should be there. A folder that should hold rows is read as empty when it has gone.

    Raises:
        NotADataFolderError: no such folder, or one that holds something else.
        StorageError: it cannot be listed.
    """
    try:
        entries = set(os.listdir(root)) - {"lost+found"}  # a fresh ext4 volume is as good as an empty folder
        if entries and not entries & {HOT, ARCHIVE, LOG} and any(not entry.startswith(".") for entry in entries):
            raise NotADataFolderError(f"{root} holds no otel-audit log")
        found: dict[FileName, Path] = {}
        for entry in _entries(root / HOT):
            name = parse_name(entry)
            if name is not None and name.stage is not Stage.SEALED:
                found[name] = root / HOT / entry
        for day in _entries(root / ARCHIVE):
            if day.startswith("date="):
                for entry in _entries(root / ARCHIVE / day):
                    name = parse_name(entry)
                    if name is not None and name.stage is Stage.SEALED:
                        found[name] = root / ARCHIVE / day / entry
        return found
    except (FileNotFoundError, NotADirectoryError):
        if extent is not None and any(extent.marks.values()) and not root.exists():
            return {}
        raise NoLogError(f"{root} is not a folder") from None
    except OSError as error:
        raise StorageError(f"cannot list {root}: {error.strerror}") from error


def _entries(folder: Path) -> Iterator[str]:
    try:
        return iter(os.listdir(folder))
    except FileNotFoundError:
        if fault := without_a_target(folder):
            raise fault from None
        return iter(())


def resolve_files(found: dict[FileName, Path], extent: Extent) -> Listing:
    """Apply the rules of `names.resolve` to every log among the files, or that should be among them."""
    by_log: dict[str, list[FileName]] = {}
    for name in found:
        by_log.setdefault(name.log, []).append(name)
    coverage = {
        log: resolve(by_log.get(log, ()), mark=extent.marks.get(log, 0), lost=extent.lost.get(log, ()))
        for log in extent.logs(by_log)
    }
    return Listing(tuple(LocatedFile(name, found[name]) for part in coverage.values() for name in part.files), coverage)


def list_log(root: Path) -> Listing:
    """The files to read now. An empty folder has none.

    Raises:
        ArchiveFaultError: ranges missing, also from the end, or overlapping, after listing again too.
        NotADataFolderError, StorageError: as `scan_files`.
    """
    for attempt in range(_TRIES):
        extent = read_extent(root)  # before the files, which are never behind it
        listing = resolve_files(scan_files(root, extent), extent)
        if all(part.faultless for part in listing.coverage.values()):
            return listing
        if attempt < _TRIES - 1:
            time.sleep(_PAUSE_S * (attempt + 1))
    raise ArchiveFaultError(f"{root}: " + "; ".join(listing.faults))
