"""Reading in log order with `after=`: how a consumer follows a log and never misses a record."""

from uuid import uuid4

import pytest

from otel_audit import LogPosition
from otel_audit.errors import InvalidFilterError


def test_a_follower_sees_late_and_backdated_records(log, make, mine):
    """Log order is the order of commit: a record that happened long ago but arrives now comes last."""
    first, backdated = make(10), make(-50_000)
    log.append(first)
    log.flush()
    page = log.search(mine, after=LogPosition())
    assert page.records == (first,)
    log.append(backdated)
    log.flush()
    page = log.search(mine, after=page.position)
    assert page.records == (backdated,)
    nothing_new = log.search(mine, after=page.position)
    assert (nothing_new.records, nothing_new.position) == ((), page.position)


def test_pages_in_log_order_follow_each_other_by_position(log, make, mine):
    """Every position names the log and grows; there is no cursor in log order."""
    records = [make(-minute) for minute in range(5)]
    log.append_many(records)
    log.flush()
    seen, position, places = [], LogPosition(), []
    while (page := log.search(mine, limit=2, after=position)).records:
        assert page.next_cursor is None
        seen += page.records
        position = page.position
        places.append(position)
    assert seen == records
    assert places == sorted(places)
    assert len({place.log for place in places}) == 1
    assert places[0].log


def test_iter_records_streams_in_log_order(log, make, mine):
    records = [make(-minute) for minute in range(4)]
    log.append_many(records)
    log.flush()
    assert list(log.iter_records(mine, after=LogPosition())) == records
    second = log.search(mine, limit=2, after=LogPosition()).position
    assert list(log.iter_records(mine, after=second)) == records[2:]


def test_log_order_takes_neither_cursor_nor_order(log):
    with pytest.raises(InvalidFilterError, match="after"):
        log.search(after=LogPosition(), order="asc")
    with pytest.raises(InvalidFilterError, match="after"):
        log.search(after=LogPosition(), cursor="x")


def test_a_position_of_another_log_is_an_error(log, make):
    """A follower that was pointed at another log must hear of it, and not wait for ever."""
    log.append(make())
    log.flush()
    with pytest.raises(InvalidFilterError, match="log"):
        log.search(after=LogPosition("0" * 16 + uuid4().hex, 0))
