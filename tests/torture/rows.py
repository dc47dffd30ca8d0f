"""The archive as any Parquet reader sees it, with no code of the product: names, columns and nothing else.

The rule it goes by: a file's name is its range of the log; of files whose ranges lie inside each other the widest one
counts, and the sealed one of equals.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

_NAME = re.compile(r"(?P<log>[0-9a-z]{16,})-(?P<first>\d{16})-(?P<last>\d{16})(?P<hot>\.[cm])?\.parquet")
_COLUMNS = ("record_id", "stream_id", "stream_number", "service_name")


@dataclass(frozen=True, slots=True)
class File:
    """A file and the range in its name."""

    log: str
    first: int
    last: int
    path: Path


@dataclass(frozen=True, slots=True)
class Row:
    """What the checks need of a row."""

    log: str
    index: int
    record_id: str
    stream: str | None
    number: int | None
    origin: str | None


def files_of(data: Path, faults: list[str]) -> list[File]:
    """The files that count, in log order; holes and overlaps become faults."""
    found: list[tuple[int, int, bool, File]] = []
    for path in (*data.glob("archive/date=*/*.parquet"), *data.glob("hot/*.parquet")):
        name = _NAME.fullmatch(path.name)
        if name is None:
            faults.append(f"{path}: no file of a log")
        else:
            file = File(name["log"], int(name["first"]), int(name["last"]), path)
            found.append((file.first, -file.last, name["hot"] is not None, file))
    counted: list[File] = []
    end = -1
    for _, _, _, file in sorted(found, key=lambda one: one[:3]):
        if file.last <= end:
            continue
        if file.first != end + 1:
            faults.append(f"{file.path}: the log is known up to {end}, and goes on at {file.first}")
        counted.append(file)
        end = file.last
    return counted


def read_rows(data: Path, faults: list[str]) -> Iterator[Row]:
    """Every row of the log, in its order. A log index that is not the one its file's name says is a fault."""
    for file in files_of(data, faults):
        table = _columns(file.path, ("log_index", *_COLUMNS))
        if table["log_index"].to_pylist() != list(range(file.first, file.last + 1)):
            faults.append(f"{file.path}: its log indexes are not what its name says")
        columns = (table[name].to_pylist() for name in _COLUMNS)
        for at, values in enumerate(zip(*columns, strict=True)):
            yield Row(file.log, file.first + at, *values)


@dataclass(frozen=True, slots=True)
class Notes:
    """What the log beside this one says of the producers' streams.

    Attributes:
        excused: numbers that are rightly in no row: repeats of other rows, and what is in quarantine.
        ends: the highest number of each stream that is over.
    """

    excused: dict[str, set[int]]
    ends: dict[str, int]


def read_notes(data: Path, faults: list[str]) -> Notes:
    """Read all of them; without that log there are none."""
    notes = Notes({}, {})
    for file in files_of(data / "streams", faults):
        table = _columns(file.path, ("kind", "stream_id", "first_number", "last_number"))
        for kind, stream, first, last in zip(*(column.to_pylist() for column in table.columns), strict=True):
            if kind in ("repeat", "quarantined") and stream is not None:
                notes.excused.setdefault(stream, set()).update(range(first, last + 1))
            elif kind in ("closed", "recovered"):
                notes.ends[stream] = max(last, notes.ends.get(stream, 0))
    return notes


def _columns(path: Path, names: tuple[str, ...]) -> pa.Table:
    return pq.ParquetFile(path).read(columns=list(names)).select(list(names))
