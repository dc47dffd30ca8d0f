"""What a data folder holds, told without owning it: also while a collector writes to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from otel_audit.archive.chain import breaks, contradicts
from otel_audit.archive.extent import read_extent
from otel_audit.archive.footer import Footer, read_footer
from otel_audit.archive.listing import Listing, has_log, resolve_files, scan_files
from otel_audit.archive.names import FileName, Stage
from otel_audit.archive.verify import check_file
from otel_audit.errors import NoLogError, StorageError
from otel_audit.log.folder import read_identity, read_owner
from otel_audit.log.held import Held, held
from otel_audit.log.quarantine import FOLDER
from otel_audit.log.scrub import read_scrubbed
from otel_audit.log.streams import FOLDER as STREAMS_FOLDER
from otel_audit.model.completeness import LostRows
from otel_audit.model.interrupts import check_read
from otel_audit.model.record import from_us
from otel_audit.model.record_json import format_time

__all__ = ["FolderStatus", "folder_status", "status_to_json"]

_TRIES = 5
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class FolderStatus:
    """Facts about a data folder. Sizes in bytes, times in µs since 1970; `faults` are sentences, none when all is well.

    `lost`: rows of any of the logs that are accepted as lost.

    `duplicates_dropped`: as far as the streams log notes them; releases that had none kept no lasting count.
    `scrub_completed_us`: when the collector had last read every byte back; None for never.
    `checked_files`: how many footers were opened and agree with their names (`check=True` opens every one).
    """

    log: str
    rows: int
    hot_files: int
    sealed_files: int
    hot_bytes: int
    sealed_bytes: int
    occurred_min_us: int | None
    occurred_max_us: int | None
    quarantined: int
    quarantined_bytes: int
    duplicates_dropped: int
    owner_pid: int | None
    owner_url: str | None
    checked_files: int = 0
    scrub_completed_us: int | None = None
    faults: list[str] = field(default_factory=list)
    lost: tuple[LostRows, ...] = ()


def folder_status(data_dir: Path, check: bool = False, deep: Progress | None = None) -> FolderStatus:
    """Look at a data folder.

    Args:
        check: also open the footers of files that others hide.
        deep: also compare every byte of every file with what was written; called after each file with how many are
            done, and how many there are.

    Raises:
        NoLogError, NewerFormatError, StorageError: it cannot be looked at.
    """
    identity = read_identity(data_dir)
    if identity is None:
        raise NoLogError(f"{data_dir} holds no otel-audit log")
    listing, footers, faults = _look(data_dir)
    lost = listing.lost
    own = {identity.log, *identity.previous}
    faults += [f"files of another log: {log}" for log in listing.coverage if log not in own]
    hidden_checked = _check_hidden(data_dir, listing, footers, faults) if check else 0
    held_now: list[Held] = []
    if has_log(data_dir / FOLDER):
        holding, held_footers, held_faults = _look(data_dir / FOLDER)
        hidden_checked += _check_hidden(data_dir / FOLDER, holding, held_footers, held_faults) if check else 0
        faults += [f"quarantine: {fault}" for fault in held_faults]
        lost += holding.lost
        if not held_faults:
            try:
                held_now = held(data_dir)
            except StorageError as error:
                faults.append(f"quarantine: {error}")
    noted: dict[FileName, Footer] = {}
    if has_log(data_dir / STREAMS_FOLDER):
        notes, noted, noted_faults = _look(data_dir / STREAMS_FOLDER)
        hidden_checked += _check_hidden(data_dir / STREAMS_FOLDER, notes, noted, noted_faults) if check else 0
        faults += [f"streams: {fault}" for fault in noted_faults]
        lost += notes.lost
    scrubbed = read_scrubbed(data_dir)
    faults += [fault for where, fault in scrubbed.damaged.items() if (data_dir / where).exists()]
    if deep is not None:
        logs = [data_dir / part for part in ("", FOLDER, STREAMS_FOLDER) if (data_dir / part).is_dir()]
        faults += [fault for fault in _read_all(logs, deep) if fault not in faults]
    owner = read_owner(data_dir)
    sealed = [footer for name, footer in footers.items() if name.stage is Stage.SEALED]
    hot = [footer for name, footer in footers.items() if name.stage is not Stage.SEALED]
    spans = list(footers.values())
    return FolderStatus(
        log=identity.log,
        rows=sum(footer.rows for footer in spans),
        hot_files=len(hot),
        sealed_files=len(sealed),
        hot_bytes=sum(footer.size_bytes for footer in hot),
        sealed_bytes=sum(footer.size_bytes for footer in sealed),
        occurred_min_us=min((f.occurred_min_us for f in spans if f.occurred_min_us is not None), default=None),
        occurred_max_us=max((f.occurred_max_us for f in spans if f.occurred_max_us is not None), default=None),
        quarantined=len(held_now),
        quarantined_bytes=sum(one.request_bytes for one in held_now),
        duplicates_dropped=sum(footer.repeats or 0 for footer in noted.values()),
        owner_pid=owner.get("pid") if owner else None,
        owner_url=owner.get("url") if owner else None,
        checked_files=len(spans) + hidden_checked,
        scrub_completed_us=scrubbed.completed_us or None,
        faults=faults,
        lost=lost,
    )


def status_to_json(status: FolderStatus) -> dict[str, Any]:
    """The facts as `otel-audit status` and /v1/audit/status tell them."""
    return {
        "log": status.log,
        "rows": status.rows,
        "hot_files": status.hot_files,
        "hot_bytes": status.hot_bytes,
        "sealed_files": status.sealed_files,
        "sealed_bytes": status.sealed_bytes,
        "occurred_min": _time(status.occurred_min_us),
        "occurred_max": _time(status.occurred_max_us),
        "quarantined": status.quarantined,
        "quarantined_bytes": status.quarantined_bytes,
        "duplicates_dropped": status.duplicates_dropped,
        "owner_pid": status.owner_pid,
        "owner_url": status.owner_url,
        "checked_files": status.checked_files,
        "scrub_completed": _time(status.scrub_completed_us),
        "lost": [{"log": rows.log, "first": rows.first, "last": rows.last} for rows in status.lost],
        "faults": status.faults,
    }


def _time(us: int | None) -> str | None:
    return None if us is None else format_time(from_us(us))


def _read_all(logs: list[Path], progress: Progress) -> list[str]:
    """What is wrong with the bytes of the files of these logs; one that goes meanwhile has been replaced."""
    faults = []
    paths = [path for root in logs for path in scan_files(root, read_extent(root)).values()]
    for done, path in enumerate(paths, start=1):
        try:
            check_file(path)
        except FileNotFoundError:
            pass
        except StorageError as error:
            faults.append(str(error))
        progress(done, len(paths))
    return faults


def _check_hidden(root: Path, listing: Listing, read: dict[FileName, Footer], faults: list[str]) -> int:
    """Open the footers of files that others hide, as long as they are there, and compare them with these."""
    found = scan_files(root, read_extent(root))
    checked = 0
    for part in listing.coverage.values():
        for name, hidden in part.hiding():
            try:
                if hidden in found:
                    footer = read_footer(found[hidden])
                    checked += 1
                    if name in read and contradicts(read[name], footer):
                        faults.append(f"{found[hidden].name} and the file that hides it hold different rows")
            except FileNotFoundError:
                continue
            except StorageError as error:
                faults.append(str(error))
    return checked


def _look(root: Path) -> tuple[Listing, dict[FileName, Footer], list[str]]:
    """The files of a log, their footers, and what is wrong with either.

    Beside a running collector a hole, or a file that has gone, means that a merge or seal ran in between: look again.
    """
    for attempt in range(_TRIES):
        extent = read_extent(root)
        listing = resolve_files(scan_files(root, extent), extent)
        faults = listing.faults
        if faults and attempt < _TRIES - 1:
            continue
        footers: dict[FileName, Footer] = {}
        try:
            for file in listing.files:
                check_read()
                try:
                    footers[file.name] = read_footer(file.path)
                except StorageError as error:
                    faults.append(str(error))
        except FileNotFoundError:
            continue
        return listing, footers, faults + breaks(footers.values())
    raise StorageError(f"{root}: its files go away faster than they can be read")
