"""The best-effort emitter: the same wire names through the application's own LoggerProvider."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest
from opentelemetry import _logs, trace
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.util._once import Once

from otel_audit.delivery.emitter import LoggerProviderEmitter
from otel_audit.model.record import ActivityRecord, EntityRef
from otel_audit.otlp.encode import encode_record

FULL = ActivityRecord(
    record_id=UUID("01890a5d-ac96-774b-bcce-b302099a8057"),
    occurred_at=datetime(2026, 11, 24, 10, 30, 15, 123456, tzinfo=UTC),
    actor_id=42,  # type: ignore[arg-type]
    action="Create_Task",
    owner_id=UUID("f47ac10b-58cc-4372-a567-0e02b2c3d479"),
    entity_ref=EntityRef("Task", "t-1"),
    metadata={"title": "Größe", "n": 3, "f": 1.0, "none": None, "list": [1, {"deep": True}]},
    actor_type="service",
    outcome="failure",
    actor_name="cron",
    entity_name="The task",
    on_behalf_of="u-7",
    reason="no room",
    changes={"title": ["a", None]},
    tenant_id="acme",
    client_address="192.0.2.1",
    user_agent="curl/8",
    session_id="s",
    request_id="r",
    trace_id="0af7651916cd43dd8448eb211c80319c",
    span_id="b7ad6b7169203331",
    trace_flags=1,
)
BARE = ActivityRecord(record_id="x", occurred_at=FULL.occurred_at, actor_id="a", action="login")


def emitted(record: ActivityRecord) -> tuple[LogRecord, str]:
    """What the standard pipeline makes of a record on the wire, and the scope's name."""
    exporter = InMemoryLogRecordExporter()
    provider = LoggerProvider()
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    LoggerProviderEmitter(provider).append(record)
    request = encode_logs(exporter.get_finished_logs())
    scope_logs = request.resource_logs[0].scope_logs[0]
    return scope_logs.log_records[0], scope_logs.scope.name


@pytest.mark.parametrize("record", [FULL, BARE], ids=["full", "bare"])
def test_the_emitter_sends_what_the_encoder_sends(record: ActivityRecord) -> None:
    theirs, scope = emitted(record)
    ours = LogRecord.FromString(encode_record(record, theirs.observed_time_unix_nano))
    assert scope == "otel_audit"
    assert {a.key: a.value for a in theirs.attributes} == {a.key: a.value for a in ours.attributes}
    for field in ("time_unix_nano", "severity_number", "event_name", "trace_id", "span_id", "flags"):
        assert getattr(theirs, field) == getattr(ours, field), field


def test_a_record_without_a_trace_gets_none_from_where_it_is_emitted() -> None:
    with TracerProvider().get_tracer("t").start_as_current_span("other"):
        assert trace.get_current_span().get_span_context().is_valid
        record, _ = emitted(BARE)
    assert (record.trace_id, record.span_id) == (b"", b"")


def test_the_global_provider_is_asked_for_at_each_record(monkeypatch: pytest.MonkeyPatch) -> None:
    from opentelemetry._logs import _internal

    monkeypatch.setattr(_internal, "_LOGGER_PROVIDER", None)
    monkeypatch.setattr(_internal, "_LOGGER_PROVIDER_SET_ONCE", Once())
    emitter = LoggerProviderEmitter()
    emitter.append(BARE)  # nobody listens, and nothing is promised
    exporter = InMemoryLogRecordExporter()
    provider = LoggerProvider()
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    _logs.set_logger_provider(provider)
    emitter.append(BARE)
    assert len(exporter.get_finished_logs()) == 1
