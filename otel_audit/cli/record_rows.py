"""Records as rows: every field for programs, the telling ones for a table."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import fields
from typing import Any, TextIO

from otel_audit.cli.output import Format, Shown, format_for, json_text, write_rows
from otel_audit.model.record import ActivityRecord
from otel_audit.model.record_json import record_to_json

__all__ = ["COLUMNS", "record_row", "write_record", "write_records"]

COLUMNS = tuple(
    name
    for field in fields(ActivityRecord)
    for name in (("entity_type", "entity_id") if field.name == "entity_ref" else (field.name,))
)
"""A record's CSV columns: its fields, with the entity's two parts apart."""

_SHOWN = (
    Shown("when (UTC)", "when", style="cyan"),
    Shown("actor", "actor", style="green", cut=True),
    Shown("action", "action", style="bold", cut=True),
    Shown("entity", "entity", style="yellow", cut=True),
    Shown("details", "details", style="dim", rest=True),
)


def write_records(
    records: Iterable[ActivityRecord], format: Format | None, *, title: str = "", stream: TextIO | None = None
) -> int:
    """Write records, to stdout unless told, and say how many there were."""
    chosen = format_for(format, stream or sys.stdout)
    if chosen is Format.TABLE:
        return write_rows(
            map(_table_row, records), _SHOWN, format=chosen, title=title, empty="no activities found", stream=stream
        )
    if chosen is Format.CSV:
        return write_rows(map(_flat_row, records), columns=COLUMNS, format=chosen, stream=stream)
    return write_rows(map(record_row, records), format=chosen, stream=stream)


def write_record(record: ActivityRecord, format: Format | None) -> None:
    """Write one record to stdout; in a table each field has its line."""
    if format_for(format, sys.stdout) is not Format.TABLE:
        write_records([record], format)
        return
    lines = ({"field": name, "value": value} for name, value in _flat_row(record).items() if value not in (None, {}))
    write_rows(lines, (Shown("field", "field", style="cyan"), Shown("value", "value")), format=Format.TABLE)


def record_row(record: ActivityRecord) -> dict[str, Any]:
    """A record as JSON values, as the HTTP interface writes it."""
    return record_to_json(record)


def _flat_row(record: ActivityRecord) -> dict[str, Any]:
    row = record_to_json(record)
    entity = row.pop("entity_ref") or {"entity_type": None, "entity_id": None}
    merged = row | entity
    return {name: merged[name] for name in COLUMNS}


def _table_row(record: ActivityRecord) -> dict[str, Any]:
    entity = record.entity_ref
    details = []
    if record.outcome != "success":
        details.append(f"{record.outcome}: {record.reason}" if record.reason else record.outcome)
    details += [f"{name}: {_detail(old)} → {_detail(new)}" for name, (old, new) in (record.changes or {}).items()]
    details += [f"{name}={_detail(value)}" for name, value in record.metadata.items() if value is not None]
    return {
        "when": record.occurred_at.strftime("%Y-%m-%d %H:%M:%S"),
        "actor": record.actor_name or str(record.actor_id),
        "action": record.action,
        "entity": "" if entity is None else f"{entity.entity_type} {record.entity_name or entity.entity_id}",
        "details": " · ".join(details),
    }


def _detail(value: Any) -> str:
    return value if isinstance(value, str) else json_text(value)
