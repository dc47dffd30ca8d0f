"""The session behind `otel-audit sql`: one SELECT at a time over what is there now."""

from __future__ import annotations

import pytest

from otel_audit.archive.names import Stage
from otel_audit.errors import ArchiveFaultError, ClosedError, NotADataFolderError, QueryError
from otel_audit.query.session import SqlSession, open_session
from tests.query.folder import record, write


def test_an_answer_has_names_and_rows(tmp_path):
    write(tmp_path, 0, [record(n) for n in range(3)])
    with SqlSession(tmp_path) as session:
        names, rows = session.run("SELECT action, count(*) AS n FROM activity GROUP BY ALL ORDER BY ALL")
        assert names == ["action", "n"]
        assert list(rows) == [("create", 1), ("delete", 1), ("update", 1)]
        names, rows = session.run("DESCRIBE activity")
        assert ("metadata", "JSON") in [row[:2] for row in rows]


def test_every_question_is_asked_of_the_files_of_now(tmp_path):
    """A session left open sees new records, and does not stumble over files that were sealed away."""
    with SqlSession(tmp_path) as session:
        assert list(session.run("SELECT count(*) FROM activity")[1]) == [(0,)]
        hot = [write(tmp_path, n, [record(n)]) for n in range(3)]
        assert list(session.run("SELECT count(*) FROM activity")[1]) == [(3,)]
        write(tmp_path, 0, [record(n) for n in range(3)], Stage.SEALED)
        for path in hot:
            path.unlink()
        assert list(session.run("SELECT count(*) FROM activity")[1]) == [(3,)]


def test_many_rows_come_in_batches(tmp_path):
    with SqlSession(tmp_path) as session:
        assert len(list(session.run("SELECT * FROM range(2500)")[1])) == 2500


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "one statement"),
        ("SELECT 1; SELECT 2", "one statement"),
        ("selec 1", "syntax error"),
        ("SELECT nothing FROM activity", "nothing"),
        ("SELECT 1/'x'", "."),
        ("COPY activity TO 'x.csv'", "only reading"),
        ("EXPLAIN ANALYZE COPY activity TO 'x.csv'", "only reading"),
        ("CREATE TABLE t (a INT)", "only reading"),
        ("ATTACH 'x.db'", "only reading"),
        ("SET VARIABLE data = '/'", "only reading"),
        ("INSTALL httpfs", "only reading"),
    ],
)
def test_what_does_not_only_read_is_refused_and_what_is_wrong_is_explained(tmp_path, monkeypatch, text, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    with SqlSession(tmp_path / "data") as session, pytest.raises(QueryError, match=said):
        list(session.run(text)[1])
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_faults_and_misuse_have_errors_of_ours(tmp_path):
    with pytest.raises(NotADataFolderError):
        open_session(tmp_path / "absent")
    write(tmp_path, 1, [record(1)])
    with pytest.raises(ArchiveFaultError, match="rows 0-0 are missing"):
        open_session(tmp_path)
    write(tmp_path, 0, [record(0)])
    session = SqlSession(tmp_path)
    session.close()
    session.close()
    with pytest.raises(ClosedError):
        session.run("SELECT 1")


@pytest.mark.parametrize("name", ["a[1]b", "a\\b", "a*b", "a?b", "[", "a'b", "{x,y}"])
def test_a_folder_may_have_any_name(tmp_path, name):
    """None of its characters is a pattern; a folder beside it that a pattern would match is not read."""
    for folder in (name, "a1b", "axb", "a-rather-long-b"):
        write(tmp_path / folder, 0, [record(0)], Stage.SEALED)
        write(tmp_path / folder, 1, [record(1)])
    with SqlSession(tmp_path / name) as session:
        assert list(session.run("SELECT count(*) FROM activity")[1]) == [(2,)]


@pytest.mark.parametrize(
    "pivot",
    [
        "PIVOT activity ON action USING count(*) GROUP BY actor_type",
        "-- per action\n/* and type */ pivot activity ON action USING count(*) GROUP BY actor_type",
        "SELECT * FROM (PIVOT activity ON action USING count(*) GROUP BY actor_type)",
    ],
)
def test_a_pivot_is_a_question(tmp_path, pivot):
    write(tmp_path, 0, [record(n) for n in range(3)])
    with SqlSession(tmp_path) as session:
        names, rows = session.run(pivot)
        assert (names, list(rows)) == (["actor_type", "create", "delete", "update"], [("user", 1, 1, 1)])


@pytest.mark.parametrize("pivot", ["PIVOT activity ON action USING count(*)"])
@pytest.mark.parametrize(
    "writing",
    ["CREATE TABLE t AS {}", "COPY ({}) TO '{file}'", "CREATE TABLE t AS FROM ({})", "EXPLAIN ANALYZE {}", "{0}; {0}"],
)
def test_what_a_pivot_gives_is_not_written(tmp_path, writing, pivot):
    write(tmp_path / "data", 0, [record(0)])
    file = tmp_path / "out.csv"
    with SqlSession(tmp_path / "data") as session, pytest.raises(QueryError):
        session.run(writing.format(pivot, file=file))
    assert not file.exists()
