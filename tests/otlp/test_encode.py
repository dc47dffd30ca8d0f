"""The hand-written encoder against upb, and against the decoder."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from otel_audit import ActivityRecord, EntityRef, InvalidRecordError, __version__
from otel_audit.model.json_values import format_json
from otel_audit.otlp.encode import encode_record, encode_resource, frame_request
from otel_audit.otlp.names import WIRE

from .wire import canonical_attributes, canonical_record, decode, kv

_TEXTS = st.text(min_size=1, max_size=300) | st.text(min_size=1, max_size=5)
_IDS = st.uuids() | _TEXTS | st.integers(-(2**63), 2**64 - 1)
_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=300),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=140), inner, max_size=3),
    max_leaves=8,
)
_MAPS = st.dictionaries(st.text(max_size=9), _JSON, max_size=4)
_TIMES = st.datetimes(datetime(1970, 1, 1, 0, 0, 1), datetime(2261, 12, 31), timezones=st.just(UTC))
_HEX = st.binary(min_size=8, max_size=8).filter(any).map(bytes.hex)
RECORDS = st.builds(
    ActivityRecord,
    record_id=_IDS,
    occurred_at=_TIMES,
    actor_id=_IDS,
    action=st.text(min_size=1, max_size=256),
    owner_id=st.none() | _IDS,
    entity_ref=st.none() | st.builds(EntityRef, st.text(min_size=1, max_size=20), _IDS),
    metadata=_MAPS,
    actor_type=st.sampled_from(["user", "service", "system"]),
    outcome=st.sampled_from(["success", "failure", "unknown"]),
    actor_name=st.none() | _TEXTS,
    entity_name=st.none() | _TEXTS,
    on_behalf_of=st.none() | _IDS,
    reason=st.none() | _TEXTS,
    changes=st.none() | st.dictionaries(st.text(max_size=5), st.lists(_JSON, min_size=2, max_size=2), max_size=2),
    tenant_id=st.none() | _IDS,
    client_address=st.none() | _TEXTS,
    user_agent=st.none() | _TEXTS,
    session_id=st.none() | _IDS,
    request_id=st.none() | _IDS,
    trace_id=st.none() | _HEX.map(lambda half: half * 2),
    span_id=st.none() | _HEX,
    trace_flags=st.none() | st.integers(0, 2**32 - 1),
)
_STREAMS = st.none() | st.tuples(_TEXTS, st.integers(1, 2**63 - 1))
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _expected(record: ActivityRecord, stream: tuple[str, int] | None) -> dict[str, Any]:
    """Column values of a record, by the rules of the wire format."""
    expected: dict[str, Any] = {wire.column: None for wire in WIRE}
    for name in expected.keys() & set(ActivityRecord.__slots__):
        value = getattr(record, name)
        expected[name] = None if value is None else str(value)
    if record.entity_ref is not None:
        expected |= {"entity_type": record.entity_ref.entity_type, "entity_id": str(record.entity_ref.entity_id)}
    expected["metadata"] = format_json(record.metadata) if record.metadata else None
    expected["changes"] = None if record.changes is None else format_json(record.changes)
    expected["schema_version"] = "1"
    expected["stream_id"], expected["stream_number"] = stream or (None, None)
    prefix = f"{record.entity_ref.entity_type}." if record.entity_ref else ""
    return expected | {
        "occurred_at": record.occurred_at,
        "time_unix_nano": (record.occurred_at - _EPOCH) // timedelta(microseconds=1) * 1000,
        "trace_id": record.trace_id,
        "span_id": record.span_id,
        "trace_flags": record.trace_flags or None,
        "event_name": (prefix + record.action).lower(),
        "severity_number": 9,
        "severity_text": None,
        "body": None,
        "attributes": None,
    }


@given(RECORDS, st.integers(0, 2**63 - 1), _STREAMS)
@settings(max_examples=60)
def test_a_record_comes_back_in_the_columns(
    record: ActivityRecord, observed_ns: int, stream: tuple[str, int] | None
) -> None:
    """Every field of an encoded record is in its column, exactly, with nothing left over."""
    table = decode(frame_request(b"", [encode_record(record, observed_ns, stream)])).table
    (row,) = table.to_pylist()
    expected = _expected(record, stream) | {"observed_time_unix_nano": observed_ns}
    assert {name: row[name] for name in expected} == expected


@given(RECORDS, _STREAMS)
@settings(max_examples=40)
def test_upb_makes_the_same_message(record: ActivityRecord, stream: tuple[str, int] | None) -> None:
    """The bytes parse to the LogRecord that the protobuf classes would have made."""
    expected = _expected(record, stream)
    made = LogRecord(
        time_unix_nano=expected["time_unix_nano"],
        observed_time_unix_nano=5,
        severity_number=9,  # type: ignore[arg-type]
        event_name=expected["event_name"],
        flags=record.trace_flags or 0,
        trace_id=bytes.fromhex(record.trace_id or ""),
        span_id=bytes.fromhex(record.span_id or ""),
    )
    for wire in WIRE:
        value = expected[wire.column]
        if value is not None:
            made.attributes.append(kv(wire.key, json.loads(value) if wire.kind == "json" else value))
    assert canonical_record(LogRecord.FromString(encode_record(record, 5, stream))) == canonical_record(made)


def test_defaults_are_sent_and_missing_things_are_not() -> None:
    """actor_type and outcome always travel; an empty metadata and None do not."""
    record = ActivityRecord.create(actor_id=1, owner_id=2, action="Read It", entity_ref=EntityRef("Task", 3))
    sent = LogRecord.FromString(encode_record(record, 7))
    assert {attribute.key: attribute.value.string_value for attribute in sent.attributes} == {
        "audit.record.id": str(record.record_id),
        "audit.actor.id": "1",
        "audit.actor.type": "user",
        "audit.action": "Read It",
        "audit.outcome": "success",
        "audit.target.type": "Task",
        "audit.target.id": "3",
        "audit.schema.version": "1",
        "otel_audit.owner.id": "2",
    }
    assert (sent.event_name, sent.severity_number, sent.HasField("body")) == ("task.read it", 9, False)


@given(st.dictionaries(st.text(max_size=200), _JSON | st.binary(max_size=200) | st.floats(), max_size=4))
def test_resources_parse_as_upb_would_make_them(attributes: dict[str, Any]) -> None:
    """Any attribute value that OTLP has is encoded as the protobuf classes encode it."""
    sent = Resource.FromString(encode_resource(attributes))
    assert canonical_attributes(sent.attributes) == canonical_attributes(kv(*item) for item in attributes.items())


def test_sequences_and_subclasses_are_sent_as_what_they_equal() -> None:
    """Tuples (as the SDK's resources have them) are lists, a str subclass is text."""

    class Name(str):
        pass

    plain = encode_resource({"args": ["a", 1], "name": "x"})
    assert encode_resource({"args": ("a", 1), "name": Name("x")}) == plain


@pytest.mark.parametrize("value", [object(), {1, 2}, 2**63, -(2**63) - 1, "\ud800", {"\ud800": 1}])
def test_what_otlp_cannot_hold_is_refused(value: Any) -> None:
    """A value without an OTLP form raises our own error, in a resource and in an unchecked record."""
    with pytest.raises(InvalidRecordError):
        encode_resource({"key": value})
    record = ActivityRecord.from_archive(
        {"record_id": "1", "actor_id": "2", "action": "a", "occurred_at": _EPOCH, "metadata": {"key": value}}
    )
    with pytest.raises(InvalidRecordError):
        encode_record(record, 0)


def test_the_request_names_its_scope() -> None:
    """One ResourceLogs, one ScopeLogs of scope `otel_audit`, the records in order."""
    records = [LogRecord(severity_number=at).SerializeToString() for at in (1, 2)]  # type: ignore[arg-type]
    body = frame_request(encode_resource({"service.name": "s"}), records, "https://schema")
    (resource_logs,) = ExportLogsServiceRequest.FromString(body).resource_logs
    (scope_logs,) = resource_logs.scope_logs
    assert resource_logs.schema_url == "https://schema"
    assert resource_logs.resource.attributes[0].value.string_value == "s"
    assert (scope_logs.scope.name, scope_logs.scope.version) == ("otel_audit", __version__)
    assert [record.severity_number for record in scope_logs.log_records] == [1, 2]


def test_many_names_and_long_ones_do_not_pile_up() -> None:
    """The tables of kept headers stay small whatever names an application invents."""
    from otel_audit.otlp import encode

    for at in range(600):
        metadata = {f"k{at}": at, "k": "x" * at}
        record = ActivityRecord.create(
            actor_id=1, owner_id=2, action=f"a{at}", entity_ref=EntityRef("T", at), metadata=metadata
        )
        assert LogRecord.FromString(encode_record(record, 0)).event_name == f"t.a{at}"
    assert len(encode._NAMES) <= 512
    assert len(encode._MAPS) <= 512
    assert all(len(heads) <= 256 for pair in encode._MAPS.values() for heads in pair)


def test_encoding_needs_no_pyarrow() -> None:
    """The application's side imports nothing of the collector's."""
    code = "import sys, otel_audit.otlp.encode; sys.exit('pyarrow' in sys.modules or 'google.protobuf' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
