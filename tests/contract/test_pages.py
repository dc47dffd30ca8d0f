"""Pages and cursors: `search` walks everything once, whatever arrives meanwhile."""

import base64
import json
from uuid import uuid4

import pytest

from otel_audit import Filter
from otel_audit.errors import InvalidCursorError, InvalidFilterError


def walk(log, filter, limit, between=lambda: None, **options):
    page = log.search(filter, limit=limit, **options)
    records = list(page.records)
    while page.next_cursor:
        between()
        page = log.search(limit=limit, cursor=page.next_cursor)
        records += page.records
    return records


@pytest.fixture
def written(log, make):
    """Nine records; three share each time, so a page ends between equal times."""
    records = sorted((make(n // 3) for n in range(9)), key=lambda record: record.order_key)
    log.append_many(records)
    log.flush()
    return records


@pytest.mark.parametrize("limit", [1, 2, 4, 8, 9, 10])
def test_pages_give_every_record_once_newest_first(log, mine, written, limit):
    assert walk(log, mine, limit) == written[::-1]


@pytest.mark.parametrize("limit", [2, 9])
def test_pages_walk_oldest_first_when_asked(log, mine, written, limit):
    """The cursor carries the order, so the following calls need not repeat it."""
    assert walk(log, mine, limit, order="asc") == written


def test_the_last_page_has_no_cursor_even_when_it_is_full(log, mine, written):
    assert log.search(mine, limit=9).next_cursor is None
    assert log.search(mine, limit=8).next_cursor is not None


def test_a_walk_is_stable_while_records_arrive(log, mine, make, written):
    """New records neither push earlier ones onto a page again nor hide one that was not yet shown."""
    newer, older = (make(minute) for minute in (100, -100))
    arriving = iter([newer, older])

    def between():
        for record in arriving:
            log.append(record)
            log.flush()
            return

    assert walk(log, mine, 3, between) == [*written[::-1], older]


def test_a_cursor_carries_its_filter(log, make, mine):
    """Repeating the same filter is allowed, leaving it out means the same, another one is an error."""
    records = [make(minute, outcome="failure" if minute % 2 else "success") for minute in range(6)]
    log.append_many(records)
    log.flush()
    failures = mine.narrowed(outcome="failure")
    cursor = log.search(failures, limit=1).next_cursor
    assert log.search(limit=5, cursor=cursor).records == (records[3], records[1])
    assert log.search(failures, limit=5, cursor=cursor).records == (records[3], records[1])
    with pytest.raises(InvalidCursorError, match="filter"):
        log.search(mine, cursor=cursor)
    with pytest.raises(InvalidCursorError, match="order"):
        log.search(cursor=cursor, order="asc")


def _encoded(body: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(body).encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "0",
        "!!!!",
        "é",
        "A" * 1000,
        "\ud800",
        _encoded([]),
        _encoded({"v": 2, "o": "asc", "f": {}, "k": [0, "x"]}),
        _encoded({"v": 1, "o": "up", "f": {}, "k": [0, "x"]}),
        _encoded({"v": 1, "o": "asc", "f": {"nothing": 1}, "k": [0, "x"]}),
        _encoded({"v": 1, "o": "asc", "f": {"actor_id": 1.5}, "k": [0, "x"]}),
        _encoded({"v": 1, "o": "asc", "f": {}, "k": [2**62, "x"]}),
        _encoded({"v": 1, "o": "asc", "f": {}, "k": ["0", "x"]}),
        _encoded({"v": 1, "o": "asc", "f": {}}),
    ],
)
def test_a_text_that_is_no_cursor_is_refused(log, cursor):
    with pytest.raises(InvalidCursorError):
        log.search(cursor=cursor)


def test_a_page_of_a_long_filter_goes_on(log, make, mine):
    """However long the texts of a filter, its own cursor is accepted."""
    long = {"session_id": "😀" * 512, "request_id": "中" * 512, "on_behalf_of": "é" * 512, "action": "x" * 256}
    log.append_many([make(minute, **long) for minute in range(3)])
    log.flush()
    assert len(walk(log, mine.narrowed(**long), 2)) == 3


CONDITIONS = {
    "actor_id": uuid4(),
    "owner_id": "owner-text",
    "action": "delete_task",
    "outcome": "failure",
    "actor_type": "service",
    "request_id": "req-1",
    "session_id": "17",
    "on_behalf_of": uuid4(),
    "trace_id": "0af7651916cd43dd8448eb211c80319c",
}


def test_every_condition_of_a_filter_selects_alone_and_all_hold_together(log, make, mine):
    from otel_audit import EntityRef

    entity = EntityRef("Invoice", "F-1")
    wanted, other = make(1, **CONDITIONS, entity_ref=entity), make(2)
    log.append_many([wanted, other])
    log.flush()
    conditions = CONDITIONS | {"entity_type": "Invoice", "entity_ref": entity}
    for name, value in conditions.items():
        assert log.search(mine.narrowed(**{name: value})).records == (wanted,), name
    assert log.search(mine.narrowed(**conditions)).records == (wanted,)
    assert log.search(mine.narrowed(**conditions | {"outcome": "unknown"})).records == ()


@pytest.mark.parametrize(
    "name", ["action", "outcome", "actor_type", "entity_type", "trace_id", "actor_id", "tenant_id"]
)
@pytest.mark.parametrize("value", ["", "\ud800", b"x", 1.5])
def test_a_condition_that_no_record_can_meet_is_refused(name, value):
    with pytest.raises(InvalidFilterError, match=name):
        Filter(**{name: value})
