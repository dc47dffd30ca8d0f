"""Reading beside a log that commits, merges and seals: never an error, never a short or a doubled answer."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from otel_audit import Filter
from otel_audit.config import load_settings
from otel_audit.errors import InvalidFilterError, PositionBeyondEndError
from otel_audit.log.engine import ActivityLog
from otel_audit.model.filters import LogPosition
from otel_audit.query.reader import DuckDBReader
from otel_audit.query.session import SqlSession
from tests.log.requests import record, request


@pytest.mark.slow
@pytest.mark.parametrize("input_keep_s", [0.0, 60.0])
def test_every_answer_is_whole_while_files_move(tmp_path: Path, input_keep_s: float) -> None:
    """Inputs that go at once make reads start again; with the usual minute nothing goes away under them. Either way a
    read sees all that was acknowledged before it began."""
    settings = load_settings(
        {}, min_free_bytes=0, merge_fan_in=2, merge_big_rows=64, seal_rows=100, hot_max_files=4,
        input_keep_s=input_keep_s,
    )  # fmt: skip
    with ActivityLog.open(tmp_path, settings) as log, DuckDBReader(tmp_path) as reader, SqlSession(tmp_path) as session:
        acknowledged, done, failures = [0], threading.Event(), []

        def write() -> None:
            for at in range(120):
                log.submit(request(record(f"r-{at}"))).result()
                acknowledged[0] = at + 1
            done.set()

        def read(ask) -> None:
            try:
                while not done.is_set():
                    before = acknowledged[0]
                    found = ask()
                    if not before <= found <= acknowledged[0] + 1:
                        failures.append((before, found, acknowledged[0]))
            except Exception as error:
                failures.append(error)

        def listed() -> int:
            ids = [r.record_id for r in reader.iter_records(Filter(actor_id="ann"))]
            assert len(ids) == len(set(ids))
            return len(ids)

        threads = [
            threading.Thread(target=work)
            for work in (
                write,
                lambda: read(lambda: reader.count(Filter(actor_id="ann"))),
                lambda: read(listed),
                lambda: read(lambda: next(session.run("SELECT count(*) FROM activity")[1])[0]),
            )
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        assert reader.count() == 120
        assert log.stats().merges + log.stats().seals > 0


@pytest.mark.slow
def test_a_stream_never_seems_to_lack_what_its_producer_was_answered_for(tmp_path: Path) -> None:
    """Rows and notes are two logs that grow and move at the same time. Every third number stands only in a note, each
    request follows the answer to the one before, and what is told of the stream is always true: so no look at it may
    find a number missing."""
    settings = load_settings(
        {}, min_free_bytes=0, merge_fan_in=2, merge_big_rows=64, seal_rows=50, hot_max_files=4, input_keep_s=0.0
    )
    with ActivityLog.open(tmp_path, settings) as log, DuckDBReader(tmp_path) as reader:
        answered, done, failures = [0], threading.Event(), []

        def write() -> None:
            log.submit(request(record("r-1"), stream=("s", 1))).result()
            for number in range(2, 91):
                known = number % 3 == 0
                log.submit(request(record("r-1" if known else f"r-{number}"), stream=("s", number))).result()
                answered[0] = number
                if number % 10 == 0:
                    log.submit(request(markers=[("s", "closed" if number == 90 else "open", number)])).result()
            done.set()

        def look() -> None:
            try:
                while not done.is_set():
                    before = answered[0]
                    found = reader.stream_reports()
                    failures.extend(
                        (before, report)
                        for report in found
                        if report.missing or not before <= report.emitted <= answered[0] + 1
                    )
            except Exception as error:
                failures.append(error)

        threads = [threading.Thread(target=work) for work in (write, look, look)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        (report,) = reader.stream_reports()
        assert (report.archived, report.repeats, report.awaited, report.state) == (60, 30, 0, "closed")
        assert log.stats().merges + log.stats().seals > 0


def test_a_log_can_be_followed_before_its_first_row(tmp_path: Path) -> None:
    with ActivityLog.open(tmp_path, load_settings({}, min_free_bytes=0)) as log, DuckDBReader(tmp_path) as reader:
        start = LogPosition(log.name, -1)
        for after in (LogPosition(), start):
            page = reader.search(after=after)
            assert (page.records, page.position) == ((), start)
        with pytest.raises(PositionBeyondEndError):
            reader.search(after=LogPosition(log.name, 0))
        with pytest.raises(InvalidFilterError, match=f"there is {log.name}"):
            reader.search(after=LogPosition("x" * 16, -1))
        log.submit(request(record("first"))).result()
        assert [found.record_id for found in reader.search(after=start).records] == ["first"]
