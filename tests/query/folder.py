"""Data folders made file by file, so that a test decides what stands in which file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from otel_audit import ActivityRecord, EntityRef
from otel_audit.archive.columns import COLUMNS, QUARANTINE_COLUMNS, STREAM_COLUMNS, Column, parquet_schema
from otel_audit.archive.footer import footer_of
from otel_audit.archive.names import FileName, Stage, format_name
from otel_audit.archive.write import ROW_GROUP_ROWS, distinct_counts, regroup, stream_parquet
from otel_audit.model.json_values import format_json
from otel_audit.model.record import to_us

LOG = "log0log0log0log0log0"
START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
_PLAIN = [
    "action",
    "actor_type",
    "outcome",
    "actor_name",
    "entity_name",
    "reason",
    "client_address",
    "user_agent",
    "trace_id",
    "span_id",
    "trace_flags",
]
_IDS = ["record_id", "actor_id", "owner_id", "on_behalf_of", "tenant_id", "session_id", "request_id"]


def record(number: int, **fields: Any) -> ActivityRecord:
    """A record with everything about it derived from its number."""
    values: dict[str, Any] = {
        "record_id": f"r-{number:06d}",
        "occurred_at": START + timedelta(seconds=number),
        "actor_id": f"actor-{number % 5}",
        "owner_id": f"owner-{number % 3}",
        "action": ("create", "update", "delete")[number % 3],
        "entity_ref": EntityRef("Task", f"task-{number % 7}"),
        "metadata": {"n": number},
    }
    return ActivityRecord(**(values | fields))


def row_of(record: ActivityRecord) -> dict[str, Any]:
    """The archive columns of a record, without its place in the log."""
    row: dict[str, Any] = {name: getattr(record, name) for name in _PLAIN}
    row |= {name: None if getattr(record, name) is None else str(getattr(record, name)) for name in _IDS}
    row["occurred_at"] = to_us(record.occurred_at)
    row["time_unix_nano"] = to_us(record.occurred_at) * 1000
    row["observed_time_unix_nano"] = 0
    if record.entity_ref is not None:
        row["entity_type"] = record.entity_ref.entity_type
        row["entity_id"] = str(record.entity_ref.entity_id)
    row["metadata"] = format_json(record.metadata)
    row["changes"] = None if record.changes is None else format_json(record.changes)
    return row


def write_rows(
    root: Path,
    first: int,
    rows: Sequence[dict[str, Any]],
    stage: Stage = Stage.COMMITTED,
    *,
    log: str = LOG,
    day: str = "2026-03-01",
    columns: tuple[Column, ...] = COLUMNS,
    group_rows: int = ROW_GROUP_ROWS,
) -> Path:
    """Publish one file whose rows have the log indexes `first`, `first + 1`, ... in row groups of `group_rows`."""
    placed = [{"recorded_at": 1, **row, "log_index": first + at} for at, row in enumerate(rows)]
    table = pa.Table.from_pylist(placed, schema=parquet_schema(columns))
    footer = footer_of(log, table)
    folder = root / "hot" if stage is not Stage.SEALED else root / "archive" / f"date={day}"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / format_name(FileName(log, first, first + len(rows) - 1, stage))
    groups = list(regroup([table], group_rows))
    distinct = {} if stage is Stage.COMMITTED else distinct_counts(groups, columns)
    path.write_bytes(stream_parquet(groups, footer, columns, stage, distinct))
    return path


def write(
    root: Path, first: int, records: Iterable[ActivityRecord], stage: Stage = Stage.COMMITTED, **options: Any
) -> Path:
    """Publish one file of records."""
    return write_rows(root, first, [row_of(record) for record in records], stage, **options)


def write_quarantine(root: Path, first: int, rows: Sequence[dict[str, Any]], stage: Stage = Stage.COMMITTED) -> Path:
    """Publish one file of the quarantine."""
    return write_rows(root / "quarantine", first, rows, stage, log="q" * 20, columns=QUARANTINE_COLUMNS)


def write_notes(
    root: Path, first: int, rows: Sequence[dict[str, Any]], stage: Stage = Stage.COMMITTED, *, log: str = "n" * 20
) -> Path:
    """Publish one file of the notes about streams."""
    return write_rows(root / "streams", first, rows, stage, log=log, columns=STREAM_COLUMNS)
