"""Stream reports through every reader: the folder's own, the same ones over HTTP, and none in memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from otel_audit import ClosedError, InMemoryActivityLogRepo
from otel_audit.errors import ReaderUnavailableError
from otel_audit.ports import ActivityLogReader, StreamReader
from otel_audit.query.reader import DuckDBReader
from otel_audit.repos.http_reader import HttpReader
from otel_audit.web import create_app
from tests.query.folder import write_notes, write_rows
from tests.repos.test_http_reader import answering, http_answer
from tests.web.serving import serving

STREAMS = ("plain", "länger/mit leer zeichen", "whole")
AT = 1_772_000_000_000_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three streams: the first lacks two numbers, of the second one is awaited, the third is whole and closed."""
    root = tmp_path_factory.mktemp("data")
    numbers = [(STREAMS[0], n) for n in (1, 3, 5)] + [(STREAMS[1], 1), (STREAMS[2], 1)]
    rows = [
        {
            "record_id": f"r-{at}",
            "occurred_at": AT,
            "recorded_at": AT + at,
            "actor_id": "a",
            "action": "x",
            "stream_id": stream_id,
            "stream_number": number,
        }
        for at, (stream_id, number) in enumerate(numbers)
    ]
    write_rows(root, 0, rows)
    told = [(STREAMS[1], "open", 2), (STREAMS[2], "closed", 1)]
    notes = [
        {"stream_id": stream_id, "kind": kind, "last_number": last, "records": 0, "recorded_at": AT + 9}
        for stream_id, kind, last in told
    ]
    write_notes(root, 0, notes)
    return root


@pytest.fixture(scope="module")
def local(folder: Path) -> Iterator[DuckDBReader]:
    with DuckDBReader(folder) as reader:
        yield reader


@pytest.fixture(scope="module")
def remote(local: DuckDBReader) -> Iterator[HttpReader]:
    with serving(create_app(local)) as url, HttpReader(url) as reader:
        yield reader


@pytest.mark.parametrize("stream_ids", [None, [], ["nobody"], [STREAMS[1]], STREAMS[:2], [*STREAMS, "nobody"]], ids=str)
@pytest.mark.parametrize("incomplete", [False, True])
def test_over_http_the_reports_are_the_folders_own(
    local: DuckDBReader, remote: HttpReader, stream_ids: list[str] | None, incomplete: bool
) -> None:
    found = remote.stream_reports(stream_ids, incomplete=incomplete)
    assert found == local.stream_reports(stream_ids, incomplete=incomplete)
    known = set(STREAMS) if stream_ids is None else set(STREAMS) & set(stream_ids)
    assert {report.stream_id for report in found} == known - ({STREAMS[2]} if incomplete else set())


def test_every_reader_of_ours_has_the_port(local: DuckDBReader, remote: HttpReader) -> None:
    assert isinstance(local, StreamReader)
    assert isinstance(remote, StreamReader)
    assert isinstance(InMemoryActivityLogRepo(), StreamReader)


def test_a_log_in_memory_numbers_nothing() -> None:
    log = InMemoryActivityLogRepo()
    assert log.stream_reports() == []
    log.close()
    with pytest.raises(ClosedError):
        log.stream_reports()


def test_over_http_completeness_is_the_folders_own(local: DuckDBReader, remote: HttpReader) -> None:
    assert remote.completeness() == local.completeness()


class WithoutStreams:
    """Somebody's own reader of activities."""


def test_a_server_without_the_route_is_named_as_one(remote: HttpReader) -> None:
    """An earlier release, or an application that serves another reader: an error, never "nothing is missing"."""
    unaware: ActivityLogReader = WithoutStreams()  # type: ignore[assignment]
    with (
        serving(create_app(unaware)) as url,
        HttpReader(url) as reader,
        pytest.raises(ReaderUnavailableError, match=r"404.*nothing at /v1/audit/streams"),
    ):
        reader.stream_reports()


@pytest.mark.parametrize("body", [b"{}", b'{"streams":{}}', b'{"streams":[1]}', b'{"streams":[{"stream_id":"s"}]}'])
def test_an_answer_that_is_none_of_ours_is_unavailable(body: bytes) -> None:
    with (
        answering(http_answer("200 OK", "application/json", body)) as url,
        HttpReader(url) as reader,
        pytest.raises(ReaderUnavailableError, match="stream"),
    ):
        reader.stream_reports()
