"""Records, pages, times and places as JSON: written and read back, and nothing but our own errors for the rest."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_audit import errors
from otel_audit.errors import InvalidFilterError, InvalidRecordError, OtelAuditError
from otel_audit.model.filters import LogPosition
from otel_audit.model.pages import Page
from otel_audit.model.problem_json import problem_from_error, problem_type
from otel_audit.model.record import ActivityRecord, EntityRef
from otel_audit.model.record_json import (
    format_position,
    format_time,
    page_from_json,
    page_to_json,
    parse_position,
    parse_time,
    record_from_json,
    record_to_json,
)

texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=40)
ids = st.one_of(texts, st.uuids(), st.integers(-(2**63), 2**64 - 1))
scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | texts
values = st.recursive(
    scalars.filter(lambda value: value not in (float("inf"), float("-inf"))),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=10,
)
offsets = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))
moments = st.datetimes(datetime(1970, 1, 2), datetime(2261, 12, 30), timezones=offsets)
hexes = st.integers(1, 2**64 - 1)
records = st.builds(
    ActivityRecord,
    record_id=ids,
    occurred_at=moments,
    actor_id=ids,
    action=texts,
    owner_id=st.none() | ids,
    entity_ref=st.none() | st.builds(EntityRef, texts, ids),
    metadata=st.dictionaries(texts, values, max_size=3),
    changes=st.none() | st.dictionaries(texts, st.tuples(values, values).map(list), max_size=3),
    actor_type=st.sampled_from(["user", "service", "system"]),
    outcome=st.sampled_from(["success", "failure", "unknown"]),
    actor_name=st.none() | texts,
    entity_name=st.none() | texts,
    on_behalf_of=st.none() | ids,
    reason=st.none() | texts,
    tenant_id=st.none() | ids,
    client_address=st.none() | texts,
    user_agent=st.none() | texts,
    session_id=st.none() | ids,
    request_id=st.none() | ids,
    trace_id=st.none() | hexes.map("{:032x}".format),
    span_id=st.none() | hexes.map("{:016x}".format),
    trace_flags=st.none() | st.integers(0, 2**32 - 1),
)
positions = st.builds(LogPosition, st.text(max_size=20), st.integers(-1, 10**18 - 1))
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(sorted(ActivityRecord.__slots__)) | st.text(max_size=5), inner, max_size=8)
    ),
    max_leaves=20,
)


@given(records)
def test_a_record_comes_back_from_its_json_text(record: ActivityRecord) -> None:
    written = json.dumps(record_to_json(record), ensure_ascii=False).encode()
    back = record_from_json(json.loads(written))
    assert back == record
    assert repr(back.metadata) == repr(record.metadata)


@settings(max_examples=25)
@given(st.lists(records, max_size=3), st.none() | texts, st.none() | positions)
def test_a_page_comes_back_from_its_json(found: list[ActivityRecord], cursor: str | None, at: Any) -> None:
    page = Page(tuple(found), cursor, at)
    assert page_from_json(json.loads(json.dumps(page_to_json(page)))) == page


@given(anything)
def test_any_json_is_a_record_or_an_invalid_record(value: Any) -> None:
    for read in (record_from_json, page_from_json, lambda v: page_from_json({"records": [v]})):
        with suppress(InvalidRecordError):
            read(value)


def test_every_field_is_always_there_and_none_is_forgotten() -> None:
    record = ActivityRecord(record_id="r", occurred_at=datetime(2026, 1, 1, tzinfo=UTC), actor_id=1, action="a")
    assert set(record_to_json(record)) == set(ActivityRecord.__slots__)


def test_what_another_producer_wrote_is_read_as_it_is() -> None:
    value = record_to_json(
        ActivityRecord(record_id="r", occurred_at=datetime(2026, 1, 1, tzinfo=UTC), actor_id=1, action="a")
    )
    value |= {"actor_type": "robot", "action": "x" * 5_000, "a_later_field": 1}
    value["entity_ref"] = {"entity_type": "T" * 5_000, "entity_id": "i" * 5_000}
    assert record_to_json(record_from_json(value)) == {k: v for k, v in value.items() if k != "a_later_field"}


@given(st.datetimes(timezones=offsets))
def test_a_time_comes_back_from_its_text(moment: datetime) -> None:
    try:
        text = format_time(moment)
    except OverflowError:  # the first or last day of the calendar, in another offset
        return
    assert parse_time(text, "since") == moment


@given(st.text() | st.from_regex(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", fullmatch=True))
def test_any_text_is_a_time_or_an_invalid_field(text: str) -> None:
    try:
        assert parse_time(text, "since").utcoffset() == timedelta(0)
    except InvalidRecordError as error:
        assert error.field == "since"


@pytest.mark.parametrize(
    ("text", "us"),
    [
        ("2026-11-24T09:30:00Z", 0),
        ("2026-11-24t10:30:00.5+01:00", 500_000),
        ("2026-11-24T09:30:00.000001z", 1),
        ("2026-11-24T09:30:00.1200000000-00:00", 120_000),
    ],
)
def test_times_may_have_any_offset_and_up_to_six_digits(text: str, us: int) -> None:
    assert parse_time(text, "since") == datetime(2026, 11, 24, 9, 30, 0, us, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-24",
        "2026-11-24T09:30:00",
        "2026-11-24 09:30:00Z",
        "2026-11-24T24:00:00Z",
        "2026-11-24T23:59:60Z",
        "2026-11-24T09:30:00.Z",
        "2026-11-24T09:30:00.0000001Z",
        "2026-11-24T09:30:00+24:00",
        "٢٠٢٦-11-24T09:30:00Z",
        "0001-01-01T00:00:00+01:00",
        "2026-11-24T09:30:00Z\n",
    ],
)
def test_anything_else_is_no_time(text: str) -> None:
    with pytest.raises(InvalidRecordError, match=r"^since: "):
        parse_time(text, "since")


@given(positions)
def test_a_place_comes_back_from_its_text(position: LogPosition) -> None:
    assert parse_position(format_position(position)) == position


@given(st.text())
def test_any_text_is_a_place_or_an_invalid_filter(text: str) -> None:
    with suppress(InvalidFilterError):
        parse_position(text)


def test_problem_types_are_one_for_each_error_and_stay_as_they_are() -> None:
    tree = [e for e in vars(errors).values() if isinstance(e, type) and issubclass(e, OtelAuditError)]
    assert len({problem_type(error) for error in tree}) == len(tree)
    assert problem_from_error(errors.InvalidFilterError("limit: no")) == {
        "type": "urn:otel-audit:problem:invalid-filter",
        "title": "Invalid filter",
        "status": 400,
        "detail": "limit: no",
        "diagnostics": errors.InvalidFilterError.advice,
    }
