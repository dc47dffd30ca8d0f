"""What an operator decides about a folder that does not open: rows that are gone are accepted as lost, by name.

A decision is durable before anything follows from it, and it stays: the rows are named in `log/lost/` for ever, their
log indexes are not used again, and their ids are forgotten, so that a sender that still has them can send them again.
Nothing is deleted. A damaged file is set aside under another name, in the folder it stands in.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from otel_audit.archive.chain import breaks
from otel_audit.archive.extent import (
    ACTIVITY,
    LOG,
    LOST,
    QUARANTINE,
    STREAMS,
    lost_name,
    read_extent,
    read_lost,
    read_marks,
)
from otel_audit.archive.footer import Footer
from otel_audit.archive.listing import ARCHIVE, HOT, has_log, scan_files
from otel_audit.archive.names import FileName, parse_name, resolve
from otel_audit.archive.verify import check_file
from otel_audit.config import Settings
from otel_audit.disk import TMP_SUFFIX, Disk
from otel_audit.errors import ArchiveFaultError, NotADataFolderError, StorageError
from otel_audit.log.folder import open_identity, read_identity, write_state
from otel_audit.log.high_water import earlier_mark
from otel_audit.log.index import IdIndex
from otel_audit.log.stores import Stores
from otel_audit.model.completeness import LostRows

__all__ = ["ASIDE", "Damage", "accept_loss", "survey"]

ASIDE = ".damaged"


@dataclass(frozen=True, slots=True)
class Damage:
    """What of one log is gone.

    Attributes:
        kind, root, log: which log, and where.
        lost: ranges that no whole file has.
        damaged: files that cannot be read, and why. One whose rows stand in other files too costs nothing.
    """

    kind: str
    root: Path
    log: str
    lost: tuple[LostRows, ...]
    damaged: dict[Path, str]

    @property
    def told(self) -> list[str]:
        """In sentences."""
        prefix = "" if self.kind == ACTIVITY else f"{self.kind}: "
        found = [f"{prefix}rows {rows.first}-{rows.last} are missing" for rows in self.lost]
        return [*found, *(f"{prefix}{why}" for why in self.damaged.values())]


def survey(data_dir: Path, settings: Settings, disk: Disk, clock: Callable[[], int]) -> list[Damage]:
    """What is gone, a log at a time; those that are whole are left out. Reads every row. The folder is ours.

    Raises:
        NotADataFolderError: no log.
        ArchiveFaultError: files that contradict each other: which of them to believe is not decided here.
        StorageError: something cannot be read now.
    """
    identity = read_identity(data_dir)
    if identity is None:
        raise NotADataFolderError(f"{data_dir} holds no otel-audit log")
    marks = read_marks(data_dir)
    found = []
    for kind, root in ((ACTIVITY, data_dir), (QUARANTINE, data_dir / QUARANTINE), (STREAMS, data_dir / STREAMS)):
        own = read_identity(root)
        of_kind = marks.get(kind, {})
        log = own.log if own is not None else max(of_kind, key=lambda name: of_kind[name], default=None)
        if log is None or not has_log(root):
            continue
        index = IdIndex(root / LOG / "ids", disk, clock, settings.dedupe_window_s, settings.index_run_rows, log)
        mark = max(of_kind.get(log, 0), earlier_mark(root), index.claimed_end())
        damage = _survey(kind, root, log, mark)
        if damage.lost or damage.damaged:
            found.append(damage)
    return found


def _survey(kind: str, root: Path, log: str, mark: int) -> Damage:
    extent = read_extent(root)
    whole: dict[FileName, Footer] = {}
    damaged: dict[Path, str] = {}
    for name, path in scan_files(root, extent).items():
        if name.log != log:
            continue
        try:
            whole[name] = check_file(path)
        except ArchiveFaultError as error:
            damaged[path] = str(error)
        except FileNotFoundError as error:
            raise StorageError(f"{path}: has gone since the folder was listed") from error
    lost = read_lost(root if kind == ACTIVITY else root.parent).get(log, ())
    coverage = resolve(whole, lost=lost)
    problems = [f"{one.first}-{one.last} and {two.first}-{two.last} overlap" for one, two in coverage.overlaps]
    problems += breaks(whole[name] for name in coverage.files)
    if problems:
        raise ArchiveFaultError(f"{root}: " + "; ".join(problems))
    # A complete temporary file that goes on where the log ends is published by the next start, and not lost.
    for name in sorted(_complete_temporaries(root, log)):
        if name.first == resolve(whole, lost=lost).next_index:
            whole[name] = Footer(log, name.first, name.last, name.rows, 0, 0)
    holes = resolve(whole, mark=mark, lost=lost).holes
    return Damage(kind, root, log, tuple(LostRows(log, *hole) for hole in holes), damaged)


def _complete_temporaries(root: Path, log: str) -> list[FileName]:
    found = []
    for folder in (root / HOT, *(root / ARCHIVE).glob("date=*")):
        for path in folder.glob(f"*{TMP_SUFFIX}"):
            name = parse_name(path.name.removesuffix(TMP_SUFFIX))
            if name is None or name.log != log:
                continue
            try:
                check_file(path)
            except ArchiveFaultError:
                continue
            found.append(name)
    return found


def accept_loss(
    data_dir: Path, damages: list[Damage], settings: Settings, disk: Disk, clock: Callable[[], int]
) -> None:
    """Accept what `survey` found, and bring the folder in order. The folder is ours.

    Raises:
        ArchiveFaultError: it still does not open.
        StorageError, UnwritableError: run it again; what was decided stays decided.
    """
    for damage in damages:
        for path in damage.damaged:
            # A crash here leaves a hole where the file was, and the next survey finds it.
            disk.replace(path, path.with_name(path.name + ASIDE))
            disk.fsync_folder(path.parent)
        # A crash here leaves an index to be made again. It must not outlive the rows: what is lost may be sent again.
        disk.unlink(damage.root / LOG / "ids" / "manifest.json")
        if damage.lost:
            disk.make_folder(data_dir / LOG)
            disk.make_folder(data_dir / LOG / LOST)
        for rows in damage.lost:
            facts = {
                "accepted_at_ns": clock(),
                "log": rows.log,
                "kind": damage.kind,
                "first": rows.first,
                "last": rows.last,
                "set_aside": [os.path.relpath(path, data_dir) + ASIDE for path in damage.damaged],
            }
            # A crash after it leaves the rest to be accepted by another run.
            write_state(data_dir / LOG / LOST / lost_name(rows.log, rows.first, rows.last), facts, disk)
        if read_identity(damage.root) is None:
            # A log that is gone as a whole goes on under its name, after its lost rows.
            open_identity(damage.root, damage.kind, disk, clock, damage.log)
    identity = open_identity(data_dir, ACTIVITY, disk, clock)
    Stores(data_dir, identity.log, settings, clock, disk).load()
