"""Which records come back from the four histories, and in what order."""

from datetime import datetime, timedelta
from uuid import UUID, uuid4

import pytest

from otel_audit import EntityRef, Filter
from otel_audit.errors import InvalidFilterError
from tests.contract.conftest import START


def ids(records):
    return [record.record_id for record in records]


def test_each_history_has_what_belongs_to_it_and_nothing_else(log, make):
    """get_by_entity, get_by_actor, get_by_owner and get_by_action select by that field alone."""
    entity, actor, owner, action = EntityRef("Task", uuid4()), uuid4(), uuid4(), f"verb_{uuid4().hex}"
    by_entity, by_actor = make(1, entity_ref=entity), make(2, actor_id=actor)
    by_owner, by_action = make(3, owner_id=owner), make(4, action=action)
    log.append_many([by_entity, by_actor, by_owner, by_action, make(5)])
    log.flush()
    assert log.get_by_entity(entity) == [by_entity]
    assert log.get_by_actor(actor) == [by_actor]
    assert log.get_by_owner(owner) == [by_owner]
    assert log.get_by_action(action) == [by_action]


def test_an_entity_is_its_type_and_its_id(log, make):
    """The same id under another type is another thing."""
    key = uuid4()
    task, note = make(entity_ref=EntityRef("Task", key)), make(entity_ref=EntityRef("Note", key))
    log.append_many([task, note])
    log.flush()
    assert log.get_by_entity(EntityRef("Task", key)) == [task]
    assert log.get_by_entity(EntityRef("task", key)) == []


def test_history_comes_in_the_order_it_happened_not_in_the_order_it_was_appended(log, make):
    actor = uuid4()
    late, early, middle = (make(minute, actor_id=actor) for minute in (30, 10, 20))
    log.append_many([late, early, middle])
    log.flush()
    assert log.get_by_actor(actor) == [early, middle, late]
    assert log.get_by_actor(actor, order="desc") == [late, middle, early]


def test_equal_times_are_ordered_by_the_text_of_the_id(log, make):
    """The tie-break is by code point, so digits come before capitals and those before small letters."""
    actor, tail = uuid4(), uuid4().hex
    wanted = [f"{head}{tail}" for head in ("0", "9", "B", "a", "é", "中", "\uffee", "😀")]
    log.append_many([make(actor_id=actor, record_id=record_id) for record_id in reversed(wanted)])
    log.flush()
    assert ids(log.get_by_actor(actor)) == wanted
    assert ids(log.get_by_actor(actor, order="desc")) == wanted[::-1]
    assert ids(log.get_by_actor(actor, limit=3)) == wanted[-3:]


def test_times_a_microsecond_apart_are_kept_apart(log, make):
    actor = uuid4()
    second = make(actor_id=actor, occurred_at=START + timedelta(microseconds=1), record_id=UUID(int=1))
    first = make(actor_id=actor, occurred_at=START, record_id=UUID(int=2))
    log.append_many([second, first])
    log.flush()
    assert log.get_by_actor(actor) == [first, second]


def test_limit_keeps_the_newest_and_gives_them_oldest_first(log, make):
    """`limit=n` means the newest n; `order` only turns them round."""
    owner = uuid4()
    records = [make(minute, owner_id=owner) for minute in range(6)]
    log.append_many(records)
    log.flush()
    assert log.get_by_owner(owner, limit=2) == records[4:]
    assert log.get_by_owner(owner, limit=2, order="desc") == records[:3:-1]
    assert log.get_by_owner(owner, limit=100) == records
    assert log.get_by_owner(owner) == records


def test_since_is_included_and_until_is_not(log, make):
    """A time range is half open, to the microsecond."""
    actor, tick = uuid4(), timedelta(microseconds=1)
    before, at, after = (make(actor_id=actor, occurred_at=START + n * tick) for n in (-1, 0, 1))
    log.append_many([before, at, after])
    log.flush()
    assert log.get_by_actor(actor, since=START) == [at, after]
    assert log.get_by_actor(actor, until=START) == [before]
    assert log.get_by_actor(actor, since=START, until=START + tick) == [at]
    assert log.get_by_actor(actor, since=START, limit=1) == [after]
    assert log.get_by_actor(actor, until=START + tick, limit=1, order="desc") == [at]


def test_a_time_in_another_zone_is_the_same_moment(log, make):
    from datetime import timezone

    eastern = timezone(timedelta(hours=-5))
    record = make(occurred_at=datetime(2026, 3, 1, 7, 0, tzinfo=eastern))
    log.append(record)
    log.flush()
    found = log.get_by_id(record.record_id)
    assert found.occurred_at == START
    assert found.occurred_at.utcoffset() == timedelta(0)
    assert log.get_by_actor(record.actor_id, since=START.astimezone(eastern)) != []


@pytest.mark.parametrize("limit", [0, -1, True, 1.5, "10"])
def test_a_limit_that_is_no_positive_whole_number_is_refused(log, make, limit):
    for read in (log.get_by_actor, log.get_by_owner):
        with pytest.raises(InvalidFilterError, match="limit"):
            read(uuid4(), limit=limit)
    with pytest.raises(InvalidFilterError, match="limit"):
        log.search(limit=limit)


@pytest.mark.parametrize("limit", [None, 10_001])
def test_a_page_has_an_upper_bound(log, limit):
    with pytest.raises(InvalidFilterError, match="limit"):
        log.search(limit=limit)


def test_an_unknown_order_is_refused(log):
    for read in (log.search, log.iter_records):
        with pytest.raises(InvalidFilterError, match="order"):
            read(order="newest")
    with pytest.raises(InvalidFilterError, match="order"):
        log.get_by_action("x", order="ASC")


def test_a_range_that_is_naive_or_empty_is_refused(log):
    with pytest.raises(InvalidFilterError, match="since"):
        log.get_by_action("x", since=datetime(2026, 1, 1))
    with pytest.raises(InvalidFilterError, match="until"):
        log.get_by_action("x", since=START, until=START)


@pytest.mark.parametrize("read", ["get_by_entity", "get_by_actor", "get_by_owner", "get_by_action"])
def test_none_is_no_id_to_ask_for(log, read):
    """A caller whose id is missing gets an error, never everybody's records."""
    with pytest.raises(InvalidFilterError, match="must be given"):
        getattr(log, read)(None)


def test_nothing_found_is_an_empty_list(log):
    assert log.get_by_actor(uuid4(), limit=5) == []
    assert log.get_by_entity(EntityRef("Task", uuid4())) == []
    page = log.search(Filter(actor_id=uuid4()))
    assert (page.records, page.next_cursor) == ((), None)
