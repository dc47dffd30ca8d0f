"""Answers about many values or many streams: so many at most, and what was left out is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Any

from otel_audit.errors import InvalidCursorError, InvalidRecordError
from otel_audit.model.ids import Id, format_id
from otel_audit.model.record_json import format_time, parse_time
from otel_audit.model.streams import StreamReport, reports_to_json

__all__ = ["counts_to_json", "streams_to_json"]


def counts_to_json(field: str, counts: Mapping[Id | None, int], most: int) -> dict[str, Any]:
    """The `most` values with the most records, and the sum of the others. `counts` comes most first."""
    total = sum(counts.values())
    shown: list[tuple[Id | None, int]] = list(islice(counts.items(), most))
    rows = [{"value": None if value is None else format_id(value), "count": count} for value, count in shown]
    content: dict[str, Any] = {"count": total, "field": field, "counts": rows}
    if left := len(counts) - len(shown):
        content["others"] = {"values": left, "count": total - sum(count for _, count in shown)}
    return content


def streams_to_json(reports: Sequence[StreamReport], cursor: str, most: int) -> dict[str, Any]:
    """A page of reports, longest unseen first.

    A stream that goes on while it is paged through moves towards the end: it may come twice, and is never left out.

    Raises:
        InvalidCursorError: it is no `next_cursor` of an answer.
    """
    after = _parse_cursor(cursor) if cursor else None
    left = [report for report in reports if after is None or _place(report) > after]
    page = left[:most]
    more = _format_cursor(page[-1]) if len(left) > len(page) else None
    return {**reports_to_json(page), "next_cursor": more}


def _place(report: StreamReport) -> tuple[datetime, str]:
    assert report.last_seen is not None  # only a stream that is merely expected was never seen
    return report.last_seen, report.stream_id


def _format_cursor(report: StreamReport) -> str:
    last_seen, stream_id = _place(report)
    return f"{format_time(last_seen)} {stream_id}"


def _parse_cursor(text: str) -> tuple[datetime, str]:
    moment, space, stream_id = text.partition(" ")
    try:
        last_seen = parse_time(moment, "cursor")
    except InvalidRecordError as error:
        raise InvalidCursorError(str(error)) from None
    if not space or last_seen is None:
        raise InvalidCursorError("it is no `next_cursor` of a page of streams")
    return last_seen, stream_id
