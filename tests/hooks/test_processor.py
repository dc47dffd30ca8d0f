"""`HookProcessor`: the same chain inside an OpenTelemetry log pipeline, where it may only add."""

import pytest
from opentelemetry._logs import LogRecord
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor

from otel_audit.delivery.processor import HookProcessor
from otel_audit.hooks import AmbientContext, activity_context
from tests.logs import capture_events

ACTIVITY = {"audit.record.id": "r-1", "audit.actor.id": "ada", "audit.action": "create"}


def emitted(hooks, attributes):
    """What an exporter behind the processor gets, the processor, and its log."""
    exporter, processor = InMemoryLogRecordExporter(), HookProcessor(hooks, clock_ns=lambda: 10**18)
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(processor)
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    with capture_events() as logs:
        provider.get_logger("app").emit(LogRecord(attributes=attributes))
    (data,) = exporter.get_finished_logs()
    assert provider.force_flush()
    provider.shutdown()
    return dict(data.log_record.attributes), processor, logs


def test_hooks_add_attributes_under_their_wire_names():
    hooks = [AmbientContext(), lambda record: record.replace(metadata={"n": 1, "list": [1, "a"]}, reason="why")]
    with activity_context(actor_id="ada", actor_name="Ada", tenant_id="t", client_address="192.0.2.1"):
        attributes, processor, _ = emitted(hooks, ACTIVITY)
    assert attributes == ACTIVITY | {
        "otel_audit.actor.name": "Ada",
        "otel_audit.tenant.id": "t",
        "client.address": "192.0.2.1",
        "otel_audit.metadata": {"n": 1, "list": (1, "a")},
        "otel_audit.reason": "why",
    }
    assert (processor.failures, processor.ignored) == (0, 0)


def test_defaults_of_a_record_are_not_written_onto_the_log_record():
    """Only what a hook changed is added."""
    assert emitted([lambda record: record], ACTIVITY)[0] == ACTIVITY


@pytest.mark.parametrize(
    ("given", "change"),
    [
        ({"audit.action": "create"}, {"action": "delete"}),
        ({"otel_audit.metadata": {"secret": 1}}, {"metadata": {}}),
        ({"otel_audit.metadata": '{"secret": 1}'}, {"metadata": {"secret": "x"}}),
        ({"otel_audit.tenant.id": "t"}, {"tenant_id": None}),
        ({"log.record.uid": "r-1"}, {"record_id": "r-2"}),
    ],
    ids=str,
)
def test_what_is_there_already_is_neither_changed_nor_dropped(given, change):
    """A hook that tries is counted and logged."""
    attributes, processor, logs = emitted([lambda record: record.replace(**change)], ACTIVITY | given)
    assert attributes == ACTIVITY | given
    assert processor.ignored == 1
    assert logs[0]["fields"] == list(change)


def test_a_dict_changed_in_place_reaches_neither_the_log_record_nor_its_neighbours():
    def spoil(record):
        record.metadata.clear()
        return record.replace(reason="why")

    given = ACTIVITY | {"otel_audit.metadata": {"a": [1]}}
    attributes, _, _ = emitted([spoil], given)
    assert attributes["otel_audit.metadata"] == {"a": (1,)}
    assert attributes["otel_audit.reason"] == "why"


@pytest.mark.parametrize(
    "attributes",
    [
        ACTIVITY | {"otel_audit.metadata": "{not json"},
        {"audit.record.id": "r-1", "audit.action": "x"},
        ACTIVITY | {"otel_audit.metadata": {"n": float("nan")}},
    ],
)
def test_an_activity_that_is_no_valid_one_goes_on_as_it_came(attributes):
    """Judging it is the collector's part; the SDK's pipeline must not see an exception."""
    found, processor, logs = emitted([lambda record: record], attributes)
    assert found.keys() == attributes.keys()
    assert processor.failures == 1
    assert logs[0]["log_level"] == "error"


def test_a_hook_that_raises_lets_the_record_go_on():
    attributes, processor, logs = emitted([lambda record: 1 / 0], ACTIVITY)
    assert attributes == ACTIVITY
    assert processor.failures == 1
    assert "ZeroDivisionError" in logs[0]["error"]


@pytest.mark.parametrize("attributes", [None, {}, {"http.route": "/x", "audit.action": "create"}])
def test_other_log_records_are_left_alone(attributes):
    """No record id, no activity."""
    called = []
    found, processor, _ = emitted([called.append], attributes)
    assert found == (attributes or {})
    assert (called, processor.failures) == ([], 0)


def test_at_the_attribute_limit_nothing_is_added(monkeypatch):
    """The SDK would drop the oldest attribute to make room, which might be the record's id."""
    monkeypatch.setenv("OTEL_ATTRIBUTE_COUNT_LIMIT", "3")
    attributes, processor, _ = emitted([lambda record: record.replace(reason="why")], ACTIVITY)
    assert attributes == ACTIVITY
    assert processor.ignored == 1
