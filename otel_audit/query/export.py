"""Records as one plain Parquet file, for whoever reads nothing of ours: flat columns, JSON as text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from otel_audit.model.ids import format_id
from otel_audit.model.json_values import format_json
from otel_audit.model.record import ActivityRecord

__all__ = ["write_parquet"]

_BATCH_BYTES = 16 << 20
_BATCH_ROWS = 10_000
_IDS = ("record_id", "actor_id", "owner_id", "on_behalf_of", "tenant_id", "session_id", "request_id")
_SCHEMA = pa.schema(
    [
        ("record_id", pa.string()),
        ("occurred_at", pa.timestamp("us", tz="UTC")),
        ("actor_type", pa.string()),
        ("actor_id", pa.string()),
        ("actor_name", pa.string()),
        ("on_behalf_of", pa.string()),
        ("owner_id", pa.string()),
        ("action", pa.string()),
        ("outcome", pa.string()),
        ("reason", pa.string()),
        ("entity_type", pa.string()),
        ("entity_id", pa.string()),
        ("entity_name", pa.string()),
        ("tenant_id", pa.string()),
        ("metadata", pa.string()),
        ("changes", pa.string()),
        ("client_address", pa.string()),
        ("user_agent", pa.string()),
        ("session_id", pa.string()),
        ("request_id", pa.string()),
        ("trace_id", pa.string()),
        ("span_id", pa.string()),
        ("trace_flags", pa.int64()),
    ]
)


def write_parquet(records: Iterable[ActivityRecord], stream: BinaryIO) -> int:
    """Write records as they come, a row group in memory at a time; says how many there were."""
    count = 0
    with pq.ParquetWriter(stream, _SCHEMA, compression="zstd") as writer:
        for rows in _batches(map(_row, records)):
            writer.write_table(pa.Table.from_pylist(rows, schema=_SCHEMA))
            count += len(rows)
    return count


def _batches(rows: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    while batch := list(islice(rows, 1)):
        size = _size(batch[0])
        for row in rows:
            batch.append(row)
            size += _size(row)
            if size >= _BATCH_BYTES or len(batch) >= _BATCH_ROWS:
                break
        yield batch


def _size(row: dict[str, Any]) -> int:
    return len(row["metadata"]) + len(row["changes"] or "")


def _row(record: ActivityRecord) -> dict[str, Any]:
    row: dict[str, Any] = {name: getattr(record, name, None) for name in _SCHEMA.names}
    row |= {name: None if row[name] is None else format_id(row[name]) for name in _IDS}
    entity = record.entity_ref
    row["entity_type"] = None if entity is None else entity.entity_type
    row["entity_id"] = None if entity is None else format_id(entity.entity_id)
    row["metadata"] = format_json(record.metadata)
    row["changes"] = None if record.changes is None else format_json(record.changes)
    return row
