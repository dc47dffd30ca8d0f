"""The chain: nothing is lost before the append, nothing is undone after it."""

import threading
import uuid

import pytest

from otel_audit import ActivityRecord, AfterAppend, BeforeAppend, EntityRef, Receipt
from otel_audit.errors import ConfigError, HookError, InvalidRecordError
from otel_audit.hooks import AmbientContext, Bounds, CurrentTrace, HookChain
from tests.logs import capture_events


@pytest.fixture
def record():
    return ActivityRecord.create(actor_id="a", owner_id="o", action="do", entity_ref=EntityRef("T", 1))


class Both:
    """A hook on both sides."""

    def __init__(self):
        self.events = []

    def before_append(self, record):
        return record.replace(reason="both")

    def after_append(self, event):
        self.events.append(event)


def receipt(record):
    return Receipt(record.record_id, "acknowledged", "log", 7)


def test_an_empty_chain_gives_back_the_record_itself(record):
    chain = HookChain()
    assert chain.before(record) is record
    chain.after(record, receipt(record))
    assert chain.after_failures == 0


def test_hooks_run_in_order_whether_objects_or_callables(record):
    chain = HookChain([lambda r: r.replace(reason=f"{r.reason}1"), Both(), lambda r: r.replace(reason=f"{r.reason}2")])
    assert chain.before(record).reason == "both2"


def test_an_object_may_stand_on_both_sides(record):
    hook = Both()
    chain = HookChain([hook])
    chain.after(chain.before(record), receipt(record))
    assert [(event.record.reason, event.receipt.log_index, event.version) for event in hook.events] == [("both", 7, 1)]


@pytest.mark.parametrize(
    ("hook", "name"),
    [(lambda record: 1 / 0, "<lambda>"), (type("Named", (), {"before_append": lambda self, r: 1 / 0})(), "Named")],
)
def test_a_hook_that_raises_is_named_and_its_exception_kept(record, hook, name):
    with pytest.raises(HookError, match="ZeroDivisionError: division by zero") as caught:
        HookChain([hook]).before(record)
    assert name in caught.value.hook
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert not caught.value.retryable


def test_hooks_after_the_one_that_raised_do_not_run(record):
    ran = []
    with pytest.raises(HookError):
        HookChain([lambda r: 1 / 0, ran.append]).before(record)
    assert ran == []


@pytest.mark.parametrize("returned", [None, "text", {}, True])
def test_a_hook_must_return_a_record(record, returned):
    """None would be a record dropped silently."""
    with pytest.raises(HookError, match=r"returned (None|a (str|dict|bool))"):
        HookChain([lambda r: returned]).before(record)


@pytest.mark.filterwarnings("ignore:coroutine")
def test_a_coroutine_is_no_record(record):
    async def hook(record):
        return record

    with pytest.raises(HookError, match="coroutine"):
        HookChain([hook]).before(record)


def test_an_interrupt_is_not_taken_for_a_hooks_fault(record):
    def interrupted(record):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        HookChain([interrupted]).before(record)


def test_after_hooks_that_raise_are_logged_and_counted_and_stop_nobody(record):
    class Fails:
        def after_append(self, event):
            raise ValueError("no")

    last = Both()
    chain = HookChain([Fails(), Fails(), last])
    with capture_events() as logs:
        chain.after(record, receipt(record))
    assert chain.after_failures == 2
    assert len(last.events) == 1
    assert [(line["log_level"], line["record_id"]) for line in logs] == [("error", str(record.record_id))] * 2
    assert "Fails" in logs[0]["hook"]


def test_failures_are_counted_exactly_from_many_threads(record):
    class Fails:
        def after_append(self, event):
            raise ValueError

    chain = HookChain([Fails()])
    with capture_events():
        threads = [
            threading.Thread(target=lambda: [chain.after(record, receipt(record)) for _ in range(50)]) for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert chain.after_failures == 400


@pytest.mark.parametrize("hook", [None, 7, "before_append", object(), CurrentTrace])
def test_what_is_no_hook_is_refused_when_the_chain_is_made(hook):
    """A class in place of its instance is the usual slip."""
    with pytest.raises(ConfigError, match="hooks"):
        HookChain([hook])


def test_the_built_in_hooks_are_what_the_ports_ask_for():
    for hook in (CurrentTrace(), AmbientContext(), Bounds(max_bytes=1)):
        assert isinstance(hook, BeforeAppend)
        assert not isinstance(hook, AfterAppend)


@pytest.mark.parametrize(
    ("bounds", "fields", "message"),
    [
        ({"max_bytes": 10}, {"metadata": {"text": "xxxxx"}}, "metadata: must be at most 10 bytes of JSON, not 16"),
        ({"max_bytes": 11}, {"metadata": {"t": "ééé"}}, "metadata: must be at most 11 bytes of JSON, not 14"),
        ({"max_depth": 1}, {"metadata": {"a": []}}, "metadata: must be at most 1 levels deep, not 2"),
        ({"max_keys": 2}, {"metadata": {"a": [{"b": 1}, {"c": 1}]}}, "metadata: must have at most 2 keys, not 3"),
        ({"max_keys": 1}, {"changes": {"a": [1, 2], "b": [1, 2]}}, "changes: must have at most 1 keys, not 2"),
    ],
)
def test_bounds_name_field_and_rule(record, bounds, fields, message):
    with pytest.raises(InvalidRecordError) as caught:
        Bounds(**bounds).before_append(record.replace(**fields))
    assert str(caught.value) == message
    with pytest.raises(HookError, match="Bounds raised InvalidRecordError: "):
        HookChain([Bounds(**bounds)]).before(record.replace(**fields))


def test_a_record_at_the_bound_passes_unchanged(record):
    exact = record.replace(metadata={"a": [1]}, changes={"b": [1, 2]})
    assert Bounds(max_bytes=11, max_depth=2, max_keys=1).before_append(exact) is exact


@pytest.mark.parametrize("bound", [0, -1, True, 1.5, "10"])
@pytest.mark.parametrize("name", ["max_bytes", "max_depth", "max_keys"])
def test_a_bound_is_a_positive_whole_number(name, bound):
    with pytest.raises(ConfigError, match=name):
        Bounds(**{name: bound})


def test_a_hook_gets_a_record_it_can_replace_without_touching_the_callers(record):
    """`replace` copies the dicts, so an enriching hook does not write into the application's record."""
    changed = record.replace(metadata={"a": [1]}).replace(record_id=uuid.uuid4())
    changed.metadata["a"].append(2)
    assert record.metadata == {}
