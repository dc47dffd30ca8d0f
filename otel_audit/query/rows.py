"""A row of `record.sql` to an `ActivityRecord`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from otel_audit.errors import ArchiveFaultError
from otel_audit.model.ids import Id, parse_id
from otel_audit.model.json_values import parse_json
from otel_audit.model.record import ActivityRecord, EntityRef, from_us

__all__ = ["RECORD_COLUMNS", "RECORD_ROW", "fitting", "order_key", "records_from_rows", "row_bytes"]

RECORD_ROW = (
    "occurred_us",
    "record_id",
    "log_index",
    "actor_id",
    "action",
    "owner_id",
    "entity_type",
    "entity_id",
    "metadata",
    "actor_type",
    "outcome",
    "actor_name",
    "entity_name",
    "on_behalf_of",
    "reason",
    "changes",
    "tenant_id",
    "client_address",
    "user_agent",
    "session_id",
    "request_id",
    "trace_id",
    "span_id",
    "trace_flags",
)
"""The order of `record.sql`."""
RECORD_COLUMNS = frozenset(RECORD_ROW) - {"occurred_us"} | {"occurred_at"}
"""The archive columns behind it; conditions need no others."""

_IDS = ("record_id", "actor_id", "owner_id", "on_behalf_of", "tenant_id", "session_id", "request_id")
_MEMO_IDS = 10_000


def order_key(row: tuple[Any, ...]) -> tuple[int, str]:
    """What rows are ordered by; it stands first in every row that is looked for."""
    return row[0], row[1]


def row_bytes(row: tuple[Any, ...]) -> int:
    """About what a row takes in an answer."""
    return sum(len(value) for value in row if type(value) is str)


def fitting(rows: Sequence[tuple[Any, ...]], most_bytes: int) -> int:
    """How many of the first rows take no more than so many bytes together."""
    for at, row in enumerate(rows):
        most_bytes -= row_bytes(row)
        if most_bytes < 0:
            return at
    return len(rows)


def records_from_rows(rows: Iterable[tuple[Any, ...]]) -> list[ActivityRecord]:
    """Records in the order of the rows, without checking again what the archive accepted.

    Raises:
        ArchiveFaultError: `metadata` or `changes` of a row is no JSON at all.
    """
    known: dict[str, Id] = {}
    return [_record(dict(zip(RECORD_ROW, row, strict=True)), known) for row in rows]


def _record(values: dict[str, Any], known: dict[str, Id]) -> ActivityRecord:
    values["occurred_at"] = from_us(values["occurred_us"])
    for name in _IDS:
        text = values[name]
        if text is not None:
            # Actors and owners come again and again in one answer; building a UUID costs more than finding one.
            found = known.get(text)
            if found is None:
                found = parse_id(text)
                if name != "record_id" and len(known) < _MEMO_IDS:
                    known[text] = found
            values[name] = found
    if values["entity_type"] is not None and values["entity_id"] is not None:
        # Not through EntityRef(): another producer's type may be longer than ours may be.
        entity = object.__new__(EntityRef)
        object.__setattr__(entity, "entity_type", values["entity_type"])
        object.__setattr__(entity, "entity_id", parse_id(values["entity_id"]))
        values["entity_ref"] = entity
    for name in ("metadata", "changes"):
        if values[name] is not None:
            values[name] = _json(values[name], name, values["record_id"])
    return ActivityRecord.from_archive(values)


def _json(text: str, column: str, record_id: Id) -> Any:
    try:
        return {} if text == "{}" else parse_json(text)
    except ValueError:
        try:
            # Stricter rules of a later release must not make an older record unreadable.
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ArchiveFaultError(f"record {record_id}: its {column} is no JSON: {error}") from None
