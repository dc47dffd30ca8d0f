"""What a folder holds after its log was closed: each row in one file, for readers that know no ranges."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from otel_audit.config import load_settings
from otel_audit.log.engine import ActivityLog
from otel_audit.query.reader import DuckDBReader
from tests.log.requests import record, request

SETTINGS = load_settings({}, merge_fan_in=2, min_free_bytes=0)


def fill(log: ActivityLog, first: int) -> None:
    for number in range(first, first + 8):
        log.submit(request(record(f"r{number}"))).result()


def rows(folder: Path) -> list[str]:
    paths = [path for kind in ("hot", "archive") for path in sorted((folder / kind).rglob("*.parquet"))]
    return [text for path in paths for text in pq.ParquetFile(path).read(["record_id"])["record_id"].to_pylist()]


def test_inputs_of_merges_and_seals_are_gone_after_a_clean_stop(tmp_path: Path) -> None:
    with ActivityLog.open(tmp_path, SETTINGS) as log:
        fill(log, 0)
        log.seal()
        assert len(rows(tmp_path)) > 8
    assert rows(tmp_path) == [f"r{number}" for number in range(8)]
    with ActivityLog.open(tmp_path, SETTINGS) as log:
        fill(log, 8)
    assert sorted(rows(tmp_path)) == sorted(f"r{number}" for number in range(16))


def test_a_reader_that_was_open_across_the_stop_reads_on(tmp_path: Path) -> None:
    with ActivityLog.open(tmp_path, SETTINGS) as log:
        fill(log, 0)
        reader = DuckDBReader(tmp_path, SETTINGS)
        stream = reader.iter_records()
        first = next(stream)
        log.seal()
    assert [first.record_id, *(one.record_id for one in stream)] == [f"r{number}" for number in range(8)]
    assert reader.count() == 8
    reader.close()


@pytest.mark.parametrize("text", ["SELECT count(*) FROM activity"])
def test_sql_that_was_open_across_the_stop_reads_on(tmp_path: Path, text: str) -> None:
    from otel_audit.query.session import SqlSession

    with ActivityLog.open(tmp_path, SETTINGS) as log:
        fill(log, 0)
        session = SqlSession(tmp_path, SETTINGS)
        assert list(session.run(text)[1]) == [(8,)]
        log.seal()
    assert list(session.run(text)[1]) == [(8,)]
    session.close()
