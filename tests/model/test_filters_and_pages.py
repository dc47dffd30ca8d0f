"""Filters and cursors: checked when built, and back from their text as themselves."""

import base64
import contextlib
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_audit import ActivityRecord, EntityRef, Filter, LogPosition
from otel_audit.errors import InvalidCursorError, InvalidFilterError
from otel_audit.model.filters import checked_limit, checked_order, entity_filter
from otel_audit.model.json_values import format_json, parse_json
from otel_audit.model.pages import Cursor, format_cursor, parse_cursor
from otel_audit.model.record import ACTOR_TYPES, OUTCOMES

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
ids = st.one_of(st.uuids(), texts)
moments = st.datetimes(min_value=datetime(2, 1, 1), max_value=datetime(9998, 1, 1), timezones=st.timezones())


@st.composite
def filters(draw):
    optional = {
        "entity_ref": st.builds(EntityRef, texts, ids),
        **dict.fromkeys(["actor_id", "owner_id", "tenant_id", "request_id", "session_id", "on_behalf_of"], ids),
        **dict.fromkeys(["action", "entity_type"], texts),
        "outcome": st.sampled_from(OUTCOMES),
        "actor_type": st.sampled_from(ACTOR_TYPES),
        "trace_id": st.from_regex("[0-9a-f]{32}", fullmatch=True),
    }
    conditions = draw(st.fixed_dictionaries({}, optional=optional))
    since, until = draw(st.none() | moments), draw(st.none() | moments)
    if since is not None and until is not None and until <= since:
        until = None
    return Filter(**conditions, since=since, until=until)


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        (
            {"outcome": "sucess"},
            "outcome: must be one of success, failure, unknown, not 'sucess'; did you mean success?",
        ),
        ({"actor_type": "robot"}, "actor_type: must be one of user, service, system, not 'robot'"),
        ({"trace_id": "ABC"}, "trace_id: must be 32 lower-case hex digits, not 'ABC'"),
    ],
)
def test_a_word_that_no_record_can_have_is_refused_with_the_choices(condition, said):
    with pytest.raises(InvalidFilterError) as refused:
        Filter(**condition)
    assert str(refused.value) == said


cursors = st.builds(Cursor, filters(), st.sampled_from(["asc", "desc"]), st.tuples(st.integers(0, 2**53), texts))


@given(filters())
def test_a_filter_comes_back_from_its_json(where):
    body = parse_json(format_json(where.to_json()))
    assert Filter.from_json(body) == where
    assert hash(Filter.from_json(body)) == hash(where)


names = st.sampled_from(["actor_id", "entity_ref", "since", "until", "action", "other"])
anything = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4),
)


@given(anything)
def test_any_json_gives_a_filter_or_an_invalid_filter(body):
    with contextlib.suppress(InvalidFilterError):
        Filter.from_json(body)


@given(cursors)
def test_a_cursor_comes_back_from_its_text(cursor):
    text = format_cursor(cursor)
    assert parse_cursor(text) == cursor
    assert set(text) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


@given(st.text(max_size=80) | st.binary(max_size=80) | st.none() | st.integers())
def test_any_text_gives_a_cursor_or_an_invalid_cursor(text):
    with contextlib.suppress(InvalidCursorError):
        parse_cursor(text)


@given(cursors, st.data())
def test_a_damaged_cursor_gives_a_cursor_or_an_invalid_cursor(cursor, data):
    """Damage inside the JSON reaches deeper than damage to the base64 around it."""
    text = format_cursor(cursor)
    raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    at = data.draw(st.integers(0, len(raw) - 1))
    spoilt = raw[:at] + data.draw(st.sampled_from([b"", b"1", b'"', b"{", b"[", b"9" * 15, b"-"])) + raw[at + 1 :]
    with contextlib.suppress(InvalidCursorError):
        parse_cursor(base64.urlsafe_b64encode(spoilt).decode().rstrip("="))


def test_a_cursor_of_the_longest_filter_is_accepted():
    where = Filter(
        **dict.fromkeys(["actor_id", "owner_id", "tenant_id", "request_id", "session_id", "on_behalf_of"], "😀" * 512),
        **dict.fromkeys(["action", "entity_type"], "😀" * 8192),
    )
    cursor = Cursor(where, "asc", (0, "😀" * 512))
    assert parse_cursor(format_cursor(cursor)) == cursor


def test_a_range_is_kept_in_utc():
    eastern = timezone(timedelta(hours=-5))
    where = Filter(since=datetime(2026, 1, 1, 7, tzinfo=eastern))
    assert where.since.tzinfo is UTC
    assert where == Filter(since=datetime(2026, 1, 1, 12, tzinfo=UTC))


START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("conditions", "field"),
    [
        ({"since": datetime(2026, 1, 1)}, "since"),
        ({"until": "2026-01-01"}, "until"),
        ({"since": datetime.min.replace(tzinfo=timezone(timedelta(hours=14)))}, "since"),
        ({"until": datetime.max.replace(tzinfo=timezone(timedelta(hours=-14)))}, "until"),
        ({"since": START, "until": START}, "until"),
        ({"since": START, "until": START - timedelta(microseconds=1)}, "until"),
        ({"entity_ref": ("Task", 1)}, "entity_ref"),
        ({"action": "x" * 8193}, "action"),
        ({"tenant_id": "x" * 513}, "tenant_id"),
    ],
)
def test_a_bad_condition_is_named(conditions, field):
    with pytest.raises(InvalidFilterError, match=f"^{field}"):
        Filter(**conditions)


def test_narrowed_is_checked_again():
    with pytest.raises(InvalidFilterError):
        Filter().narrowed(action="")
    assert Filter(action="a").narrowed(owner_id=7) == Filter(action="a", owner_id="7")


@given(filters())
def test_a_filter_without_conditions_matches_all_and_others_what_they_say(where):
    record = ActivityRecord.create(actor_id="a", owner_id="o", action="do", entity_ref=EntityRef("Task", 1))
    assert Filter().matches(record)
    same = {
        name: value
        for name, value in where.to_json().items()
        if name not in ("since", "until", "entity_ref", "entity_type", "outcome", "actor_type", "trace_id")
    }
    assert Filter(**same).matches(record.replace(**same))
    changed = {name: f"not {value}"[:250] for name, value in same.items()}
    assert Filter(**same).matches(record.replace(**changed)) == (not same)


@pytest.mark.parametrize("limit", [0, -1, True, 2.0, "3", 11])
def test_a_limit_is_a_whole_number_within_its_bound(limit):
    with pytest.raises(InvalidFilterError, match="limit: must be a whole number from 1 to 10"):
        checked_limit(limit, 10)


def test_good_limits_orders_and_places_pass():
    assert [checked_limit(limit, 10) for limit in (None, 1, 10)] == [None, 1, 10]
    assert [checked_order(order) for order in ("asc", "desc")] == ["asc", "desc"]
    assert LogPosition() < LogPosition("a", -1) < LogPosition("a", 0) < LogPosition("b", -1)


@pytest.mark.parametrize("order", ["ASC", "", None, 1])
def test_other_orders_are_refused(order):
    with pytest.raises(InvalidFilterError, match="order"):
        checked_order(order)


def test_an_entity_to_ask_for_is_blamed_on_the_question():
    assert entity_filter("Task", 1) == EntityRef("Task", "1")
    with pytest.raises(InvalidFilterError, match="entity_id"):
        entity_filter("Task", "")
