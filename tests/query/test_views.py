"""`query/views.sql` in a plain DuckDB session, as a person would use it, and the same rows through other readers."""

from __future__ import annotations

import re
from pathlib import Path

import duckdb
import polars
import pyarrow.dataset
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import otel_audit
from otel_audit import EntityRef
from otel_audit.archive.columns import ACTIVITY, COLUMNS, QUARANTINE_COLUMNS, STREAM_COLUMNS
from otel_audit.archive.names import FileName, Stage, format_name, resolve
from otel_audit.query.reader import DuckDBReader
from otel_audit.query.statements import script
from tests.query.folder import LOG, record, write, write_quarantine, write_rows


def _session(root: Path) -> duckdb.DuckDBPyConnection:
    """What `SET VARIABLE data = …; .read query/views.sql` gives."""
    session = duckdb.connect()
    session.execute("SET VARIABLE data = $1", [str(root)])
    for statement in session.extract_statements(script("views")):
        session.execute(statement)
    return session


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Sealed, merged and committed files with leftovers beside them."""
    records = [record(n, metadata={"title": f"title {n}", "n": n}) for n in range(30)]
    write(tmp_path, 0, records[:10], Stage.SEALED)
    write(tmp_path, 10, records[10:15], Stage.SEALED, day="2026-03-02")
    write(tmp_path, 5, records[5:10])
    write(tmp_path, 10, records[10:12])
    write(tmp_path, 15, records[15:20])
    write(tmp_path, 15, records[15:25], Stage.MERGED)
    write(tmp_path, 25, records[25:])
    return tmp_path


def test_the_views_give_what_the_reader_gives(root):
    session = _session(root)
    with DuckDBReader(root) as reader:
        everything = [r.metadata["n"] for r in reader.iter_records()]
        assert session.execute("SELECT (metadata->>'n')::INT FROM activity ORDER BY log_index").fetchall() == [
            (n,) for n in everything
        ]
        for macro, found in (
            ("by_entity('Task', 'task-3')", reader.get_by_entity(EntityRef("Task", "task-3"), order="desc")),
            ("by_actor('actor-3')", reader.get_by_actor("actor-3", order="desc")),
            ("by_owner('owner-1')", reader.get_by_owner("owner-1", order="desc")),
            ("by_action('update')", reader.get_by_action("update", order="desc")),
        ):
            assert session.execute(f"SELECT record_id FROM {macro}").fetchall() == [(r.record_id,) for r in found]
            assert session.execute(f"SELECT record_id FROM {macro} LIMIT 2").fetchall() == [
                (r.record_id,) for r in found[:2]
            ]


def test_metadata_is_json_and_times_are_utc(root):
    session = _session(root)
    title, shown = session.execute(
        "SELECT metadata->>'title', occurred_at::VARCHAR FROM activity WHERE record_id = 'r-000003'"
    ).fetchone()
    assert title == "title 3"
    assert shown == "2026-03-01 12:00:03+00"


def test_ids_may_be_given_as_text_uuid_or_number(tmp_path):
    uuid = "0d5b9a1e-1111-4222-8333-444455556666"
    write(tmp_path, 0, [record(0, actor_id=uuid, owner_id="42", entity_ref=EntityRef("Task", 7))])
    session = _session(tmp_path)
    for call in (f"by_actor('{uuid}')", f"by_actor('{uuid}'::UUID)", "by_owner(42)", "by_entity('Task', 7)"):
        assert len(session.execute(f"FROM {call}").fetchall()) == 1


def test_a_uuid_in_upper_case_finds_what_its_lower_case_finds(tmp_path):
    uuid, text = "0d5b9a1e-1111-4222-8333-444455556666", "Not-A-UUID"
    write(tmp_path, 0, [record(0, actor_id=uuid, owner_id=uuid, entity_ref=EntityRef("Task", uuid))])
    write(tmp_path, 1, [record(1, actor_id=text)])
    session = _session(tmp_path)
    for call in ("by_actor($1)", "by_owner($1)", "by_entity('Task', $1)"):
        assert len(session.execute(f"FROM {call}", [uuid.upper()]).fetchall()) == 1
    assert len(session.execute(f"FROM by_actor('{uuid.upper()}')").fetchall()) == 1
    assert len(session.execute(f"FROM by_actor('{text}')").fetchall()) == 1
    assert session.execute(f"FROM by_actor('{text.lower()}')").fetchall() == []


def test_what_was_not_sent_shows_its_default(tmp_path):
    write_rows(tmp_path, 0, [{"record_id": "r", "occurred_at": 5, "actor_id": "a", "action": "x"}])
    session = _session(tmp_path)
    row = session.execute("SELECT actor_type, outcome, metadata::VARCHAR, changes, owner_id FROM activity").fetchone()
    assert row == ("user", "unknown", "{}", None, None)


def test_an_empty_folder_answers_no_rows_of_the_same_types(tmp_path, root):
    (tmp_path / "empty").mkdir()
    for empty in (tmp_path / "empty", tmp_path / "absent"):
        session = _session(empty)
        for name in ("activity", "quarantine", "stream_notes", "completeness"):
            assert session.execute(f"FROM {name}").fetchall() == []
            assert (
                session.execute(f"DESCRIBE {name}").fetchall() == _session(root).execute(f"DESCRIBE {name}").fetchall()
            )
        assert session.execute("FROM by_entity('Task', 1)").fetchall() == []


def test_the_list_is_a_snapshot_and_files_sql_renews_it(tmp_path):
    session = _session(tmp_path)
    write(tmp_path, 0, [record(0)])
    assert session.execute("SELECT count(*) FROM activity").fetchone() == (0,)
    session.execute(script("files"))
    assert session.execute("SELECT count(*) FROM activity").fetchone() == (1,)


def test_views_sql_lists_files_as_files_sql_does():
    """The statements stand in both, so that each file works by itself."""
    listing = script("files").split("\n\n", 1)[1]
    assert "glob(" in listing
    assert listing in script("views")


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ([(1, 2, Stage.COMMITTED)], "rows 0-0 are missing"),
        ([(0, 2, Stage.COMMITTED), (5, 6, Stage.SEALED)], "rows 3-4 are missing"),
        ([(0, 4, Stage.COMMITTED), (2, 3, Stage.COMMITTED)], "overlap at row 2"),
        ([(0, 4, Stage.MERGED), (3, 6, Stage.MERGED)], "overlap at row 3"),
    ],
)
def test_a_hole_or_an_overlap_is_an_error_that_says_what_to_do(tmp_path, files, said):
    for first, last, stage in files:
        write(tmp_path, first, [record(n) for n in range(first, last + 1)], stage)
    with pytest.raises(duckdb.Error, match=said) as caught:
        _session(tmp_path)
    assert "otel-audit status --check" in str(caught.value)


_ranges = st.lists(
    st.tuples(st.sampled_from(list(Stage)), st.integers(0, 9), st.integers(0, 5), st.booleans()), unique=True
)


@pytest.fixture(scope="module")
def rule() -> duckdb.DuckDBPyConnection:
    session = duckdb.connect()
    session.execute("SET VARIABLE data = '/nowhere'")
    session.execute(script("views"))
    return session


@given(_ranges)
@settings(max_examples=150, deadline=None)
def test_the_supersede_rule_in_sql_is_the_one_in_python(rule, ranges):
    """For any set of names in two logs: the same files to read, or a fault in both."""
    names = [FileName("z" * 20 if other else LOG, first, first + more, stage) for stage, first, more, other in ranges]
    parts = [resolve([name for name in names if name.log == log]) for log in {name.log for name in names}]
    hot = [f"/d/hot/{format_name(name)}" for name in names if name.stage is not Stage.SEALED]
    sealed = [f"/d/archive/date=1/{format_name(name)}" for name in names if name.stage is Stage.SEALED]

    def ask():
        return rule.execute("SELECT files_to_read($1::VARCHAR[], $2::VARCHAR[])", [hot, sealed]).fetchone()[0]

    if all(part.faultless for part in parts):
        expected = {format_name(name) for part in parts for name in part.files}
        assert {Path(path).name for path in ask()} == expected
    else:
        with pytest.raises(duckdb.Error, match="otel-audit: log"):
            ask()


def test_files_that_are_not_ours_are_passed_over(root):
    (root / "hot" / "notes.parquet").write_bytes(b"x")
    (root / "hot" / f"{LOG}-0000000000000030-0000000000000030.c.parquet.tmp").write_bytes(b"x")
    assert _session(root).execute("SELECT count(*) FROM activity").fetchone() == (30,)


def test_the_quarantine_shows_what_is_still_held(tmp_path):
    """A later row decides about an earlier one; what was released or dropped is held no more."""
    write_quarantine(
        tmp_path,
        0,
        [
            {"record_id": "aa", "decision": "held", "reason": "no actor", "request": b"1", "received_from": "peer"},
            {"record_id": "bb", "decision": "held", "reason": "no id", "request": b"2"},
        ],
    )
    write_quarantine(tmp_path, 2, [{"record_id": "aa", "decision": "dropped", "reason": "not wanted"}])
    session = _session(tmp_path)
    assert session.execute("SELECT sha256, reason, request FROM quarantine").fetchall() == [("bb", "no id", b"2")]


def test_the_columns_of_the_views_are_those_of_the_archive(tmp_path):
    """`views.sql` repeats the one table of columns; this keeps it the same."""
    session = _session(tmp_path)
    for variable, columns in (
        ("activity_columns", COLUMNS),
        ("quarantine_columns", QUARANTINE_COLUMNS),
        ("stream_columns", STREAM_COLUMNS),
    ):
        (entries,) = session.execute(f"SELECT map_entries(getvariable('{variable}'))").fetchone()
        assert [(e["key"], e["value"]["name"], e["value"]["type"]) for e in entries] == [
            (column.field_id, column.name, column.sql) for column in columns
        ]


def test_files_of_before_and_after_a_new_column_read_together(tmp_path):
    older = tuple(column for column in COLUMNS if column.name not in ("reason", "scope"))
    write_rows(
        tmp_path, 0, [{"record_id": "a", "occurred_at": 1, "actor_id": "a", "action": "x"}], Stage.SEALED, columns=older
    )
    write(tmp_path, 1, [record(1, reason="because")])
    session = _session(tmp_path)
    assert session.execute("SELECT reason FROM activity ORDER BY log_index").fetchall() == [(None,), ("because",)]
    assert len(session.execute("SELECT record_id FROM by_actor('actor-1') LIMIT 1").fetchall()) == 1


def test_arrow_and_polars_read_the_same_rows_from_the_sealed_files(root):
    """Any Parquet reader does, without this package."""
    session = _session(root)
    ours = session.execute(
        "SELECT record_id, epoch_us(occurred_at) FROM activity WHERE log_index < 15 ORDER BY log_index"
    )
    expected = ours.fetchall()
    arrow = pyarrow.dataset.dataset(root / "archive", schema=ACTIVITY, format="parquet").to_table().sort_by("log_index")
    assert arrow.num_rows == 15
    moments = arrow["occurred_at"].cast("int64").to_pylist()
    assert list(zip(arrow["record_id"].to_pylist(), moments, strict=True)) == expected
    frame = polars.read_parquet(root / "archive" / "**" / "*.parquet", hive_partitioning=False).sort("log_index")
    assert frame["record_id"].to_list() == [row[0] for row in expected]
    assert frame["occurred_at"].dt.timestamp("us").to_list() == [row[1] for row in expected]
    assert dict(frame.schema)["occurred_at"] == polars.Datetime("us", "UTC")


def test_every_statement_of_the_example_runs(root):
    """`examples/with_sql.sql` as the command line would run it, over a folder with rows and over an empty one."""
    text = (Path(otel_audit.__file__).parent.parent / "examples" / "with_sql.sql").read_text(encoding="utf-8")
    text = re.sub(r"^\.read query/(\w+)\.sql$", lambda match: script(match[1]), text, flags=re.MULTILINE)
    assert not re.search(r"^\.", text, flags=re.MULTILINE)
    for folder in (root, root / "absent"):
        session = duckdb.connect()
        statements = session.extract_statements(text.replace("demo-data", str(folder)))
        answers = [session.execute(statement).fetchall() for statement in statements]
        assert answers[-1] == [(30 if folder == root else 0,)]
