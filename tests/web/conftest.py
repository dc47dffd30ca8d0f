"""Servers over a log in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from otel_audit.errors import RecordNotFoundError
from otel_audit.model.completeness import Completeness
from otel_audit.model.streams import StreamReport
from otel_audit.repos.memory import InMemoryActivityLogRepo
from otel_audit.web import create_app
from otel_audit.web.examples import COMPLETENESS, EXAMPLE_RECORDS, EXAMPLE_STREAMS
from otel_audit.web.folder_examples import HELD, HELD_RECORD, STATUS
from tests.web.serving import serving


class ExampleLog(InMemoryActivityLogRepo):
    """The documented examples: records as in any log, and streams, which a log in memory has none of."""

    def stream_reports(
        self, stream_ids: Sequence[str] | None = None, *, incomplete: bool = False
    ) -> list[StreamReport]:
        return [
            report
            for report in EXAMPLE_STREAMS
            if (stream_ids is None or report.stream_id in stream_ids) and (report.incomplete or not incomplete)
        ]

    def completeness(self) -> Completeness:
        return COMPLETENESS


class ExampleFolder:
    """The documented examples of a data folder."""

    def status(self) -> dict[str, Any]:
        return STATUS

    def quarantined(self, *_: Any, **__: Any) -> dict[str, Any]:
        return {"held": [HELD], "next_cursor": None}

    def quarantined_record(self, sha256: str) -> dict[str, Any]:
        if not HELD_RECORD["sha256"].startswith(sha256):
            raise RecordNotFoundError(f"{sha256!r} names 0 held records")
        return HELD_RECORD


@pytest.fixture(scope="module")
def example_log() -> InMemoryActivityLogRepo:
    log = ExampleLog()
    log.append_many(EXAMPLE_RECORDS)
    return log


@pytest.fixture(scope="module")
def examples_at(example_log: InMemoryActivityLogRepo) -> Iterator[str]:
    """The base URL of a server that holds the documented examples."""
    with serving(create_app(example_log, folder=ExampleFolder())) as url:
        yield url
