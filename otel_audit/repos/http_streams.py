"""Reports on producers' streams, read over HTTP a page at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from otel_audit.model.streams import StreamReport, reports_from_json
from otel_audit.repos.http_query import Query

__all__ = ["read_reports"]

_PAGE = ("limit", "10000")


def read_reports(get: Callable[[Query], Mapping[str, Any]], query: Query) -> list[StreamReport]:
    """Every report, longest unseen first.

    Raises:
        InvalidRecordError: naming the field of an answer that holds no reports.
    """
    found: dict[str, StreamReport] = {}
    page = get([*query, _PAGE])
    while reports := reports_from_json(page):
        for report in reports:
            found.pop(report.stream_id, None)  # one that went on meanwhile comes again, with newer numbers
            found[report.stream_id] = report
        cursor = page.get("next_cursor")
        if not isinstance(cursor, str):
            break
        page = get([*query, _PAGE, ("cursor", cursor)])
    return list(found.values())
