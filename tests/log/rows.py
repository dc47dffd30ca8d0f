"""Rows for log tests: small, different from one another, made without the wire."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from otel_audit.archive.columns import COLUMNS, parquet_schema

_INCOMING = parquet_schema(tuple(c for c in COLUMNS if c.name not in {"log_index", "recorded_at"}))


def incoming(first: int, count: int, **same: Any) -> pa.Table:
    """Decoded-like rows `first`, `first + 1`, ... with every required column and some others filled."""
    rows = [
        {
            "record_id": f"r-{at}",
            "occurred_at": at * 1_000_000,
            "time_unix_nano": at * 1_000_000_000,
            "observed_time_unix_nano": 0,
            "actor_id": f"actor-{at % 7}",
            "owner_id": f"owner-{at % 5}" if at % 3 else None,
            "action": "do",
            "entity_type": "Task",
            "entity_id": f"task-{at % 11}",
            "metadata": f'{{"n":{at}}}',
            **same,
        }
        for at in range(first, first + count)
    ]
    return pa.Table.from_pylist(rows, schema=_INCOMING)
