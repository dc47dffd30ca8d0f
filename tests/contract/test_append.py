"""Appending: what is stored once, what is not stored at all, and who may have a say."""

from dataclasses import FrozenInstanceError
from uuid import uuid4

import pytest

from otel_audit import ActivityLogReader, ActivityLogRepo, ActivityLogWriter, ActivityRecorded
from otel_audit.errors import ClosedError, HookError
from otel_audit.hooks import AmbientContext, Bounds, activity_context


def test_a_repo_is_what_the_ports_ask_for(log):
    assert isinstance(log, ActivityLogRepo)
    assert isinstance(log, ActivityLogWriter)
    assert isinstance(log, ActivityLogReader)


def test_a_receipt_names_the_record_and_what_was_promised(log, make):
    record = make()
    receipt = log.append(record)
    assert receipt.record_id == record.record_id
    assert receipt.state in ("accepted", "acknowledged")
    assert (receipt.log is None) == (receipt.log_index is None)


def test_ones_own_writes_are_readable_after_flush(log, make, mine):
    for count in range(1, 6):
        log.append(make(count))
        log.flush()
        assert log.count(mine) == count
        assert len(log.search(mine).records) == count


def test_the_same_record_again_is_stored_once(log, make, mine):
    """At once, after a flush, and among many; a repeat is no error."""
    record = make()
    log.append(record)
    log.append(record)
    log.flush()
    log.append(record)
    log.append_many([record, make(1), record])
    log.flush()
    assert log.count(mine) == 2
    assert log.get_by_actor(record.actor_id) == log.get_by_owner(record.owner_id)
    assert log.search(mine, order="asc").records[0] == record


def test_the_trace_is_no_part_of_the_content(log, make, mine):
    """A retry runs in another span; it is the same record all the same."""
    record = make(trace_id="1" * 32, span_id="1" * 16)
    log.append(record)
    log.append(record.replace(trace_id="2" * 32, span_id="2" * 16, trace_flags=1))
    log.flush()
    assert log.search(mine).records == (record,)


@pytest.mark.parametrize(
    "change",
    [
        {"metadata": {"n": 1.0}},
        {"metadata": {"n": True}},
        {"metadata": {}},
        {"action": "delete_task"},
        {"outcome": "failure"},
        {"changes": {"n": [0, 1]}},
        {"reason": "because"},
    ],
    ids=str,
)
def test_another_record_under_a_known_id_does_not_get_into_the_log(log, make, mine, change):
    """The first one stays as it is; the second is set aside and the append is no error."""
    record = make(metadata={"n": 1})
    log.append(record)
    log.flush()
    log.append(record.replace(**change))
    log.flush()
    found = log.search(mine).records
    assert found == (record,)
    assert type(found[0].metadata["n"]) is int


def test_append_many_gives_a_receipt_for_each_in_order(log, make, mine):
    records = [make(minute) for minute in range(4)]
    receipts = log.append_many(iter(records))
    log.flush()
    assert [receipt.record_id for receipt in receipts] == [record.record_id for record in records]
    assert log.count(mine) == 4
    assert log.append_many([]) == []


class Refuse:
    """Raises for the record of one action."""

    def before_append(self, record):
        if record.action == "refuse_me":
            raise PermissionError("not this one")
        return record


def test_append_many_takes_all_or_none(open_repo, make, mine):
    """One record that a hook refuses, or an iterable that breaks off, and nothing of the rest is stored."""
    log = open_repo(hooks=[Refuse()])
    with pytest.raises(HookError, match="Refuse"):
        log.append_many([make(1), make(2, action="refuse_me"), make(3)])

    def breaking_off():
        yield make(4)
        raise KeyError("source broke")

    with pytest.raises(KeyError):
        log.append_many(breaking_off())
    log.flush()
    assert log.count(mine) == 0
    log.append_many([make(1), make(3)])
    log.flush()
    assert log.count(mine) == 2


def test_hooks_change_the_record_in_the_order_given(open_repo, make):
    seen = []
    log = open_repo(
        hooks=[
            lambda record: record.replace(metadata=record.metadata | {"steps": ["first"]}),
            lambda record: record.replace(metadata={"steps": [*record.metadata["steps"], "second"]}),
            AmbientContext(),
            After(seen),
        ]
    )
    record = make()
    with activity_context(actor_id=record.actor_id, actor_name="Ada", client_address="192.0.2.1"):
        log.append(record)
    log.flush()
    found = log.get_by_id(record.record_id)
    assert found.metadata == {"steps": ["first", "second"]}
    assert (found.actor_name, found.client_address) == ("Ada", "192.0.2.1")
    assert [event.record for event in seen] == [found]


class After:
    """Keeps the events it gets, then raises if told to."""

    def __init__(self, seen, error=None):
        self.seen, self.error = seen, error

    def after_append(self, event):
        self.seen.append(event)
        if self.error:
            raise self.error


def test_after_hooks_hear_of_every_append_and_can_undo_none(open_repo, make, mine):
    first, second = [], []
    log = open_repo(hooks=[After(first, RuntimeError("observer broke")), After(second)])
    records = [make(1), make(2)]
    receipts = [log.append(records[0]), *log.append_many(records[1:])]
    log.flush()
    assert log.count(mine) == 2
    assert [event.record for event in first] == records
    assert second == [ActivityRecorded(record, receipt) for record, receipt in zip(records, receipts, strict=True)]


def test_a_hook_that_loses_the_record_fails_the_append(open_repo, make, mine):
    log = open_repo(hooks=[lambda record: None])
    with pytest.raises(HookError, match="None"):
        log.append(make())
    log.flush()
    assert log.count(mine) == 0


def test_bounds_refuse_and_never_truncate(open_repo, make, mine):
    log = open_repo(hooks=[Bounds(max_bytes=50)])
    with pytest.raises(HookError, match="metadata"):
        log.append(make(metadata={"text": "x" * 100}))
    log.append(make(metadata={"text": "x" * 10}))
    log.flush()
    assert [record.metadata for record in log.search(mine).records] == [{"text": "x" * 10}]


def test_a_record_cannot_be_changed(make):
    with pytest.raises(FrozenInstanceError):
        make().action = "other"


def test_a_closed_repo_neither_takes_nor_gives(open_repo, make, mine):
    """`close` flushes; after it every use raises ClosedError, but closing again does nothing."""
    log = open_repo()
    log.append(make())
    log.close()
    log.close()
    for use in (
        lambda: log.append(make()),
        lambda: log.append_many([make()]),
        lambda: log.get_by_id(uuid4()),
        lambda: log.get_by_actor(uuid4()),
        lambda: log.search(mine),
        lambda: log.count(mine),
        lambda: log.count_by("action", mine),
        lambda: list(log.iter_records(mine)),
    ):
        with pytest.raises(ClosedError):
            use()


def test_leaving_the_with_block_closes(open_repo, make):
    with open_repo() as log:
        log.append(make())
    with pytest.raises(ClosedError):
        log.append(make())
