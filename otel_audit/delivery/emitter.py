"""For applications that want exactly the standard pipeline: records through their own OpenTelemetry LoggerProvider."""

from __future__ import annotations

from typing import Any

from opentelemetry import trace
from opentelemetry._logs import LoggerProvider, SeverityNumber, get_logger_provider
from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from otel_audit._version import __version__
from otel_audit.model.ids import format_id
from otel_audit.model.record import ActivityRecord, to_us
from otel_audit.otlp.names import SCHEMA_VERSION, SCOPE_NAME, SEVERITY_INFO, WIRE

__all__ = ["LoggerProviderEmitter"]


class LoggerProviderEmitter:
    """Emits records under the same wire names through a LoggerProvider, which then owns them. Best effort.

    What it does not promise, because that pipeline does not (OpenTelemetry Python SDK 1.45): that a record arrives (a
    full queue drops the oldest, a failed export is forgotten), that `force_flush()` tells of it, that anything is sent
    under `OTEL_SDK_DISABLED`, or that attributes come whole under `OTEL_ATTRIBUTE_*_LIMIT`. There is no receipt, no
    stream number, and no read. Where a record must not be lost, use `OTelActivityLogRepo`.

    Args:
        logger_provider: default: the global one, asked for at each record.
    """

    def __init__(self, logger_provider: LoggerProvider | None = None) -> None:
        self._provider = logger_provider

    def append(self, record: ActivityRecord) -> None:
        """Hand one record to the pipeline. Raises nothing of its own and returns no receipt."""
        provider = get_logger_provider() if self._provider is None else self._provider
        provider.get_logger(SCOPE_NAME, __version__).emit(
            timestamp=to_us(record.occurred_at) * 1000,
            context=_context(record),
            severity_number=SeverityNumber(SEVERITY_INFO),
            severity_text="INFO",
            attributes=_attributes(record),
            event_name=_event_name(record),
        )


def _attributes(record: ActivityRecord) -> dict[str, Any]:
    entity = record.entity_ref
    apart: dict[str, Any] = {
        "entity_type": None if entity is None else entity.entity_type,
        "entity_id": None if entity is None else entity.entity_id,
        "metadata": record.metadata or None,
        "schema_version": SCHEMA_VERSION,
        "stream_id": None,
        "stream_number": None,
    }
    attributes: dict[str, Any] = {}
    for wire in WIRE:
        value = apart[wire.column] if wire.column in apart else getattr(record, wire.column)
        if value is not None:
            attributes[wire.key] = format_id(value) if wire.kind == "id" else value
    return attributes


def _event_name(record: ActivityRecord) -> str:
    entity = record.entity_ref
    return (record.action if entity is None else f"{entity.entity_type}.{record.action}").lower()


def _context(record: ActivityRecord) -> Context:
    """The record's own trace, or expressly none: the span current at emission need not be the activity's."""
    if record.trace_id is None:
        return trace.set_span_in_context(trace.INVALID_SPAN, Context())
    span_id = int(record.span_id, 16) if record.span_id else 0
    flags = TraceFlags((record.trace_flags or 0) & 0xFF)
    context = SpanContext(int(record.trace_id, 16), span_id, is_remote=False, trace_flags=flags)
    return trace.set_span_in_context(NonRecordingSpan(context), Context())
