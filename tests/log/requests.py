"""Decoded requests for log tests, made through the real encoder and decoder."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from otel_audit.model.record import ActivityRecord, EntityRef
from otel_audit.otlp.decode import Decoded, decode_logs
from otel_audit.otlp.encode import encode_record, encode_resource, frame_request

RESOURCE = encode_resource({"service.name": "test"})
ARRIVAL_NS = 1_764_000_000_000_000_000


def record(record_id: Any = None, **fields: Any) -> ActivityRecord:
    defaults: dict[str, Any] = {
        "actor_id": "ann",
        "owner_id": "bob",
        "action": "edit",
        "entity_ref": EntityRef("Task", "t1"),
        "occurred_at": datetime(2026, 5, 1, tzinfo=UTC),
    }
    return ActivityRecord.create(record_id=record_id, **(defaults | fields))


def request(*records: ActivityRecord, broken: int = 0) -> Decoded:
    """A request of records, and `broken` ones that lack their actor."""
    encoded = [encode_record(one, ARRIVAL_NS) for one in records]
    for at in range(broken):
        good = encode_record(record(f"broken-{at}"), ARRIVAL_NS)
        encoded.append(good.replace(b"audit.actor.id", b"audit.actor.xx"))
    body = frame_request(RESOURCE, encoded)
    return decode_logs(body, received_from="127.0.0.1", arrival_ns=ARRIVAL_NS, max_records=100_000)
