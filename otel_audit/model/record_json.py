"""Records and pages as JSON values: the one shape that HTTP answers, exports and the HTTP reader share.

Ids are text, `entity_ref` is an object or null, times are RFC 3339 in UTC with six fractional digits, and every field
is always there. Values are shared with the record, not copied: write them out at once, change nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from otel_audit.errors import InvalidFilterError, InvalidRecordError
from otel_audit.model.filters import LogPosition
from otel_audit.model.ids import Id, format_id, parse_id
from otel_audit.model.pages import Page
from otel_audit.model.record import ActivityRecord, EntityRef

__all__ = [
    "format_position",
    "format_time",
    "page_from_json",
    "page_to_json",
    "parse_position",
    "parse_time",
    "record_from_json",
    "record_to_json",
]

_REQUIRED = ("record_id", "actor_id", "action")
_IDS = ("record_id", "actor_id", "on_behalf_of", "owner_id", "tenant_id", "session_id", "request_id")
_TEXTS = (
    "actor_type",
    "actor_name",
    "action",
    "entity_name",
    "outcome",
    "reason",
    "client_address",
    "user_agent",
    "trace_id",
    "span_id",
)
_TIME = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt]((?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d)(?:\.(\d{1,6})(\d*))?"
    r"([Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d)",
    re.ASCII,
)
_POSITION = re.compile(r"(.*):(-1|\d{1,18})", re.ASCII | re.DOTALL)


def record_to_json(record: ActivityRecord) -> dict[str, Any]:
    """A record as JSON values; `record_from_json` is the inverse."""
    ref = record.entity_ref
    return {
        "record_id": format_id(record.record_id),
        "occurred_at": format_time(record.occurred_at),
        "actor_id": format_id(record.actor_id),
        "actor_type": record.actor_type,
        "actor_name": record.actor_name,
        "on_behalf_of": _id_text(record.on_behalf_of),
        "owner_id": _id_text(record.owner_id),
        "action": record.action,
        "entity_ref": None if ref is None else {"entity_type": ref.entity_type, "entity_id": format_id(ref.entity_id)},
        "entity_name": record.entity_name,
        "outcome": record.outcome,
        "reason": record.reason,
        "metadata": record.metadata,
        "changes": record.changes,
        "tenant_id": _id_text(record.tenant_id),
        "client_address": record.client_address,
        "user_agent": record.user_agent,
        "session_id": _id_text(record.session_id),
        "request_id": _id_text(record.request_id),
        "trace_id": record.trace_id,
        "span_id": record.span_id,
        "trace_flags": record.trace_flags,
    }


def record_from_json(values: object) -> ActivityRecord:
    """The record that `record_to_json` wrote. Unknown keys are ignored, so that a newer server can be read.

    Types are checked; `create`'s rules are not, because an archive may hold other producers' records.

    Raises:
        InvalidRecordError: naming the field.
    """
    if not isinstance(values, Mapping):
        raise InvalidRecordError("record", f"must be an object, not {type(values).__name__}")
    known: dict[str, Any] = {name: _text(values, name) for name in _TEXTS}
    for name in _IDS:
        text = _text(values, name)
        known[name] = None if text is None else parse_id(text)
    for name in _REQUIRED:
        if not known[name]:
            raise InvalidRecordError(name, "must be given")
    moment = values.get("occurred_at")
    if not isinstance(moment, str):
        raise InvalidRecordError("occurred_at", "must be given as RFC 3339 text")
    known["occurred_at"] = parse_time(moment, "occurred_at")
    known["entity_ref"] = _entity(values.get("entity_ref"))
    for name in ("metadata", "changes"):
        value = values.get(name)
        if value is not None and not isinstance(value, dict):
            raise InvalidRecordError(name, "must be an object or null")
        known[name] = value
    flags = values.get("trace_flags")
    if flags is not None and type(flags) is not int:
        raise InvalidRecordError("trace_flags", "must be an integer or null")
    known["trace_flags"] = flags
    return ActivityRecord.from_archive(known)


def page_to_json(page: Page) -> dict[str, Any]:
    """A page as JSON values; `page_from_json` is the inverse."""
    at = page.position
    return {
        "records": [record_to_json(record) for record in page.records],
        "next_cursor": page.next_cursor,
        "position": None if at is None else {"log": at.log, "log_index": at.log_index},
    }


def page_from_json(values: object) -> Page:
    """The page that `page_to_json` wrote.

    Raises:
        InvalidRecordError: naming the field.
    """
    if not isinstance(values, Mapping) or not isinstance(values.get("records"), list):
        raise InvalidRecordError("records", "must be a list")
    at = values.get("position")
    position = None
    if at is not None:
        if not isinstance(at, Mapping) or not isinstance(at.get("log"), str) or type(at.get("log_index")) is not int:
            raise InvalidRecordError("position", "must be an object with log and log_index, or null")
        position = LogPosition(at["log"], at["log_index"])
    records = tuple(record_from_json(item) for item in values["records"])
    return Page(records, _text(values, "next_cursor"), position)


def format_time(moment: datetime) -> str:
    """RFC 3339 text in UTC with six fractional digits and `Z`, of an aware datetime."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")[:-6] + "Z"


def parse_time(text: str, field: str) -> datetime:
    """The UTC datetime of an RFC 3339 text; any offset, at most microseconds.

    Raises:
        InvalidRecordError: naming `field`; also for a leap second, for digits beyond microseconds that are not zero,
            and for a `+` that a URL turned into a space.
    """
    found = _TIME.fullmatch(text)
    if found is None:
        hint = '; in a URL write "+" as %2B' if " " in text else ""
        raise InvalidRecordError(
            field, f"must be RFC 3339 with an offset, as in 2026-11-24T09:30:00Z, not {text[:64]!r}{hint}"
        )
    day, time, micros, beyond, offset = found.groups()
    if beyond and beyond.strip("0"):
        raise InvalidRecordError(field, f"must not be finer than microseconds, not {text[:64]!r}")
    try:
        return datetime.fromisoformat(f"{day}T{time}.{micros or '0':0<6}{offset.upper()}").astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidRecordError(field, f"{text!r} is no moment: {error}") from None


def format_position(position: LogPosition) -> str:
    """`<log>:<index>`, as the query parameter `after` takes it."""
    return f"{position.log}:{position.log_index}"


def parse_position(text: str) -> LogPosition:
    """The inverse of `format_position`.

    Raises:
        InvalidFilterError: anything else.
    """
    found = _POSITION.fullmatch(text)
    if found is None:
        raise InvalidFilterError(f'after: must be "<log>:<index>", or ":-1" for the beginning, not {text[:64]!r}')
    return LogPosition(found[1], int(found[2]))


def _id_text(value: Id | None) -> str | None:
    return None if value is None else format_id(value)


def _text(values: Mapping[str, Any], name: str) -> str | None:
    value = values.get(name)
    if value is not None and not isinstance(value, str):
        raise InvalidRecordError(name, f"must be text or null, not {type(value).__name__}")
    return value


def _entity(value: object) -> EntityRef | None:
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise InvalidRecordError("entity_ref", "must be an object or null")
    entity_type, entity_id = _text(value, "entity_type"), _text(value, "entity_id")
    if entity_type is None or entity_id is None:
        raise InvalidRecordError("entity_ref", "must hold entity_type and entity_id")
    ref = object.__new__(EntityRef)  # as in from_archive: what a collector accepted is not checked again
    object.__setattr__(ref, "entity_type", entity_type)
    object.__setattr__(ref, "entity_id", parse_id(entity_id))
    return ref
