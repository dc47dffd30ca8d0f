"""Ties a record to the trace it happened in."""

from __future__ import annotations

from opentelemetry import trace

from otel_audit.model.record import ActivityRecord

__all__ = ["CurrentTrace"]


class CurrentTrace:
    """Adds trace id, span id and trace flags of the current span, unless the record carries a trace id already."""

    def before_append(self, record: ActivityRecord) -> ActivityRecord:
        """The record within its trace; unchanged where no valid span is current."""
        if record.trace_id is not None:
            return record
        span = trace.get_current_span().get_span_context()
        if not span.is_valid:
            return record
        return record.replace(
            trace_id=trace.format_trace_id(span.trace_id),
            span_id=trace.format_span_id(span.span_id),
            trace_flags=int(span.trace_flags),
        )
