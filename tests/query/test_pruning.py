"""What a question does not need is not read: its pages may even be destroyed."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from otel_audit import EntityRef, Filter, LogPosition
from otel_audit.archive.names import Stage
from otel_audit.errors import OtelAuditError
from otel_audit.query.reader import DuckDBReader
from otel_audit.query.session import SqlSession
from tests.query.folder import record, write

GROUP = 64


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    """A sealed file of four row groups with an owner, entity and actor each; of all but the third the data pages are
    destroyed, so that reading any of them fails."""
    records = [
        record(
            n,
            record_id=f"id-{n % 7}-{n}",
            owner_id=f"owner-{n // GROUP}-{n % 2}",
            actor_id=f"actor-{n // GROUP}-{n % 2}",
            entity_ref=EntityRef("Task", f"task-{n // GROUP}-{n % 2}"),
        )
        for n in range(4 * GROUP)
    ]
    path = write(tmp_path, 0, records, Stage.SEALED, group_rows=GROUP)
    metadata = pq.ParquetFile(path).metadata
    assert metadata.num_row_groups == 4
    content = bytearray(path.read_bytes())
    for number in (0, 1, 3):
        group = metadata.row_group(number)
        for at in range(group.num_columns):
            column = group.column(at)
            start = column.dictionary_page_offset or column.data_page_offset
            start = min(start, column.data_page_offset)
            content[start : start + column.total_compressed_size] = bytes(column.total_compressed_size)
    path.chmod(0o640)
    path.write_bytes(content)
    return tmp_path


def test_the_damage_is_real(damaged):
    """Without this the tests below would prove nothing."""
    with DuckDBReader(damaged) as reader, pytest.raises(OtelAuditError):
        list(reader.iter_records())


@pytest.mark.parametrize(
    "where",
    [
        Filter(owner_id="owner-2-1"),
        Filter(actor_id="actor-2-1"),
        Filter(entity_ref=EntityRef("Task", "task-2-1")),
        Filter(since=record(2 * GROUP).occurred_at, until=record(3 * GROUP).occurred_at),
    ],
    ids=str,
)
def test_conditions_leave_row_groups_unread(damaged, where):
    """By Bloom filter (the middle value of a span is in no other row group) and by the span of occurred_at."""
    with DuckDBReader(damaged) as reader:
        count = reader.count(where)
        assert count in (GROUP // 2, GROUP)
        assert len(reader.search(where, limit=10).records) == 10
        assert len(list(reader.iter_records(where))) == count
        assert sum(reader.count_by("action", where).values()) == count


def test_a_record_id_leaves_row_groups_unread(damaged):
    number = 2 * GROUP + 3
    with DuckDBReader(damaged) as reader:
        assert reader.get_by_id(f"id-{number % 7}-{number}").metadata == {"n": number}


def test_a_place_in_the_log_leaves_row_groups_unread(damaged):

    with DuckDBReader(damaged) as reader:
        reader._catalog.snapshot()
        page = reader.search(Filter(owner_id="owner-2-0"), after=LogPosition("", 2 * GROUP - 1), limit=5)
    assert [r.metadata["n"] for r in page.records] == [2 * GROUP + 2 * n for n in range(5)]


def test_the_views_leave_row_groups_unread(damaged):
    """Plain SQL over `activity` prunes as well as the reader's statements do."""
    with SqlSession(damaged) as session:
        for condition in ("owner_id = 'owner-2-1'", "entity_id = 'task-2-0'", f"record_id = 'id-1-{2 * GROUP + 6}'"):
            _, rows = session.run(f"SELECT count(*), min(metadata->>'n') FROM activity WHERE {condition}")
            assert next(rows)[0] in (1, 0, GROUP // 2)
        _, rows = session.run("SELECT record_id FROM by_entity('Task', 'task-2-1') LIMIT 3")
        assert len(list(rows)) == 3
