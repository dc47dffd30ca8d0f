"""A report says what is missing, what is only awaited, and what an expectation or a second look makes of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_audit.errors import InvalidRecordError
from otel_audit.model.ranges import merged, size
from otel_audit.model.streams import StreamReport, report_from_json, report_to_json

SEEN = datetime(2026, 11, 24, 9, 30, tzinfo=UTC)


def report(known: set[int], settled: int, emitted: int, **fields: Any) -> StreamReport:
    """A report as a reader gives it: `known` are accounted for, all up to `settled` should be."""
    missing = merged((number, number) for number in range(1, settled + 1) if number not in known)
    values: dict[str, Any] = {
        "stream_id": "s",
        "service_name": "shop",
        "emitted": emitted,
        "archived": len(known),
        "quarantined": 0,
        "missing": missing,
        "missing_count": size(missing),
        "awaited": emitted - settled,
        "repeats": 0,
        "state": "open",
        "last_seen": SEEN,
    }
    return StreamReport(**values | fields)


@st.composite
def reports(draw: st.DrawFn) -> StreamReport:
    known = draw(st.sets(st.integers(1, 12)))
    settled = draw(st.integers(max(known, default=0), 14))
    return report(known, settled, draw(st.integers(settled, 16)))


def missed(one: StreamReport) -> set[int]:
    """Every missing number by itself."""
    return {number for first, last in one.missing for number in range(first, last + 1)}


def lacking(one: StreamReport) -> set[int]:
    """Every number of a report that is neither here nor accounted for."""
    return missed(one) | set(range(one.emitted - one.awaited + 1, one.emitted + 1))


@given(reports(), st.integers(0, 20))
def test_an_expectation_makes_every_number_up_to_it_due(one: StreamReport, last_number: int) -> None:
    due = one.expecting(last_number)
    beyond = set(range(one.emitted + 1, last_number + 1))
    assert lacking(due) == lacking(one) | beyond
    assert missed(due) == missed(one) | {number for number in lacking(due) if number <= last_number}
    assert due.missing_count == len(missed(due))
    assert due.awaited == len(lacking(due)) - len(missed(due))


def test_an_expectation_of_an_unknown_stream_misses_all_of_it_and_none_of_an_unused_one() -> None:
    assert StreamReport.unknown("s").expecting(3).missing == ((1, 3),)
    assert not StreamReport.unknown("s").expecting(0).incomplete


@given(reports(), reports())
def test_only_what_two_looks_agree_on_is_missing(one: StreamReport, later: StreamReport) -> None:
    both = one.confirmed_by(later)
    assert missed(both) == missed(one) & missed(later)
    assert both.missing_count == len(missed(both))
    assert both.missing_count + both.awaited == later.missing_count + later.awaited
    assert (both.emitted, both.archived) == (later.emitted, later.archived)


def test_a_stream_is_incomplete_while_a_number_is_missing_or_awaited() -> None:
    assert not report({1, 2}, 2, 2).incomplete
    assert report({1}, 1, 2).incomplete
    assert report({2}, 2, 2).incomplete
    assert report({1}, 1, 1, implausible=(2**40, 2**40)).incomplete


@given(reports())
def test_a_report_survives_json(one: StreamReport) -> None:
    assert report_from_json(report_to_json(one)) == one
    decided = replace(one, settled=2, settled_reason="x", state="settled", implausible=(2**40, 2**62))
    assert report_from_json(report_to_json(decided)) == decided
    assert report_from_json(report_to_json(StreamReport.unknown("s"))) == StreamReport.unknown("s")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("stream_id", None),
        ("service_name", 1),
        ("state", "asleep"),
        ("state", ["open"]),
        ("emitted", "1"),
        ("awaited", True),
        ("missing", None),
        ("missing", [[1]]),
        ("missing", [[1, 2.0]]),
        ("missing", [["1", "2"]]),
        ("settled", "1"),
        ("settled_reason", 1),
        ("implausible", [1]),
        ("last_seen", 5),
        ("last_seen", "yesterday"),
    ],
)
def test_anything_else_is_refused_by_the_name_of_the_field(field: str, value: Any) -> None:
    with pytest.raises(InvalidRecordError) as caught:
        report_from_json(report_to_json(report({1}, 1, 1)) | {field: value})
    assert caught.value.field == field


def test_a_report_of_an_earlier_release_is_read() -> None:
    """It says nothing of decisions or of implausible numbers."""
    values = report_to_json(report({1}, 1, 1))
    for name in ("settled", "settled_reason", "implausible"):
        del values[name]
    assert report_from_json(values) == report({1}, 1, 1)


def test_what_is_no_object_is_refused() -> None:
    with pytest.raises(InvalidRecordError):
        report_from_json([1])
