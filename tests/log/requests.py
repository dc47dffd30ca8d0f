"""Decoded requests for log tests, made through the real encoder and decoder."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from otel_audit.model.record import ActivityRecord, EntityRef
from otel_audit.otlp.decode import Decoded, decode_logs
from otel_audit.otlp.encode import encode_record, encode_resource, frame_request
from otel_audit.otlp.markers import encode_marker
from otel_audit.otlp.names import StreamState
from otel_audit.otlp.stamp import stream_stamp

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


def request(
    *records: ActivityRecord,
    broken: int = 0,
    stream: tuple[str, int] | None = None,
    markers: Sequence[tuple[str, StreamState, int]] = (),
) -> Decoded:
    """A request of records, of `broken` ones that lack their actor, and of markers.

    Args:
        stream: the producer's stream, and the number of the first record; the others follow, broken ones last.
        markers: stream, state and highest number of each.
    """
    encoded = []
    for at, one in enumerate((*records, *(record(f"broken-{at}") for at in range(broken)))):
        whole = encode_record(one, ARRIVAL_NS)
        if stream is not None:
            whole += stream_stamp(stream[0])(stream[1] + at)
        encoded.append(whole if at < len(records) else whole.replace(b"audit.actor.id", b"audit.actor.xx"))
    encoded += [encode_marker(*marker, ARRIVAL_NS) for marker in markers]
    body = frame_request(RESOURCE, encoded)
    return decode_logs(body, received_from="127.0.0.1", arrival_ns=ARRIVAL_NS, max_records=100_000)
