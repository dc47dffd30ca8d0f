"""A folder whose files are not those that its index, its mark or its readers knew: restored, cut short, or mixed."""

from __future__ import annotations

import json
import os
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from otel_audit.archive.listing import list_log
from otel_audit.config import Settings, load_settings
from otel_audit.errors import ArchiveFaultError, PositionBeyondEndError
from otel_audit.log.engine import ActivityLog
from otel_audit.log.status import folder_status
from otel_audit.model.filters import LogPosition
from otel_audit.query.reader import DuckDBReader
from otel_audit.repos.http_reader import HttpReader
from otel_audit.web import create_app
from tests.log.requests import record, request
from tests.web.serving import serving

SETTINGS = load_settings({}, min_free_bytes=0, index_run_rows=5, input_keep_s=0.0)


def send(log: ActivityLog, *numbers: int) -> tuple[int, int]:
    """New records and repeats among those sent, a request each."""
    done = [log.submit(request(record(f"r-{number}"))).result() for number in numbers]
    return sum(one.committed for one in done), sum(one.duplicates for one in done)


def spilled(log: ActivityLog, root: Path, covered: int) -> None:
    """Wait until the index on disk covers so many rows."""
    manifest = root / "log" / "ids" / "manifest.json"
    for _ in range(2_000):
        if manifest.exists() and json.loads(manifest.read_bytes())["covered"] >= covered:
            return
        with log._tasks, log._writer.exclusive:
            if log._stores.index.spill_due:
                log._stores.index.begin_spill()
            log._maintenance.run_one()
    raise AssertionError("not spilled")


def grown(root: Path, numbers: range, covered: int) -> None:
    """A log that was killed: nothing was written at its end."""
    with ActivityLog.open(root, SETTINGS) as log:
        send(log, *numbers)
        spilled(log, root, covered)


def put_back(copy: Path, root: Path, *parts: str) -> None:
    for part in parts:
        shutil.rmtree(root / part)
        shutil.copytree(copy / part, root / part)


def test_an_end_before_what_the_index_covers_is_a_fault(tmp_path: Path) -> None:
    """Without any mark at all, as after a kill in the second it is written in."""
    root = tmp_path / "data"
    grown(root, range(10), 10)
    for file in list_log(root).files[-4:]:
        file.path.unlink()
    (root / "log" / "floor.json").unlink()
    before = list_log(root).next_index
    with pytest.raises(ArchiveFaultError, match=f"rows {before}-9 are missing"):
        ActivityLog.open(root, SETTINGS)
    assert (root / "log" / "ids" / "manifest.json").exists()


def test_an_index_of_another_copys_rows_is_not_believed(tmp_path: Path) -> None:
    """Two copies went on by themselves; one gets the other's files beside its own index."""
    root, other = tmp_path / "data", tmp_path / "other"
    with ActivityLog.open(root, SETTINGS) as log:
        send(log, 0, 1, 2)
    shutil.copytree(root, other)
    (other / "log" / "place.json").unlink(missing_ok=True)
    grown(root, range(3, 20), 15)
    with ActivityLog.open(other, SETTINGS) as log:
        send(log, *range(103, 123))
    put_back(other, root, "hot", "archive")
    with ActivityLog.open(root, SETTINGS) as log:
        assert send(log, *range(3, 20)) == (17, 0), "rows that are not there were taken for repeats"
        assert send(log, *range(103, 123)) == (0, 20), "rows that are there were taken for new"
        assert send(log, *range(3, 20)) == (0, 17)


def test_an_index_that_is_rejected_is_removed(tmp_path: Path) -> None:
    root = tmp_path / "data"
    grown(root, range(10), 10)
    manifest = root / "log" / "ids" / "manifest.json"
    facts = json.loads(manifest.read_bytes())
    manifest.chmod(0o640)
    manifest.write_text(json.dumps(facts | {"end": [facts["end"][0], "0" * 32]}))
    with ActivityLog.open(root, Settings({**SETTINGS, "index_run_rows": 1_000})) as log:
        assert not manifest.exists()
        assert send(log, *range(10)) == (0, 10)


def test_merges_and_seals_keep_the_index(tmp_path: Path) -> None:
    """They take away the end of the file that it was bound to; read all again, a big log would take minutes."""
    root = tmp_path / "data"
    few = Settings({**SETTINGS, "merge_fan_in": 2})
    with ActivityLog.open(root, few) as log:
        for number in range(23):
            send(log, number)
            with log._tasks:
                log._maintenance.run_one()
        spilled(log, root, 20)
        send(log, *range(23, 26))
        log.seal()
    never = Settings({**few, "index_run_rows": 1_000})
    with ActivityLog.open(root, never) as log:
        assert log._stores.index.covered >= 20
        assert send(log, *range(26)) == (0, 26)


def test_files_of_two_copies_of_a_log_are_a_fault(tmp_path: Path) -> None:
    root, other = tmp_path / "data", tmp_path / "other"
    with ActivityLog.open(root, SETTINGS) as log:
        send(log, 0, 1)
    shutil.copytree(root, other)
    (other / "log" / "place.json").unlink(missing_ok=True)
    with ActivityLog.open(root, SETTINGS) as log:
        send(log, 2, 3)
    with ActivityLog.open(other, SETTINGS) as log:
        send(log, 102, 103, 104)
    for path in (other / "hot").iterdir():
        if not (root / "hot" / path.name).exists():
            shutil.copy(path, root / "hot")
    assert any("4" in fault and "do not follow" in fault for fault in folder_status(root, check=True).faults)
    with pytest.raises(ArchiveFaultError, match="do not follow"):
        ActivityLog.open(root, SETTINGS)


def test_a_follower_beyond_the_end_of_the_log_gets_an_error(tmp_path: Path) -> None:
    root = tmp_path / "data"
    with ActivityLog.open(root, SETTINGS) as log:
        send(log, 0, 1)
    shutil.copytree(root, tmp_path / "copy")
    with ActivityLog.open(root, SETTINGS) as log:
        send(log, 2, 3, 4)
    with DuckDBReader(root) as reader:
        position = reader.search(after=LogPosition()).position
        assert position == LogPosition(log.name, 4)
        assert reader.search(after=position).records == ()
        put_back(tmp_path / "copy", root, "hot", "archive", "log")
        with pytest.raises(PositionBeyondEndError, match="ends at 1"):
            reader.search(after=position)
        with pytest.raises(PositionBeyondEndError, match="ends at 1"):
            list(reader.iter_records(after=position))
        with serving(create_app(reader)) as url, HttpReader(url) as remote, pytest.raises(PositionBeyondEndError):
            remote.search(after=position)


def test_a_reader_that_is_open_across_a_restore_reads_the_files_that_are_there(tmp_path: Path) -> None:
    """Files of the same names, from another copy, whose rows happened at other times."""
    root, other = tmp_path / "data", tmp_path / "other"
    with ActivityLog.open(root, SETTINGS) as log:
        log.submit(request(record("a", occurred_at=datetime(2026, 1, 1, tzinfo=UTC)))).result()
    shutil.copytree(root, other)
    (other / "log" / "place.json").unlink(missing_ok=True)
    for folder, name, month in ((root, "b", 2), (other, "c", 6)):
        with ActivityLog.open(folder, SETTINGS) as log:
            log.submit(request(record(name, occurred_at=datetime(2026, month, 1, tzinfo=UTC)))).result()
    with DuckDBReader(root) as reader:
        assert [one.record_id for one in reader.get_by_actor("ann", limit=1)] == ["b"]
        assert reader.get_by_id("c") is None
        for path in (other / "hot").iterdir():
            os.utime(path, (0, 0))  # written in the same second, which is all that DuckDB goes by
        put_back(other, root, "hot", "archive", "log")
        assert reader.get_by_id("c") is not None
        assert reader.get_by_id("b") is None
        assert [one.record_id for one in reader.search(limit=1).records] == ["c"]
        assert len(list(reader.iter_records())) == 2
