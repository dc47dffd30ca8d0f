"""What must be there, told beside the files: how far each log has come, and which of its rows are lost and accepted.

Names of files show what is missing between them. That the end is missing, or all of a log, only a note elsewhere can
show: the high-water mark in `log/floor.json` of the data folder, for its three logs and whatever logs it held before.
Rows that an operator has accepted as lost have a file in `log/lost/` that is named by their range.

The mark is never ahead of the files on the disk. So whoever compares the two reads it first, and lists then.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from otel_audit.archive.names import FileName, Stage, format_name, parse_name
from otel_audit.errors import ArchiveFaultError, StorageError
from otel_audit.model.ranges import Ranges, merged

__all__ = [
    "ACTIVITY",
    "FLOOR",
    "IDENTITY",
    "LOG",
    "LOST",
    "QUARANTINE",
    "STREAMS",
    "Extent",
    "Marks",
    "extent_token",
    "lost_name",
    "own_log",
    "read_extent",
    "read_lost",
    "read_marks",
]

LOG, IDENTITY, FLOOR, LOST = "log", "log.json", "floor.json", "lost"
ACTIVITY, QUARANTINE, STREAMS = "activity", "quarantine", "streams"
"""The kinds of log; those beside the activities stand in a folder of that name."""
Marks = dict[str, dict[str, int]]
"""By kind and log: the index that follows the highest one known to be durable."""


@dataclass(frozen=True, slots=True)
class Extent:
    """What must be there of the logs in one folder.

    Attributes:
        marks: by log, the index that follows the highest one known to be durable: the high-water mark.
        lost: by log, the ranges that are accepted as lost.
    """

    marks: Mapping[str, int] = field(default_factory=dict)
    lost: Mapping[str, Ranges] = field(default_factory=dict)

    def logs(self, listed: Iterable[str]) -> list[str]:
        """The logs among the files and those that should be."""
        return sorted({*listed, *self.lost, *(log for log, mark in self.marks.items() if mark)})


def read_extent(root: Path) -> Extent:
    """What must be there in a data folder, or in the folder of the quarantine or the streams in one.

    Raises:
        ArchiveFaultError: the mark is damaged.
        StorageError: it cannot be read now.
    """
    data_dir, kind = _place(root)
    marks = read_marks(data_dir)
    elsewhere = {log for other, of_kind in marks.items() if other != kind for log in of_kind}
    lost = {log: ranges for log, ranges in read_lost(data_dir).items() if log not in elsewhere}
    return Extent(marks.get(kind, {}), lost)


def extent_token(root: Path) -> object:
    """Differs from the one before when what `read_extent` gives may have changed. Raises StorageError."""
    folder = _place(root)[0] / LOG
    return _file_token(folder / FLOOR), _file_token(folder / LOST)


def _file_token(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StorageError(f"{path} cannot be looked at: {error.strerror}") from error
    return status.st_ino, status.st_mtime_ns, status.st_size


def _place(root: Path) -> tuple[Path, str]:
    if root.name in {QUARANTINE, STREAMS} and (root.parent / LOG / IDENTITY).exists():
        return root.parent, root.name
    return root, ACTIVITY


def read_marks(data_dir: Path) -> Marks:
    """The marks of all logs of a data folder; none in one that is new. Raises as `read_extent`."""
    path = data_dir / LOG / FLOOR
    facts = _read_json(path)
    if facts is None:
        return {}
    try:
        if "logs" not in facts:  # of an earlier release, which knew its own log alone
            identity = _read_json(data_dir / LOG / IDENTITY) or {}
            return {ACTIVITY: {str(identity["log"]): int(facts["next_index"])}}
        return {
            kind: {str(log): int(next_index) for log, next_index in marks.items()}
            for kind, marks in facts["logs"].items()
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArchiveFaultError(f"{path} is no high-water mark: {error!r}") from None


def own_log(data_dir: Path) -> str:
    """The name of the log that is written in a data folder, "" where there is none yet. Raises as `read_extent`."""
    return str((_read_json(data_dir / LOG / IDENTITY) or {}).get("log", ""))


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        facts = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StorageError(f"{path} cannot be read now: {error.strerror}") from error
    except ValueError as error:
        raise ArchiveFaultError(f"{path} cannot be read: {error}") from None
    if not isinstance(facts, dict):
        raise ArchiveFaultError(f"{path} holds no JSON object")
    return facts


def lost_name(log: str, first: int, last: int) -> str:
    """The base name of the file that says that rows are accepted as lost."""
    return format_name(FileName(log, first, last, Stage.SEALED)).replace(".parquet", ".json")


def read_lost(data_dir: Path) -> dict[str, Ranges]:
    """The rows of the logs of a data folder that are accepted as lost. Raises StorageError."""
    folder = data_dir / LOG / LOST
    try:
        entries = os.listdir(folder)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise StorageError(f"cannot list {folder}: {error.strerror}") from error
    found: dict[str, list[tuple[int, int]]] = {}
    for entry in entries:
        name = parse_name(entry.replace(".json", ".parquet"))
        if name is not None:
            found.setdefault(name.log, []).append((name.first, name.last))
    return {log: merged(ranges) for log, ranges in found.items()}
