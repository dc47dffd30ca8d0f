"""What a file says about itself in its footer, written once and checked whenever a file is adopted."""

from __future__ import annotations

import errno
import io
import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from otel_audit.archive.checksums import TAIL_BYTES, UNSTAMPED, check_footer, footer_start
from otel_audit.archive.columns import NOTE_REPEAT
from otel_audit.archive.names import parse_name
from otel_audit.errors import ArchiveFaultError, NewerFormatError, StorageError
from otel_audit.model.record import from_us

__all__ = [
    "FOOTER_KEY",
    "FORMAT_VERSION",
    "Footer",
    "Tail",
    "footer_of",
    "parse_footer",
    "read_footer",
    "read_metadata",
    "read_tail",
    "unreadable",
    "utc_day",
]

FORMAT_VERSION = 1
FOOTER_KEY = b"otel_audit"
_LIKELY_BYTES = 64 * 1024
"""Most footers are no longer, and then one read does."""


@dataclass(frozen=True, slots=True)
class Footer:
    """Facts about one file. Times are µs since 1970; the occurred ones are None where rows have no such time.

    `repeats`: how many dropped records the rows note; only in the streams log. `chain_before`, `chain`: see `chain.py`;
    None in a file of a release that kept none.
    """

    log: str
    first: int
    last: int
    rows: int
    recorded_min_us: int
    recorded_max_us: int
    occurred_min_us: int | None = None
    occurred_max_us: int | None = None
    repeats: int | None = None
    chain_before: str | None = None
    chain: str | None = None
    format_version: int = FORMAT_VERSION
    size_bytes: int = 0

    def format(self) -> bytes:
        """The footer's value, JSON; `checksums.stamp` fills in the digests."""
        facts = asdict(self)
        del facts["size_bytes"]
        for name in ("repeats", "chain_before", "chain"):
            if facts[name] is None:
                del facts[name]
        return json.dumps(facts | UNSTAMPED, separators=(",", ":"), sort_keys=True).encode()


_FACTS = frozenset(fact.name for fact in fields(Footer))


def footer_of(log: str, table: pa.Table, chain: tuple[str, str] | None = None) -> Footer:
    """The footer for rows that are about to be written.

    Args:
        table: archive columns, at least one row.
        chain: the one before the rows and the one after them.
    """
    occurred: tuple[int | None, int | None] = (None, None)
    if "occurred_at" in table.column_names:
        occurred = _span(table["occurred_at"])
    repeats = None
    if "kind" in table.column_names:
        repeats = pc.sum(table["records"].filter(pc.equal(table["kind"], NOTE_REPEAT))).as_py() or 0
    recorded = _span(table["recorded_at"])
    index = table["log_index"]
    return Footer(
        log=log,
        first=index[0].as_py(),
        last=index[-1].as_py(),
        rows=table.num_rows,
        recorded_min_us=recorded[0],
        recorded_max_us=recorded[1],
        occurred_min_us=occurred[0],
        occurred_max_us=occurred[1],
        repeats=repeats,
        chain_before=chain[0] if chain else None,
        chain=chain[1] if chain else None,
    )


def _span(column: pa.ChunkedArray) -> tuple[int, int]:
    ends = pc.min_max(column.cast(pa.int64()))
    return ends["min"].as_py(), ends["max"].as_py()


def parse_footer(metadata: pq.FileMetaData, path: Path) -> Footer:
    """The footer in a file's Parquet metadata, checked against the file's name and row count.

    Raises:
        ArchiveFaultError: not written by otel-audit, or name, footer and rows disagree.
        NewerFormatError: of a later format.
    """
    raw = (metadata.metadata or {}).get(FOOTER_KEY)
    if raw is None:
        raise ArchiveFaultError(f"{path}: a foreign Parquet file (no otel-audit footer)")
    try:
        facts: dict[str, Any] = json.loads(raw)
        version = facts["format_version"]
        if version > FORMAT_VERSION:
            raise NewerFormatError(f"{path}: format {version}; this release reads up to {FORMAT_VERSION}")
        # Earlier releases also kept the repeats of each stream here, as `duplicates`: passed over.
        known = {name: fact for name, fact in facts.items() if name in _FACTS}
        footer = Footer(**{**known, "size_bytes": path.stat().st_size})
    except (ValueError, KeyError, TypeError) as error:
        raise ArchiveFaultError(f"{path}: its otel-audit footer cannot be read: {error}") from None
    name = parse_name(path.name.removesuffix(".tmp"))
    if name is None or (name.log, name.first, name.last) != (footer.log, footer.first, footer.last):
        raise ArchiveFaultError(f"{path}: holds {footer.log} {footer.first}-{footer.last}, not what its name says")
    if not footer.rows == metadata.num_rows == name.rows:
        raise ArchiveFaultError(f"{path}: holds {metadata.num_rows} rows, its range has {name.rows}")
    return footer


@dataclass(frozen=True, slots=True)
class Tail:
    """The end of a file: `raw` from where its footer begins (`start`), checked and parsed.

    `data_digest`: what the bytes before it must have, in hex; None in a file of a release that kept none.
    """

    raw: bytes
    start: int
    data_digest: bytes | None
    metadata: pq.FileMetaData


def read_tail(file: io.FileIO, path: Path) -> Tail:
    """Read a file's footer and check it against the digest it carries.

    Raises:
        ArchiveFaultError: not what was written.
        ValueError, OSError, pa.ArrowException: no Parquet file, or it cannot be read; see `unreadable`.
    """
    size = file.seek(0, io.SEEK_END)
    file.seek(max(0, size - _LIKELY_BYTES))
    raw = _read_all(file)
    start = footer_start(raw[-TAIL_BYTES:], size)
    if start < size - len(raw):
        file.seek(start)
        raw = _read_all(file)
    else:
        raw = raw[start - size :]
    digest = check_footer(raw, path)
    return Tail(raw, start, digest, pq.read_metadata(pa.BufferReader(raw)))


def _read_all(file: io.FileIO) -> bytes:
    pieces = []
    while piece := file.read(1 << 20):
        pieces.append(piece)
    return b"".join(pieces)


def read_metadata(path: Path) -> pq.FileMetaData:
    """A file's Parquet metadata, checked against the digest of its footer. Raises as `read_footer`."""
    return _read(path)[0]


def _read(path: Path) -> tuple[pq.FileMetaData, Footer]:
    try:
        with open(path, "rb", buffering=0) as file:
            metadata = read_tail(file, path).metadata
            return metadata, parse_footer(metadata, path)
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        raise unreadable(path, error) from None


def read_footer(path: Path) -> Footer:
    """What a file says about itself; `verify.check_file` also reads all the rest.

    Raises:
        ArchiveFaultError: a truncated, damaged or foreign file.
        FileNotFoundError: it has gone (a reader lists again).
        StorageError: the machine does not let it be read now.
    """
    return _read(path)[1]


def unreadable(path: Path, error: Exception) -> StorageError:
    """What a failed read of a Parquet file means.

    An error number (EIO, too many open files) or a want of memory or threads says nothing of the file and may pass;
    whoever reads must not act as if the file were damaged. (Arrow reports a thread it could not start as an error of no
    kind; what it finds wrong with a file always has one.)
    """
    passing = isinstance(error, MemoryError) or type(error) is pa.ArrowException
    if passing or getattr(error, "errno", None) not in {None, errno.ENOENT}:
        return StorageError(f"{path}: cannot be read now: {error}")
    return ArchiveFaultError(f"{path}: not a whole Parquet file: {error}")


def utc_day(us: int) -> str:
    """The UTC date (`2026-11-24`) of µs since 1970."""
    return from_us(us).date().isoformat()
