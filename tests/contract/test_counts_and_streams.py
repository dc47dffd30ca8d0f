"""Counting, streaming and looking up one record."""

from collections.abc import Iterator
from uuid import uuid4

import pytest

from otel_audit import EntityRef
from otel_audit.errors import InvalidFilterError
from otel_audit.model.filters import COUNT_FIELDS


def test_count_counts_what_matches(log, make, mine):
    log.append_many([make(1), make(2, outcome="failure"), make(3, outcome="failure")])
    log.flush()
    assert log.count(mine) == 3
    assert log.count(mine.narrowed(outcome="failure")) == 2
    assert log.count(mine.narrowed(outcome="unknown")) == 0
    assert log.count() >= 3


def test_count_by_gives_most_first(log, make, mine):
    for action, times in (("read", 1), ("create", 3), ("update", 2)):
        log.append_many([make(n, action=action) for n in range(times)])
    log.flush()
    assert list(log.count_by("action", mine).items()) == [("create", 3), ("update", 2), ("read", 1)]


def test_count_by_every_field_has_the_types_of_a_record(log, make, mine):
    """A UUID is a UUID as a key too, and a number is text."""
    actor, entity = uuid4(), EntityRef("Task", 42)
    log.append(make(actor_id=actor, owner_id="7", entity_ref=entity, outcome="failure", actor_type="system"))
    log.flush()
    expected = {
        "action": "create_task",
        "actor_id": actor,
        "actor_type": "system",
        "owner_id": "7",
        "entity_type": "Task",
        "entity_id": "42",
        "outcome": "failure",
        "tenant_id": mine.tenant_id,
    }
    assert set(expected) == set(COUNT_FIELDS)
    for field, value in expected.items():
        assert log.count_by(field, mine) == {value: 1}


def test_count_by_counts_records_without_the_field_under_none(log, make, mine):
    from otel_audit import Filter

    actor = uuid4()
    log.append_many(
        [make(1, actor_id=actor, tenant_id=None), make(2, actor_id=actor, tenant_id=None), make(3, actor_id=actor)]
    )
    log.flush()
    assert log.count_by("tenant_id", Filter(actor_id=actor)) == {None: 2, mine.tenant_id: 1}


@pytest.mark.parametrize("field", ["metadata", "record_id", "", "action; --", None])
def test_count_by_takes_only_the_fields_it_names(log, field):
    with pytest.raises(InvalidFilterError, match="field"):
        log.count_by(field)


def test_iter_records_streams_all_in_either_order(log, make, mine):
    records = [make(minute) for minute in range(12)]
    log.append_many(records)
    log.flush()
    stream = log.iter_records(mine)
    assert isinstance(stream, Iterator)
    assert list(stream) == records
    assert list(log.iter_records(mine, order="desc")) == records[::-1]
    assert list(log.iter_records(mine.narrowed(since=records[5].occurred_at))) == records[5:]


def test_a_record_is_found_by_its_id_or_is_none(log, make):
    record = make()
    log.append(record)
    log.flush()
    assert log.get_by_id(record.record_id) == record
    assert log.get_by_id(str(record.record_id)) == record
    assert log.get_by_id(uuid4()) is None
    assert log.get_by_id("no such record") is None


@pytest.mark.parametrize("record_id", [None, "", 1.5, b"x", "\ud800"])
def test_what_is_no_id_cannot_be_looked_up(log, record_id):
    with pytest.raises(InvalidFilterError, match="record_id"):
        log.get_by_id(record_id)
