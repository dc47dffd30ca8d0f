"""`CurrentTrace`: a record carries the trace it happened in."""

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from otel_audit import ActivityRecord, EntityRef
from otel_audit.hooks import CurrentTrace


def made(**fields):
    return ActivityRecord.create(actor_id="a", owner_id="o", action="do", entity_ref=EntityRef("T", 1), **fields)


def test_a_record_made_within_a_span_carries_its_ids():
    with TracerProvider().get_tracer("t").start_as_current_span("work") as span:
        record = CurrentTrace().before_append(made())
    context = span.get_span_context()
    assert record.trace_id == trace.format_trace_id(context.trace_id)
    assert record.span_id == trace.format_span_id(context.span_id)
    assert record.trace_flags == int(context.trace_flags)
    assert record.trace_flags & 1


def test_a_span_that_is_not_sampled_is_named_all_the_same():
    with TracerProvider(sampler=ALWAYS_OFF).get_tracer("t").start_as_current_span("work"):
        record = CurrentTrace().before_append(made())
    assert record.trace_id is not None
    assert not record.trace_flags & 1


def test_without_a_span_the_record_is_untouched():
    record = made()
    assert CurrentTrace().before_append(record) is record


def test_a_trace_id_given_by_the_application_wins():
    record = made(trace_id="1" * 32)
    with TracerProvider().get_tracer("t").start_as_current_span("work"):
        assert CurrentTrace().before_append(record) is record
