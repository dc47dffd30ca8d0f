"""A copy of a data folder that can be opened at any moment, made while a collector may be writing.

What is read, and in which order, makes the copy consistent; what is written, and in which order, keeps it so when the
copying is cut short:

- the state, which has the high-water mark, is read before any file is listed, so no copied mark exceeds the rows;
- the streams log is listed first and the quarantine last, so that no copied note speaks of a record that is not copied;
- files are copied in log order, so what is there is always the log from its beginning to some row; the quarantine and
  the activities are written before the notes, and the state after all rows (but first what rows are accepted as lost).

Files never change once they have their name, so one that was copied before is kept. The index of ids is left out: it
can be rebuilt, and is, when the copy is opened.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from otel_audit.archive.extent import LOG, QUARANTINE, STREAMS, Extent, read_extent
from otel_audit.archive.footer import Footer, read_footer
from otel_audit.archive.listing import ARCHIVE, HOT, Listing, LocatedFile, has_log, list_log, resolve_files, scan_files
from otel_audit.archive.names import FileName, Stage, format_name
from otel_audit.archive.verify import check_file
from otel_audit.disk import TMP_SUFFIX, Disk
from otel_audit.errors import ArchiveFaultError, NoLogError, NotADataFolderError, StorageError
from otel_audit.log.backup_state import is_loss, read_state, write_state
from otel_audit.log.copying import copy_file, link_file
from otel_audit.log.folder import FolderLock, read_identity

__all__ = ["BackupReport", "back_up"]

_TRIES = 20
_READ_ORDER = (STREAMS, ".", QUARANTINE)
_WRITE_ORDER = (QUARANTINE, ".", STREAMS)
_STATE_ORDER = (QUARANTINE, STREAMS, ".")


@dataclass(slots=True)
class BackupReport:
    """What a backup came to. `kept`: files that an earlier backup had copied. `removed`: hot files of an earlier backup
    whose rows stand in other files now. `rows`: activities in the copy."""

    log: str
    rows: int = 0
    copied: int = 0
    linked: int = 0
    kept: int = 0
    removed: int = 0
    copied_bytes: int = 0
    faults: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Part:
    """One log as it stood at one instant: its Parquet files in log order, and handles of the hot ones."""

    source: Path
    target: Path
    listing: Listing
    handles: dict[FileName, int]


def back_up(
    data_dir: Path,
    target: Path,
    *,
    link: bool = False,
    disk: Disk | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> BackupReport:
    """Copy a data folder, also one that a collector writes to; what was acknowledged before the call is in the copy.

    Args:
        target: an empty or new folder, or one that earlier backups of the same log went to: only what is new is copied.
        link: make hard links where the file system lets us, which takes no room and no time. Both names are then one
            file: it guards against removal, not against damage.
        progress: told of the files done and of how many there are.

    Raises:
        NotADataFolderError: `data_dir` holds no log, or `target` something else.
        FolderLockedError: a collector, or another backup, owns the target.
        ArchiveFaultError: the folder has a fault, or the copy of an earlier backup does not fit it. What could be
            copied was.
        StorageError, UnwritableError: a file cannot be read or written; run it again.
    """
    disk = disk or Disk()
    identity = read_identity(data_dir)
    if identity is None:
        raise NoLogError(f"{data_dir} holds no otel-audit log")
    source, goal = data_dir.resolve(), target.resolve()
    if source == goal or source in goal.parents or goal in source.parents:
        raise NotADataFolderError(f"{target}: a backup does not go into the folder it is made of, nor around it")
    with ExitStack() as handles:
        names = [name for name in _READ_ORDER if has_log(data_dir / name)]
        state = {name: read_state(data_dir / name / LOG) for name in names}
        parts = {name: _look(data_dir / name, target / name, handles) for name in names}
        for part in parts.values():
            _refuse_target(part)
        return _owning(target, lambda: _copied(identity.log, parts, state, link, disk, progress), disk)


def _owning(target: Path, copy: Callable[[], BackupReport], disk: Disk) -> BackupReport:
    # A crash here or at any later step leaves the copy of an earlier backup, with some files more, or the beginning of
    # a first one, which nothing takes for a log before its identity is there. The next backup goes on.
    for folder in reversed([target, *target.parents]):
        if not folder.exists():
            disk.make_folder(folder)
    disk.make_folder(target / LOG)
    lock = FolderLock(target)
    try:
        return copy()
    finally:
        lock.release()


def _copied(
    log: str,
    parts: dict[str, _Part],
    state: dict[str, dict[str, bytes]],
    link: bool,
    disk: Disk,
    progress: Callable[[int, int], None],
) -> BackupReport:
    report = BackupReport(log, rows=sum(file.name.rows for file in parts["."].listing.files))
    for name in parts:
        write_state(parts[name].target, {key: state[name][key] for key in state[name] if is_loss(key)}, disk)
    total, done = sum(len(part.listing.files) for part in parts.values()), 0
    for name in _WRITE_ORDER:
        if name in parts:
            for _ in _copy(parts[name], link, disk, report):
                done += 1
                progress(done, total)
    for name in _STATE_ORDER:
        if name in parts:
            write_state(parts[name].target, {key: state[name][key] for key in state[name] if not is_loss(key)}, disk)
    for part in parts.values():
        _check(part, report)
    if report.faults:
        raise ArchiveFaultError("; ".join(report.faults))
    for part in parts.values():
        _remove_hidden(part.target, disk, report)
    return report


# --- looking ---


def _refuse_target(part: _Part) -> None:
    """Refuse to spoil what is no earlier backup, or one that has more than the folder."""
    if not part.target.exists():
        return
    identity = read_identity(part.target)
    there = resolve_files(scan_files(part.target), Extent()).coverage
    known = part.listing.coverage
    names = {*there, *([identity.log] if identity is not None else [])}
    if others := sorted(names - {*known, *_log_of(part.source)}):
        raise NotADataFolderError(f"{part.target} holds another log, {', '.join(others)}, and no copy of {part.source}")
    for log in there:
        more = there[log].next_index - (known[log].next_index if log in known else 0)
        if more > 0:
            raise ArchiveFaultError(
                f"{part.target} holds {more} rows more of log {log} than {part.source}, which has lost them or was put "
                "back to an earlier state; name another folder for the backup, and keep this one"
            )


def _log_of(source: Path) -> list[str]:
    identity = read_identity(source)
    return [] if identity is None else [identity.log]


def _look(source: Path, target: Path, handles: ExitStack) -> _Part:
    for _ in range(_TRIES):
        listing = list_log(source)
        opened: dict[FileName, int] = {}
        try:
            with ExitStack() as meanwhile:
                # Held open: a merge or seal may take a hot file's name away before its turn comes.
                for file in listing.files:
                    if file.name.stage is not Stage.SEALED:
                        opened[file.name] = _opened(file.path, meanwhile)
                handles.enter_context(meanwhile.pop_all())
        except FileNotFoundError:
            continue
        return _Part(source, target, listing, opened)
    raise StorageError(f"{source}: its files go away faster than they can be opened")


def _opened(path: Path, handles: ExitStack) -> int:
    """Raises FileNotFoundError, StorageError."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StorageError(f"{path}: cannot be read now: {error.strerror}") from error
    handles.callback(os.close, handle)
    return handle


# --- copying ---


def _copy(part: _Part, link: bool, disk: Disk, report: BackupReport) -> Iterator[None]:
    """Bring one log's files over, in log order; yields after each."""
    for name in (HOT, ARCHIVE):
        disk.make_folder(part.target / name)
    _remove_temporaries(part.target, disk)
    there = scan_files(part.target)
    for file in part.listing.files:
        if file.name in there:
            _check_same(file, there[file.name], report)
            report.kept += 1
        else:
            folder = part.target / file.path.parent.relative_to(part.source)
            if folder.parent != part.target:
                disk.make_folder(folder)
            _bring(part, file, folder / file.path.name, link, disk, report)
        yield


def _bring(part: _Part, file: LocatedFile, final: Path, link: bool, disk: Disk, report: BackupReport) -> None:
    if link and link_file(file.path, final, disk):
        report.linked += 1
    else:
        with ExitStack() as own:
            handle = part.handles.get(file.name)
            try:
                report.copied_bytes += copy_file(_opened(file.path, own) if handle is None else handle, final, disk)
            except FileNotFoundError:
                raise StorageError(f"{file.path} has gone since the folder was listed") from None
        report.copied += 1
    try:
        # Every byte, against the digests that it carries: a copy of rot is told while there may still be another copy.
        check_file(final)
    except ArchiveFaultError as error:
        report.faults.append(str(error))


def _check_same(file: LocatedFile, copy: Path, report: BackupReport) -> None:
    """Whether a file that is there already is the one that would be copied; what a merge has removed is not asked."""
    try:
        if _footer_or_gone(file.path) not in {None, read_footer(copy)}:
            report.faults.append(f"{copy} is another file than {file.path}")
    except ArchiveFaultError as error:
        report.faults.append(str(error))


def _footer_or_gone(path: Path) -> Footer | None:
    try:
        return read_footer(path)
    except FileNotFoundError:
        return None


# --- afterwards ---


def _remove_temporaries(target: Path, disk: Disk) -> None:
    """What a copy that was cut short has left. A crash here leaves some of it to the next backup."""
    for path in (*target.glob(f"{HOT}/*{TMP_SUFFIX}"), *target.glob(f"{ARCHIVE}/*/*{TMP_SUFFIX}")):
        disk.unlink(path)


def _remove_hidden(target: Path, disk: Disk, report: BackupReport) -> None:
    """Remove hot files of an earlier backup whose rows stand in files that were copied, and read, since."""
    found = scan_files(target)
    for part in resolve_files(found, read_extent(target)).coverage.values():
        for name in part.hidden:
            if name.stage is not Stage.SEALED:
                # A crash here leaves it, hidden as before, to the next backup or to whoever opens the copy.
                disk.unlink(found[name])
                report.removed += 1


def _check(part: _Part, report: BackupReport) -> None:
    """Look at the copy as one that opens it would. Each of its files was read when it was brought, or found there."""
    listing = resolve_files(scan_files(part.target), read_extent(part.target))
    report.faults += [f"{part.target}: {fault}" for fault in listing.faults]
    lacking = {file.name for file in part.listing.files} - {file.name for file in listing.files}
    report.faults += [f"{part.target} lacks {format_name(name)}" for name in sorted(lacking)]
