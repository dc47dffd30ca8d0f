"""The records that every documented example is about, and the answers they give.

The examples in the OpenAPI document are requests and their exact answers, so a test can run each one.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from otel_audit.errors import (
    InvalidCursorError,
    InvalidFilterError,
    OtelAuditError,
    ReaderUnavailableError,
    RecordNotFoundError,
)
from otel_audit.model.completeness import Completeness, LostRows, completeness_to_json
from otel_audit.model.filters import Filter
from otel_audit.model.pages import Cursor, Page, format_cursor
from otel_audit.model.problem_json import problem_from_error
from otel_audit.model.record import ActivityRecord, EntityRef
from otel_audit.model.record_json import page_to_json, record_to_json
from otel_audit.model.streams import StreamReport
from otel_audit.web.folder_examples import HELD, HELD_CURSOR, HELD_RECORD, HELD_SHA256, STATUS
from otel_audit.web.limited import streams_to_json

__all__ = [
    "ANSWERS",
    "EXAMPLE_RECORDS",
    "EXAMPLE_STREAMS",
    "FIRST",
    "HELD_CURSOR",
    "HELD_SHA256",
    "NEXT_CURSOR",
    "PREFIX",
    "PROBLEMS",
    "SECOND",
    "STREAM",
    "example_page",
]

PREFIX = "/v1/audit"

FIRST = ActivityRecord(
    record_id=UUID("019ab4f2-3c00-7000-8000-000000000001"),
    occurred_at=datetime(2026, 11, 24, 9, 30, 0, 250_000, tzinfo=UTC),
    actor_id="alice",
    owner_id="alice",
    action="create_task",
    entity_ref=EntityRef("Task", 42),
    metadata={"title": "Write the report", "bytes": 9007199254740993},
    actor_name="Alice",
    tenant_id="acme",
    client_address="192.0.2.7",
    session_id="s-1",
    request_id="req-7",
    trace_id="4bf92f3577b34da6a3ce929d0e0e4736",
    span_id="00f067aa0ba902b7",
    trace_flags=1,
)
SECOND = ActivityRecord(
    record_id=UUID("019ab4f2-3c00-7000-8000-000000000002"),
    occurred_at=datetime(2026, 11, 24, 9, 31, tzinfo=UTC),
    actor_id="bob",
    owner_id="alice",
    action="rename_task",
    entity_ref=EntityRef("Task", 42),
    changes={"title": ["Write the report", "Send the report"]},
    on_behalf_of="alice",
    tenant_id="acme",
)
THIRD = ActivityRecord(
    record_id=UUID("019ab4f2-3c00-7000-8000-000000000003"),
    occurred_at=datetime(2026, 11, 24, 9, 32, tzinfo=UTC),
    actor_id="reminder",
    actor_type="service",
    owner_id="alice",
    action="remind",
    entity_ref=EntityRef("Task", 42),
    outcome="failure",
    reason="mailbox full",
)
EXAMPLE_RECORDS = (FIRST, SECOND, THIRD)

STREAM = StreamReport(
    stream_id="019ab4f2-3b00-7000-8000-00000000000a",
    service_name="shop",
    state="closed",
    emitted=1000,
    archived=988,
    quarantined=1,
    missing=((57, 60), (901, 907)),
    missing_count=11,
    awaited=0,
    repeats=64,
    last_seen=datetime(2026, 11, 24, 9, 40, tzinfo=UTC),
)
"""Eleven of its records are nowhere."""
_WHOLE = StreamReport(
    stream_id="019ab4f2-3b00-7000-8000-00000000000b",
    service_name="shop",
    state="open",
    emitted=3,
    archived=3,
    quarantined=0,
    missing=(),
    missing_count=0,
    awaited=0,
    repeats=0,
    last_seen=datetime(2026, 11, 24, 9, 41, tzinfo=UTC),
)
EXAMPLE_STREAMS = (STREAM, _WHOLE)
COMPLETENESS = Completeness(records=1003, unnumbered=3, lost=(LostRows("0123456789abcdef", 400, 431),))


def example_page(*records: ActivityRecord, cursor: str | None = None) -> dict[str, Any]:
    """A page as it is answered."""
    return page_to_json(Page(records, cursor))


_OWNED = f"{PREFIX}/records?owner_id=alice&limit=2"
NEXT_CURSOR = format_cursor(Cursor(Filter(owner_id="alice"), "desc", SECOND.order_key))

ANSWERS: Mapping[str, Mapping[str, Any]] = {
    "listRecords": {
        _OWNED: example_page(THIRD, SECOND, cursor=NEXT_CURSOR),
        f"{PREFIX}/records?cursor={NEXT_CURSOR}": example_page(FIRST),
    },
    "getRecord": {f"{PREFIX}/records/{SECOND.record_id}": record_to_json(SECOND)},
    "listByEntity": {f"{PREFIX}/entities/Task/42?limit=2": example_page(SECOND, THIRD)},
    "listByActor": {f"{PREFIX}/actors/bob": example_page(SECOND)},
    "listByOwner": {f"{PREFIX}/owners/alice?limit=2&order=desc": example_page(THIRD, SECOND)},
    "listByAction": {f"{PREFIX}/actions/create_task?since=2026-11-24T00:00:00Z": example_page(FIRST)},
    "countRecords": {
        f"{PREFIX}/count?owner_id=alice": {"count": 3},
        f"{PREFIX}/count?by=outcome": {
            "count": 3,
            "field": "outcome",
            "counts": [{"value": "success", "count": 2}, {"value": "failure", "count": 1}],
        },
    },
    "listStreams": {
        f"{PREFIX}/streams?incomplete=true": streams_to_json([STREAM], "", 1),
        f"{PREFIX}/streams?stream_id={_WHOLE.stream_id}": streams_to_json([_WHOLE], "", 1),
    },
    "getCompleteness": {f"{PREFIX}/completeness": completeness_to_json(COMPLETENESS)},
    "getStatus": {f"{PREFIX}/status": STATUS},
    "listQuarantine": {f"{PREFIX}/quarantine?service=shop": {"held": [HELD], "next_cursor": None}},
    "getQuarantined": {f"{PREFIX}/quarantine/{HELD_SHA256[:12]}": HELD_RECORD},
}
"""Operation id -> request -> answer with status 200."""

PROBLEMS: Mapping[str, Mapping[str, OtelAuditError]] = {
    "listRecords": {
        f"{PREFIX}/records?actr_id=alice": InvalidFilterError(
            "actr_id: no such parameter; did you mean actor_id? (this path takes: actor_id, owner_id, action, "
            "entity_type, entity_id, outcome, actor_type, tenant_id, request_id, session_id, on_behalf_of, trace_id, "
            "since, until, limit, cursor, order, after)"
        ),
        f"{PREFIX}/records?cursor={NEXT_CURSOR}&order=asc": InvalidCursorError(
            "the cursor was made with another order"
        ),
    },
    "getRecord": {f"{PREFIX}/records/no-such-id": RecordNotFoundError("no record has the id 'no-such-id'")},
    "listByEntity": {
        f"{PREFIX}/entities/Task/42?limit=0": InvalidFilterError(
            "limit: must be a whole number from 1 to 10000, not '0'"
        )
    },
    "listByActor": {
        f"{PREFIX}/actors/bob?since=yesterday": InvalidFilterError(
            "since: must be RFC 3339 with an offset, as in 2026-11-24T09:30:00Z, not 'yesterday'"
        )
    },
    "listByOwner": {
        f"{PREFIX}/owners/alice?order=newest": InvalidFilterError('order: must be "asc" or "desc", not \'newest\'')
    },
    "listByAction": {f"{PREFIX}/actions/create_task?limit=1&limit=2": InvalidFilterError("limit: must be given once")},
    "countRecords": {
        f"{PREFIX}/count?entity_id=42": InvalidFilterError(
            "entity_id: needs entity_type too, for ids are unique within a type only"
        )
    },
    "listStreams": {
        f"{PREFIX}/streams?incomplete=yes": InvalidFilterError("incomplete: must be true or false, not 'yes'")
    },
    "getCompleteness": {
        f"{PREFIX}/completeness?stream_id=a": InvalidFilterError("stream_id: no such parameter (this path takes: none)")
    },
    "getStatus": {f"{PREFIX}/status?deep=true": InvalidFilterError("deep: no such parameter (this path takes: none)")},
    "listQuarantine": {
        f"{PREFIX}/quarantine?limit=0": InvalidFilterError("limit: must be a whole number from 1 to 10000, not '0'")
    },
    "getQuarantined": {f"{PREFIX}/quarantine/0000": RecordNotFoundError("'0000' names 0 held records")},
}
"""Operation id -> request -> what it is refused with."""

UNAVAILABLE = problem_from_error(ReaderUnavailableError("the data folder cannot be read now"))
