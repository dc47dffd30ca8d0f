"""Completeness in SQL: a number is missing only when it should be here and is nowhere, whatever was sent twice."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_audit.archive.columns import COLUMNS, STREAM_COLUMNS, parquet_schema
from otel_audit.archive.names import Stage
from otel_audit.errors import ArchiveFaultError, ClosedError
from otel_audit.model.streams import StreamReport
from otel_audit.query.reader import DuckDBReader
from otel_audit.query.session import SqlSession
from otel_audit.query.statements import script, statement
from otel_audit.query.streams import report_from_row
from tests.query.folder import LOG, write_notes, write_rows
from tests.query.stream_model import Note, Row, expected, histories

OTHER_LOG = "other0other0other0ot"
Facts = Sequence[tuple[int, Row | Note]]


def lay_down(root: Path, facts: Facts, log: str = LOG, files: int = 1) -> None:
    """Write facts as a collector does: activities into one log, notes into another, in some files each."""
    (root / "hot").mkdir(exist_ok=True)
    for kind, publish in ((Row, write_rows), (Note, write_notes)):
        rows = [columns(fact, at) for at, fact in facts if isinstance(fact, kind)]
        step = max(1, -(-len(rows) // files))
        for first in range(0, len(rows), step):
            stage = (Stage.SEALED, Stage.MERGED, Stage.COMMITTED)[min(2, first // step)]
            publish(root, first, rows[first : first + step], stage, log=log)


def columns(fact: Row | Note, at: int) -> dict[str, Any]:
    if isinstance(fact, Note):
        return fact.columns(at)
    return {"record_id": f"r-{at}", "occurred_at": at, "actor_id": "a", "action": "x"} | fact.columns(at)


def numbers(stream_id: str, first: int, last: int) -> list[Row]:
    return [Row(stream_id, number) for number in range(first, last + 1)]


def reports(root: Path, *facts: Row | Note) -> dict[str, StreamReport]:
    lay_down(root, list(enumerate(facts)))
    with DuckDBReader(root) as reader:
        return {report.stream_id: report for report in reader.stream_reports()}


@pytest.fixture(scope="module")
def counter() -> duckdb.DuckDBPyConnection:
    session = duckdb.connect()
    session.execute("SET TimeZone = 'UTC'")
    return session


@given(histories)
def test_the_sql_counts_as_the_model_does(counter: duckdb.DuckDBPyConnection, history: list[Row | Note]) -> None:
    """Any history, to the ends of what a number can be: the same report as one worked out number by number."""
    facts = list(enumerate(history))
    for name, kind, table in (("numbered", Row, COLUMNS), ("notes", Note, STREAM_COLUMNS)):
        rows = [fact.columns(at) for at, fact in facts if isinstance(fact, kind)]
        counter.register(name, pa.Table.from_pylist(rows, schema=parquet_schema(table)))
    counted = counter.execute(
        f"WITH {statement('stream_totals')} SELECT * REPLACE (epoch_us(last_seen) AS last_seen) FROM reports"
    ).fetchall()
    found = [report_from_row(row) for row in counted]
    assert {report.stream_id: report for report in found} == expected(facts)


@given(histories, histories, st.integers(1, 3), st.booleans())
@settings(max_examples=12)
def test_the_reader_counts_as_the_model_does_over_any_files_of_any_logs(
    tmp_path_factory: pytest.TempPathFactory, one: list[Row | Note], other: list[Row | Note], files: int, same: bool
) -> None:
    """Logs of several collectors side by side, which may hold the same records, are one history."""
    root = tmp_path_factory.mktemp("data")
    first, second = list(enumerate(one)), list(enumerate(one if same else other, start=len(one)))
    lay_down(root, first, files=files)
    lay_down(root, second, OTHER_LOG, files)
    model = expected([*first, *second])
    with DuckDBReader(root) as reader:
        found = reader.stream_reports()
        assert {report.stream_id: report for report in found} == model
        assert len(found) == len(model)
        assert [report.last_seen for report in found] == sorted(report.last_seen for report in found)
        assert reader.stream_reports(incomplete=True) == [report for report in found if report.incomplete]
        assert reader.stream_reports(["s2", "nobody"]) == [report for report in found if report.stream_id == "s2"]
        assert reader.stream_reports([]) == []
    with SqlSession(root) as session:
        _, rows = session.run("SELECT * REPLACE (epoch_us(last_seen) AS last_seen) FROM completeness")
        assert {row[0]: report_from_row(row) for row in rows} == model


def test_a_whole_stream_misses_nothing(tmp_path: Path) -> None:
    report = reports(tmp_path, *numbers("s1", 1, 200))["s1"]
    assert (report.emitted, report.archived, report.missing, report.awaited) == (200, 200, (), 0)
    assert (report.service_name, report.state) == ("shop", "open")


def test_a_lost_record_is_named(tmp_path: Path) -> None:
    report = reports(tmp_path, *numbers("s1", 2, 4), *numbers("s1", 6, 100))["s1"]
    assert (report.missing, report.missing_count) == (((1, 1), (5, 5)), 2)
    assert report.incomplete


def test_what_a_heartbeat_is_ahead_of_the_records_is_awaited_and_not_missing(tmp_path: Path) -> None:
    report = reports(tmp_path, *numbers("s1", 1, 5), Note("s1", "open", None, 9))["s1"]
    assert (report.emitted, report.missing, report.awaited) == (9, (), 4)


@pytest.mark.parametrize("state", ["closed", "recovered"])
def test_the_end_of_a_stream_that_never_came_is_missing_once_the_stream_has_ended(tmp_path: Path, state: str) -> None:
    report = reports(tmp_path, *numbers("s1", 1, 5), Note("s1", state, None, 9))["s1"]
    assert (report.emitted, report.missing, report.awaited, report.state) == (9, ((6, 9),), 0, state)


def test_a_heartbeat_that_was_overtaken_does_not_open_a_closed_stream(tmp_path: Path) -> None:
    told = [Note("s1", "closed", None, 3), Note("s1", "recovered", None, 3), Note("s1", "open", None, 2)]
    assert reports(tmp_path, *numbers("s1", 1, 3), *told)["s1"].state == "closed"


def test_an_import_repeated_under_a_new_stream_is_whole(tmp_path: Path) -> None:
    again = [Note("s2", "repeat", 1, 70), Note("s2", "repeat", 71, 100), Note("s2", "closed", None, 100)]
    found = reports(tmp_path, *numbers("s1", 1, 100), *again)
    assert (found["s2"].archived, found["s2"].repeats, found["s2"].missing) == (0, 100, ())
    assert not found["s1"].incomplete


def test_records_in_quarantine_are_not_missing_and_count_there_until_they_are_archived(tmp_path: Path) -> None:
    report = reports(tmp_path, *numbers("s1", 1, 3), Note("s1", "quarantined", 3, 5), *numbers("s1", 6, 6))["s1"]
    assert (report.archived, report.quarantined, report.missing) == (4, 2, ())


def test_a_note_that_stands_twice_counts_once(tmp_path: Path) -> None:
    report = reports(tmp_path, *numbers("s1", 1, 9), *[Note("s1", "repeat", 3, 5)] * 3)["s1"]
    assert (report.archived, report.repeats) == (9, 3)


def test_records_without_a_stream_are_no_stream(tmp_path: Path) -> None:
    assert reports(tmp_path, Row(None, None), Row("s1", None), Note(None, "repeat", None, None)) == {}


def test_data_of_a_release_without_notes_is_read(tmp_path: Path) -> None:
    """There is no folder of notes; an empty one, or one without files, reads the same."""
    lay_down(tmp_path, list(enumerate([*numbers("s1", 1, 3), *numbers("s1", 5, 6)])))
    assert not (tmp_path / "streams").exists()
    with DuckDBReader(tmp_path) as reader, SqlSession(tmp_path) as session:
        for folder in ("", "streams", "streams/log", "streams/hot", "streams/archive"):
            (tmp_path / folder).mkdir(exist_ok=True)
            (report,) = reader.stream_reports()
            assert (report.archived, report.missing) == (5, ((4, 4),))
            assert list(session.run("SELECT missing_count FROM completeness")[1]) == [(1,)]
            assert list(session.run("FROM stream_notes")[1]) == []


def test_notes_alone_are_read(tmp_path: Path) -> None:
    """A producer that says it closed before anything of it arrived: all of it is missing."""
    assert reports(tmp_path, Note("s1", "closed", None, 2))["s1"].missing == ((1, 2),)


def test_an_empty_folder_has_no_streams(tmp_path: Path) -> None:
    assert reports(tmp_path) == {}


def test_notes_written_after_the_reader_was_opened_are_seen(tmp_path: Path) -> None:
    with DuckDBReader(tmp_path) as reader:
        assert reader.stream_reports() == []
        lay_down(tmp_path, [(1, Note("s1", "open", None, 4))])
        assert [report.awaited for report in reader.stream_reports()] == [4]


def test_files_that_are_sealed_away_under_the_read_are_read_where_they_are_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hot notes and hot rows that vanish between listing and reading make the read start again, unseen."""
    facts = [*numbers("s1", 1, 3), Note("s1", "closed", None, 3)]
    lay_down(tmp_path, list(enumerate(facts)), files=1)
    with DuckDBReader(tmp_path) as reader:
        whole = reader.stream_reports()
        sealed = [*tmp_path.glob("archive/*/*"), *tmp_path.glob("streams/archive/*/*")]
        assert len(sealed) == 2
        for path in sealed:
            inner = reader._engine.rows

            def vanish(name: str, parameters: dict[str, Any], path: Path = path, inner: Any = inner) -> Any:
                """Just before the statement runs, the file moves to another day's folder."""
                if path.exists():
                    elsewhere = path.parent.with_name("date=2026-03-02")
                    elsewhere.mkdir()
                    path.rename(elsewhere / path.name)
                return inner(name, parameters)

            monkeypatch.setattr(reader._engine, "rows", vanish)
            assert reader.stream_reports() == whole
            assert not path.exists()


@pytest.mark.parametrize("moment", ["before", "after"])
def test_what_is_committed_while_both_logs_are_listed_is_seen_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """A collector answers for 2, which is a repeat and stands in a note alone, then for 3, then hears of the end.

    Rows listed after that and notes before it would lack 2; rows before and notes after would lack 3.
    """
    lay_down(tmp_path, [(1, Row("s1", 1)), (1, Note("s1", "open", None, 1))])
    with DuckDBReader(tmp_path) as reader:
        snapshot = reader._catalog.snapshot

        def commit() -> None:
            monkeypatch.undo()
            write_notes(tmp_path, 1, [Note("s1", "repeat", 2, 2).columns(2)], log=LOG)
            write_rows(tmp_path, 1, [columns(Row("s1", 3), 3)])
            write_notes(tmp_path, 2, [Note("s1", "closed", None, 3).columns(4)], log=LOG)

        def listed() -> Any:
            if moment == "before":
                commit()
                return snapshot()
            found = snapshot()
            commit()
            return found

        monkeypatch.setattr(reader._catalog, "snapshot", listed)
        (report,) = reader.stream_reports()
        assert (report.emitted, report.archived, report.missing, report.state) == (3, 2, (), "closed")


def test_a_missing_range_of_notes_is_a_fault_and_no_report(tmp_path: Path) -> None:
    """Without all notes an accounted number would seem to be missing."""
    write_notes(tmp_path, 1, [Note("s1", "open", None, 4).columns(1)])
    with DuckDBReader(tmp_path) as reader, pytest.raises(ArchiveFaultError, match="rows 0-0 are missing"):
        reader.stream_reports()


def test_a_closed_reader_says_so(tmp_path: Path) -> None:
    reader = DuckDBReader(tmp_path)
    reader.close()
    with pytest.raises(ClosedError):
        reader.stream_reports()


def test_the_view_counts_as_the_statement_does() -> None:
    """The body stands in both, so that views.sql works by itself."""
    body = script("stream_totals")
    body = body[body.index("words AS (") :]
    assert "bit_or" in body
    assert body in script("views")
