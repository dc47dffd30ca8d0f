"""Rows of the archive and OTLP records: each gives the other back."""

from __future__ import annotations

from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from otel_audit.archive.columns import ACTIVITY
from otel_audit.errors import ArchiveFaultError
from otel_audit.otlp.columns import DECODED
from otel_audit.otlp.rows import row_to_log_record, rows_to_request

from .wire import (
    RECORD_ID,
    av,
    canonical_record,
    canonical_request,
    decode,
    kv,
    log_record,
    only_row,
    request,
    requests,
)

_FEW = settings(max_examples=15, suppress_health_check=list(HealthCheck))
_MANY = settings(max_examples=150, suppress_health_check=list(HealthCheck))


@given(requests(bad=False))
@_FEW
def test_every_valid_record_comes_back_exactly(body: bytes) -> None:
    """Rows give back what was sent: nothing is rejected, changed or left out."""
    _check_exact(body)


@given(requests(bad=True))
@_FEW
def test_every_record_is_a_row_or_rejected_or_no_activity(body: bytes) -> None:
    """Nothing vanishes: rows, rejected requests and the count of others make up what was sent."""
    _check_accounted(body)


@pytest.mark.slow
@given(requests(bad=False))
@_MANY
def test_every_valid_record_comes_back_exactly_at_length(body: bytes) -> None:
    """The same, for far more requests."""
    _check_exact(body)


@pytest.mark.slow
@given(requests(bad=True))
@_MANY
def test_every_record_is_accounted_for_at_length(body: bytes) -> None:
    """The same, for far more requests."""
    _check_accounted(body)


def _check_exact(body: bytes) -> None:
    decoded = decode(body)
    assert [rejected.reason for rejected in decoded.rejected] == []
    assert canonical_request(rows_to_request(decoded.table)) == canonical_request(body)


def _check_accounted(body: bytes) -> None:
    decoded = decode(body)
    sent = canonical_request(body)
    back = canonical_request(rows_to_request(decoded.table))
    for rejected in decoded.rejected:
        back += canonical_request(rejected.request)
    assert back - sent == Counter()
    assert (sent - back).total() == decoded.others
    assert decoded.total == sent.total() == decoded.table.num_rows + len(decoded.rejected) + decoded.others


def test_columns_are_those_of_the_archive() -> None:
    """Decoding gives the archive's columns but for what only the commit knows, and two for de-duplication."""
    kept = [field for field in ACTIVITY if field.name not in ("log_index", "recorded_at")]
    added = [pa.field("id_key", pa.binary(16)), pa.field("digest", pa.uint64())]
    assert pa.schema([*kept, *added]).equals(DECODED, check_metadata=False)


@pytest.mark.parametrize(
    "record",
    [
        log_record({"audit.actor.id": 42, "otel_audit.owner.id": -1}),
        log_record({"log.record.uid": "1"}, without="audit.record.id"),
        log_record({"log.record.uid": "1", "audit.record.id": "1"}),
        log_record({"log.record.uid": 1, "audit.record.id": "1"}),
        log_record({"log.record.uid": "1", "audit.record.id": 1}),
        log_record({"log.record.uid": 1}, without="audit.record.id"),
        log_record({"log.record.uid": RECORD_ID.upper()}, without="audit.record.id"),
        log_record({"log.record.uid": RECORD_ID.upper(), "audit.record.id": RECORD_ID}),
        log_record({"log.record.uid": RECORD_ID, "audit.record.id": RECORD_ID.upper()}),
        log_record({"otel_audit.owner.id": "", "audit.target.type": "", "audit.target.id": ""}),
        log_record({"audit.record.id": RECORD_ID.upper(), "audit.actor.id": RECORD_ID.upper()}),
        log_record({"log.record.uid": {"no": b"id"}}),
        log_record({"otel_audit.metadata": '{"b": 1.0, "a": 1}'}),
        log_record({"otel_audit.metadata": {"b": b"\xff", "n": float("nan"), "i": float("-inf")}}),
        log_record({"otel_audit.metadata": {"deep": [[], {}, {"x": [b""]}]}}),
        log_record({"otel_audit.changes": {"field": [None, 2**63 - 1]}}),
        log_record({"otel_audit.reason": ""}),
        log_record({"otel_audit.reason": None}),
        log_record({}, KeyValue(key="otel_audit.reason")),
        log_record({"otel_audit.metadata": None}),
        log_record({"": "empty key", "x": None}),
        log_record({}, KeyValue(key="no value")),
        log_record({"x": AnyValue(string_value_strindex=0), "y": AnyValue(string_value_strindex=7)}),
        log_record({}, trace_id=bytes(16), span_id=bytes(8), flags=2**32 - 1),
        log_record({}, trace_id=b"short", span_id=b"too long for one", dropped_attributes_count=3),
        log_record({}, time_unix_nano=2**64 - 1, observed_time_unix_nano=2**63),
        log_record({}, time_unix_nano=2**63 - 1, observed_time_unix_nano=2**63 - 1),
        log_record({}, severity_number=99, severity_text="ODD", body=av("text"), event_name="a.b"),
        log_record({}, severity_number=-1, body=AnyValue()),
        log_record({"audit.sequence.stream_id": "s", "audit.sequence.number": 7, "audit.schema.version": "1"}),
        log_record({"otel_audit.metadata": {"\ue000": 1, "\U0001f600": 2, "a": 3}}),
    ],
)
def test_odd_records_come_back(record: LogRecord) -> None:
    """Spellings, aliases and fields that no column holds exactly are given back as they were sent."""
    assert canonical_record(row_to_log_record(only_row(record))) == canonical_record(record)


def test_deepest_nesting_comes_back() -> None:
    """32 levels are accepted everywhere, though stock parsing of the whole request gives up before that."""
    value = av("bottom")
    for _ in range(32):
        value = AnyValue(kvlist_value={"values": [KeyValue(key="k", value=value)]})
    sent = log_record({"otel_audit.metadata": value, "x": value}, body=value)
    assert canonical_record(row_to_log_record(only_row(sent))) == canonical_record(sent)


def test_runs_share_their_resource() -> None:
    """Consecutive rows of one Resource and scope make one ResourceLogs."""
    first = request(log_record({"audit.record.id": "1"}), log_record({"audit.record.id": "2"}))
    second = ExportLogsServiceRequest.FromString(request(log_record({"audit.record.id": "3"})))
    second.resource_logs[0].resource.attributes.append(kv("service.name", "x"))
    table = decode(first + second.SerializeToString()).table
    back = ExportLogsServiceRequest.FromString(rows_to_request(table))
    assert [len(found.scope_logs[0].log_records) for found in back.resource_logs] == [2, 1]


@pytest.mark.parametrize(
    "damage",
    [
        {"attributes": "{"},
        {"attributes": "[]"},
        {"attributes": '{"x":{"noSuchKind":1}}'},
        {"attributes": '{"x":5}'},
        {"attributes": '{"otel_audit.raw.x":{"intValue":"1"}}'},
        {"body": '{"intValue":"99999999999999999999"}'},
        {"metadata": '{"a":99999999999999999999}'},
        {"trace_id": "xyz"},
        {"time_unix_nano": None, "observed_time_unix_nano": "x"},
    ],
)
def test_damaged_rows_are_faults(damage: dict[str, object]) -> None:
    """A row that decoding cannot have written raises our own error."""
    with pytest.raises(ArchiveFaultError):
        row_to_log_record(only_row(log_record()) | damage)


@pytest.mark.parametrize("column", ["resource", "scope"])
@pytest.mark.parametrize(
    "text", ["{", "[]", '{"attributes":[]}', '{"attributes":{"x":1}}', '{"attributes":{},"droppedAttributesCount":-1}']
)
def test_damaged_contexts_are_faults(column: str, text: str) -> None:
    """The same for the columns of Resource and scope."""
    table = decode(request(log_record())).table
    table = table.set_column(table.schema.get_field_index(column), column, pa.array([text]))
    with pytest.raises(ArchiveFaultError):
        rows_to_request(table)
