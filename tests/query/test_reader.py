"""The reader finds what is in the files, wherever it lies, and gives each record once and in order."""

from __future__ import annotations

import random
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import duckdb
import pytest

from otel_audit import ActivityRecord, EntityRef, Filter, InMemoryActivityLogRepo, LogPosition
from otel_audit.archive.columns import COLUMNS
from otel_audit.archive.names import Stage
from otel_audit.errors import (
    ArchiveFaultError,
    ClosedError,
    InvalidFilterError,
    NotADataFolderError,
    QueryError,
    StorageError,
)
from otel_audit.model.filters import COUNT_FIELDS
from otel_audit.query.reader import DuckDBReader
from tests.query.folder import LOG, START, record, row_of, write, write_rows

OTHER_LOG = "other0other0other0other0"
ACTOR = UUID("0d5b9a1e-1111-4222-8333-444455556666")


def _mixed(count: int, seed: int) -> list[ActivityRecord]:
    """Records whose times jump back and forth, with equal times, missing owners and entities, and ids of each kind."""
    dice = random.Random(seed)
    return [
        record(
            number,
            occurred_at=START + timedelta(seconds=dice.choice([number, dice.randrange(count), 77])),
            actor_id=dice.choice([ACTOR, "7", "naïve-☃", "actor-1"]),
            owner_id=dice.choice([None, "owner-1", str(ACTOR)]),
            entity_ref=dice.choice([None, EntityRef("Task", 1), EntityRef("Note", "1"), EntityRef("Task", ACTOR)]),
            outcome=dice.choice(["success", "failure", "unknown"]),
            actor_type=dice.choice(["user", "system"]),
            tenant_id=dice.choice([None, "t1"]),
        )
        for number in range(count)
    ]


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> tuple[DuckDBReader, InMemoryActivityLogRepo]:
    """The same 400 records in files of every kind and in memory."""
    root = tmp_path_factory.mktemp("mixed")
    records = _mixed(400, 5)
    for first, last, stage in ((0, 150, Stage.SEALED), (150, 200, Stage.SEALED), (200, 300, Stage.MERGED),
                               (300, 390, Stage.COMMITTED), (390, 400, Stage.COMMITTED)):  # fmt: skip
        write(root, first, records[first:last], stage, day=f"2026-03-0{1 + first % 3}")
    memory = InMemoryActivityLogRepo()
    memory.append_many(records)
    return DuckDBReader(root), memory


FILTERS = [
    Filter(),
    Filter(actor_id=ACTOR),
    Filter(actor_id="naïve-☃"),
    Filter(owner_id="owner-1", outcome="failure"),
    Filter(owner_id=ACTOR),
    Filter(entity_ref=EntityRef("Task", 1)),
    Filter(entity_ref=EntityRef("Task", ACTOR), entity_type="Task"),
    Filter(entity_ref=EntityRef("Task", ACTOR), entity_type="Note"),
    Filter(entity_type="Note"),
    Filter(action="update", tenant_id="t1"),
    Filter(outcome="unknown"),
    Filter(outcome="failure"),
    Filter(actor_type="user"),
    Filter(actor_type="system"),
    Filter(since=START + timedelta(seconds=77), until=START + timedelta(seconds=78)),
    Filter(since=START + timedelta(seconds=300)),
    Filter(until=START + timedelta(seconds=20), actor_id="7"),
    Filter(action="no such action"),
    Filter(request_id="x"),
    Filter(session_id="x"),
    Filter(on_behalf_of="x"),
    Filter(trace_id="a" * 32),
]


@pytest.mark.slow
@pytest.mark.parametrize("where", FILTERS, ids=lambda where: str(where.to_json()))
def test_every_read_agrees_with_the_same_records_in_memory(mixed, where):
    """Filters, both orders, limits, pages, log order and counts mean the same over Parquet as over a list."""
    reader, memory = mixed
    assert reader.count(where) == memory.count(where)
    for order in ("asc", "desc"):
        expected = list(memory.iter_records(where, order=order))
        assert list(reader.iter_records(where, order=order)) == expected
        for limit in (1, 7, 100):
            assert reader.search(where, order=order, limit=limit).records == tuple(expected[:limit])
        paged, cursor = [], None
        while True:
            page = reader.search(where, order=order, limit=37, cursor=cursor)
            paged += page.records
            cursor = page.next_cursor
            if cursor is None:
                break
        assert paged == expected
    assert list(reader.iter_records(where, after=LogPosition())) == list(
        memory.iter_records(where, after=LogPosition())
    )
    second = reader.search(where, after=LogPosition(LOG, 123), limit=20)
    assert second.records == memory.search(where, after=LogPosition("", 123), limit=20).records
    for field in COUNT_FIELDS:
        assert list(reader.count_by(field, where).items()) == list(memory.count_by(field, where).items())


def test_records_come_back_with_every_field(tmp_path):
    full = record(
        1,
        record_id=UUID("01999999-0000-7000-8000-000000000001"),
        actor_id=ACTOR,
        owner_id="42",
        metadata={"n": 1, "x": 1.0, "deep": {"list": [None, True, "☃"]}},
        changes={"title": ["a", "b"]},
        actor_type="service",
        outcome="failure",
        actor_name="Ada",
        entity_name="First",
        on_behalf_of="boss",
        reason="because",
        tenant_id="t",
        client_address="192.0.2.1",
        user_agent="agent",
        session_id="s",
        request_id="q",
        trace_id="1" * 32,
        span_id="2" * 16,
        trace_flags=1,
    )
    write(tmp_path, 0, [full])
    with DuckDBReader(tmp_path) as reader:
        found = reader.get_by_id(full.record_id)
    assert found == full
    assert type(found.metadata["n"]) is int
    assert type(found.metadata["x"]) is float


def test_what_was_not_sent_reads_as_its_default_and_is_found_by_it(tmp_path):
    """Null actor type is `user`, null outcome `unknown`, null metadata {}; half an entity is none."""
    bare = {"record_id": "r", "occurred_at": 5, "actor_id": "a", "action": "x", "entity_type": "Task"}
    write_rows(tmp_path, 0, [bare])
    with DuckDBReader(tmp_path) as reader:
        for where in (Filter(outcome="unknown"), Filter(actor_type="user")):
            (found,) = reader.search(where).records
            assert (found.actor_type, found.outcome, found.metadata) == ("user", "unknown", {})
            assert (found.entity_ref, found.owner_id) == (None, None)
            assert where.matches(found)
        assert reader.search(Filter(entity_type="Task")).records == ()
        assert reader.count_by("entity_type") == {None: 1}
        assert reader.count_by("outcome") == {"unknown": 1}
        assert reader.count_by("actor_type") == {"user": 1}
        assert reader.count_by("owner_id") == {None: 1}


def test_a_backfilled_record_is_among_the_newest_wherever_it_was_committed(tmp_path):
    """The newest n go by `occurred_at`; the file sealed first may hold the newest record of all."""
    early = record(1, occurred_at=START + timedelta(days=400))
    write(tmp_path, 0, [record(0), early, record(2)], Stage.SEALED, day="2026-03-01")
    write(tmp_path, 3, [record(n) for n in range(3, 60)], Stage.SEALED, day="2026-03-02")
    late = record(60, occurred_at=START - timedelta(days=400))
    write(tmp_path, 60, [late, *(record(n) for n in range(61, 100))])
    with DuckDBReader(tmp_path) as reader:
        assert reader.search(limit=2).records == (early, record(99))
        assert reader.search(limit=2, order="asc").records == (late, record(0))
        since = early.occurred_at - timedelta(days=1)
        assert reader.get_by_action(early.action, since=since) == [early]


def test_many_rounds_give_the_same_as_one(tmp_path, monkeypatch):
    """However few rows are looked at first, the newest n and the oldest n are exact."""
    monkeypatch.setattr("otel_audit.query.search.FIRST_ROWS", 1)
    monkeypatch.setattr("otel_audit.query.search.GROWTH", 1)
    records = _mixed(120, 9)
    for first in range(0, 120, 6):
        write(tmp_path, first, records[first : first + 6])
    memory = InMemoryActivityLogRepo()
    memory.append_many(records)
    with DuckDBReader(tmp_path) as reader:
        for where in (Filter(), Filter(actor_id=ACTOR), Filter(action="update")):
            for order in ("asc", "desc"):
                for limit in (1, 5, 50, 500):
                    found = reader.search(where, order=order, limit=limit).records
                    assert found == memory.search(where, order=order, limit=limit).records


def test_a_record_that_two_collectors_got_is_given_and_counted_once(tmp_path):
    both = [record(n) for n in range(20)]
    write(tmp_path, 0, both[:15])
    write(tmp_path, 0, both[5:], log=OTHER_LOG)
    with DuckDBReader(tmp_path) as reader:
        assert list(reader.iter_records()) == both
        assert reader.search(limit=12).records == tuple(both[:7:-1])
        assert reader.count() == 20
        assert reader.count(Filter(action="create")) == 7
        assert reader.count_by("action") == {"create": 7, "update": 7, "delete": 6}
        assert reader.get_by_id("r-000007") == both[7]
        assert reader.get_by_entity(both[8].entity_ref) == [both[1], both[8], both[15]]


def test_log_order_wants_a_log_named_where_there_are_several(tmp_path):
    write(tmp_path, 0, [record(0)])
    write(tmp_path, 0, [record(1)], log=OTHER_LOG)
    with DuckDBReader(tmp_path) as reader:
        with pytest.raises(InvalidFilterError, match=OTHER_LOG):
            reader.search(after=LogPosition())
        page = reader.search(after=LogPosition(OTHER_LOG))
        assert (page.records, page.position) == ((record(1),), LogPosition(OTHER_LOG, 0))
        with pytest.raises(InvalidFilterError, match="no log"):
            reader.search(after=LogPosition("x" * 20))


def test_files_of_before_and_after_a_new_column_read_together(tmp_path):
    """A column that older files lack is null there, whichever kind of file comes first in the list."""
    older = tuple(column for column in COLUMNS if column.name not in ("user_agent", "session_id", "scope"))
    rows = [
        {key: value for key, value in row_of(record(n)).items() if key not in ("user_agent", "session_id")}
        for n in range(3)
    ]
    write_rows(tmp_path, 0, rows, Stage.SEALED, columns=older)
    newer = [record(n, user_agent="agent", session_id="s") for n in range(3, 6)]
    write(tmp_path, 3, newer)
    with DuckDBReader(tmp_path) as reader:
        assert list(reader.iter_records()) == [*map(record, range(3)), *newer]
        assert reader.get_by_action("create", limit=1) == [newer[0]]
        assert reader.count(Filter(session_id="s")) == 3


def test_a_new_file_is_seen_by_the_next_read(tmp_path):
    """A read sees everything acknowledged before it began, also in the same tick of the file system's clock."""
    (tmp_path / "hot").mkdir()
    with DuckDBReader(tmp_path) as reader:
        for number in range(30):
            assert reader.count() == number
            write(tmp_path, number, [record(number)])
        assert len(list(reader.iter_records())) == 30


def test_an_empty_folder_has_no_records(tmp_path):
    with DuckDBReader(tmp_path) as reader:
        assert reader.count() == 0
        assert reader.search().records == ()
        assert reader.search(after=LogPosition()).records == ()
        assert reader.get_by_id("x") is None
        assert reader.count_by("action") == {}
        assert list(reader.iter_records()) == []


def test_a_superseded_file_is_not_read(tmp_path):
    """Inputs of a merge or seal stay for a while beside the output; their rows count once."""
    records = [record(n) for n in range(10)]
    for first in range(0, 10, 2):
        write(tmp_path, first, records[first : first + 2])
    write(tmp_path, 0, records[:6], Stage.MERGED)
    write(tmp_path, 0, records[:8], Stage.SEALED)
    with DuckDBReader(tmp_path) as reader:
        assert list(reader.iter_records()) == records
        assert reader.count(Filter(actor_id="actor-1")) == 2


def test_an_empty_page_in_log_order_names_its_log(tmp_path):
    write(tmp_path, 0, [record(0)])
    with DuckDBReader(tmp_path) as reader:
        assert reader.search(Filter(actor_id="nobody"), after=LogPosition()).position == LogPosition(LOG, -1)
        assert reader.search(after=LogPosition("", 0)).position == LogPosition(LOG, 0)


def test_another_producers_words_are_shown_as_sent_and_found_as_an_unknown_outcome(tmp_path):
    rows = [row_of(record(0)) | {"outcome": "maybe", "actor_type": "robot"}, row_of(record(1, outcome="failure"))]
    write_rows(tmp_path, 0, rows)
    with DuckDBReader(tmp_path) as reader:
        (found,) = reader.search(Filter(outcome="unknown")).records
        assert (found.outcome, found.actor_type) == ("maybe", "robot")
        assert Filter(outcome="unknown").matches(found)
        assert reader.count_by("outcome") == {"failure": 1, "maybe": 1}
        assert reader.count(Filter(actor_type="user")) == 1


def test_a_read_starts_again_when_its_files_go_away(tmp_path):
    """The snapshot was taken, then the files are sealed and unlinked before DuckDB opens them."""
    records = [record(n) for n in range(6)]
    hot = [write(tmp_path, first, records[first : first + 2]) for first in (0, 2, 4)]
    with DuckDBReader(tmp_path) as reader:
        run, asked = reader._engine.rows, []

        def seal_first(name, parameters):
            if not asked:
                write(tmp_path, 0, records, Stage.SEALED)
                for path in hot:
                    path.unlink()
            asked.append(parameters["files"])
            return run(name, parameters)

        reader._engine.rows = seal_first
        assert reader.get_by_actor("actor-1") == [records[1]]
        assert len(asked) == 2


def test_a_long_iteration_goes_on_behind_the_last_record_when_files_change(tmp_path, monkeypatch):
    monkeypatch.setattr("otel_audit.model.reading._STREAM_ROWS", 2)
    records = [record(n) for n in range(9)]
    hot = [write(tmp_path, first, records[first : first + 3]) for first in (0, 3, 6)]
    with DuckDBReader(tmp_path) as reader:
        stream = reader.iter_records()
        seen = [next(stream) for _ in range(3)]
        write(tmp_path, 0, records, Stage.SEALED)
        for path in hot:
            path.unlink()
        assert [*seen, *stream] == records


def test_faults_of_the_folder_are_storage_errors(tmp_path):
    """A hole, an overlap, a damaged file, a foreign file: named, and nothing of DuckDB's or Arrow's comes through."""
    write(tmp_path / "hole", 0, [record(0)])
    write(tmp_path / "hole", 2, [record(2)])
    write(tmp_path / "overlap", 0, [record(0), record(1)])
    write(tmp_path / "overlap", 1, [record(1), record(2)])
    cut = write(tmp_path / "cut", 0, [record(0)])
    cut.write_bytes(cut.read_bytes()[:-9])
    empty = write(tmp_path / "empty", 0, [record(0)])
    empty.write_bytes(b"")
    for name, said in (("hole", "missing"), ("overlap", "overlap"), ("cut", "Parquet"), ("empty", "Parquet")):
        with DuckDBReader(tmp_path / name) as reader, pytest.raises(ArchiveFaultError, match=said):
            reader.search()
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "letters.txt").write_text("dear")
    for name in ("foreign", "absent"):
        with pytest.raises(NotADataFolderError):
            DuckDBReader(tmp_path / name).count()


def test_damaged_pages_are_a_storage_error(tmp_path):
    """The footer is whole but the data is not: the caller hears of it as an error of ours."""
    path = write(tmp_path, 0, [record(n) for n in range(50)])
    content = bytearray(path.read_bytes())
    content[4:2000] = bytes(1996)
    path.write_bytes(content)
    with DuckDBReader(tmp_path) as reader, pytest.raises((StorageError, QueryError)) as caught:
        list(reader.iter_records())
    assert str(path.name) in str(caught.value) or caught.value.__cause__ is not None


def test_a_made_up_cursor_place_is_no_error(tmp_path):
    """The key of a cursor may be any number; beyond the range of timestamps it is before or after everything."""
    write(tmp_path, 0, [record(n) for n in range(3)])
    with DuckDBReader(tmp_path) as reader:
        for us in (-(2**80), 2**80):
            expected = {"asc": 3, "desc": 0} if us < 0 else {"asc": 0, "desc": 3}
            for order, count in expected.items():
                assert len(reader._select(Filter(), order, 10, (us, "x")).records) == count


def test_nothing_outside_the_data_folder_can_be_opened(tmp_path):
    """Whatever statement would come to run, it reaches no other file and no extension."""
    write(tmp_path / "data", 0, [record(0)])
    elsewhere = write(tmp_path / "elsewhere", 0, [record(1)])
    with DuckDBReader(tmp_path / "data") as reader, pytest.raises(duckdb.PermissionException, match="ermission"):
        reader._engine.rows("record_by_id", {"files": [str(elsewhere)], "record_id": "r-000001"})


def test_a_closed_reader_says_so(tmp_path):
    reader = DuckDBReader(tmp_path)
    reader.close()
    reader.close()
    for use in (reader.count, reader.search, lambda: reader.get_by_id("x"), lambda: list(reader.iter_records())):
        with pytest.raises(ClosedError):
            use()


def test_a_folder_with_pattern_signs_in_its_path_is_read(tmp_path):
    """Square brackets, stars and quotes are letters of a path, not a pattern."""
    root = Path(tmp_path) / "a[b]*'c"
    write(root, 0, [record(0)])
    with DuckDBReader(root) as reader:
        assert reader.search().records == (record(0),)
