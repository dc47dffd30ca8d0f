"""Answers about many streams come in pages that leave none out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from otel_audit.errors import InvalidCursorError
from otel_audit.model.streams import StreamReport
from otel_audit.repos.http_streams import read_reports
from otel_audit.web.limited import streams_to_json

START = datetime(2026, 11, 24, tzinfo=UTC)


def report(number: int, seconds: int) -> StreamReport:
    return StreamReport(
        stream_id=f"s{number:03}",
        service_name=None,
        state="open",
        emitted=1,
        archived=1,
        quarantined=0,
        missing=(),
        missing_count=0,
        awaited=0,
        repeats=0,
        last_seen=START + timedelta(seconds=seconds),
    )


@pytest.mark.parametrize("size", [1, 3, 7, 100])
def test_the_pages_hold_every_stream_once_in_order(size: int) -> None:
    reports = [report(number, number // 4) for number in range(20)]  # four at the same moment
    seen, cursor = [], ""
    while cursor is not None:
        page = streams_to_json(reports, cursor, size)
        assert len(page["streams"]) <= size
        seen += [stream["stream_id"] for stream in page["streams"]]
        cursor = page["next_cursor"]
    assert seen == [each.stream_id for each in reports]


def test_a_stream_that_goes_on_meanwhile_is_read_once_with_its_newest_numbers() -> None:
    before = [report(number, number) for number in range(4)]
    later = [*before[1:], replace(before[0], archived=2, last_seen=START + timedelta(seconds=9))]
    answers: Iterator[list[StreamReport]] = iter([before, later, later])

    def get(query: list[tuple[str, str]]) -> dict:
        return streams_to_json(next(answers), dict(query).get("cursor", ""), 2)

    found = read_reports(get, [])
    assert [(each.stream_id, each.archived) for each in found] == [("s001", 1), ("s002", 1), ("s003", 1), ("s000", 2)]


@pytest.mark.parametrize("cursor", ["x", "2026-11-24T00:00:00Z", " s1", "yesterday s1"])
def test_what_is_no_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(InvalidCursorError):
        streams_to_json([], cursor, 1)
