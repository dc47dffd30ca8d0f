"""The engine from decoded requests to rows: exactly once, quarantine, merge, seal, restart, trouble."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from otel_audit.archive.footer import Footer
from otel_audit.archive.listing import list_log
from otel_audit.config import load_settings
from otel_audit.errors import (
    ArchiveFaultError,
    ClosedError,
    OverloadedError,
    RecordNotFoundError,
    StillHeldError,
    UnwritableError,
)
from otel_audit.log import status, stores
from otel_audit.log.engine import ActivityLog
from otel_audit.log.held import held_records
from otel_audit.log.status import folder_status
from otel_audit.model.ids import new_record_id
from tests.log.requests import record, request
from tests.log.test_store import Failing


def open_log(root: Path, **settings: Any) -> ActivityLog:
    return ActivityLog.open(root, load_settings({}, **{"min_free_bytes": 0, **settings}))


def rows(root: Path) -> list[str]:
    ids: list[str] = []
    for file in list_log(root).files:
        ids += pq.read_table(file.path, partitioning=None)["record_id"].to_pylist()
    return ids


def wait_until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.02)


def test_a_request_is_durable_when_its_future_is_done(tmp_path: Path) -> None:
    with open_log(tmp_path) as log:
        done = log.submit(request(record("a"), record("b"))).result()
        assert (done.log, done.first, done.last, done.committed) == (log.name, 0, 1, 2)
        assert rows(tmp_path) == ["a", "b"]


@pytest.mark.parametrize(
    "make_id", [new_record_id, uuid.uuid4, lambda: f"text-{uuid.uuid4()}"], ids=["v7", "v4", "text"]
)
def test_a_repeat_is_dropped_however_late(tmp_path: Path, make_id: Callable[[], Any]) -> None:
    records = [record(make_id()) for _ in range(30)]
    with open_log(tmp_path, index_run_rows=10, dedupe_window_s=0) as log:
        for one in records:
            assert log.submit(request(one)).result().committed == 1
        assert log.submit(request(*records, *records)).result().duplicates == 60
        log.seal()
        assert log.submit(request(*records)).result().duplicates == 30
    # With runs of a single id, opening moves every id out of memory: what is asked here is disk alone.
    with open_log(tmp_path, index_run_rows=1, dedupe_window_s=0) as log:
        wait_until(lambda: log._stores.index.covered >= 30 or log._stores.index.horizon_ms > 0)
        assert log.submit(request(*records)).result().duplicates == 30
        assert log.submit(request(record(records[0].record_id, action="other"))).result().conflicts == 1
    assert len(rows(tmp_path)) == 30


def test_a_clean_stop_leaves_the_next_start_few_rows_to_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The index writes what it has in memory, unless that is a handful; and a start reads only columns it needs."""
    read: list[int] = []
    rows_from = stores.rows_from

    def told(*of: Any) -> Iterator[tuple[pa.Table, int]]:
        for piece, upto in rows_from(*of):
            read.append(piece.num_rows)
            assert "request" not in piece.column_names
            yield piece, upto

    monkeypatch.setattr(stores, "rows_from", told)
    records = [record(new_record_id()) for _ in range(100)]
    with open_log(tmp_path, index_run_rows=1_000) as log:
        log.submit(request(*records, broken=2)).result()
    with open_log(tmp_path, index_run_rows=1_000) as log:
        assert sum(read) == 2  # of the quarantine
        log.submit(request(*(record(new_record_id()) for _ in range(10)))).result()
        assert log.submit(request(*records)).result().duplicates == 100
    with open_log(tmp_path, index_run_rows=1_000) as log:
        assert sum(read) == 2 + 2 + 10
        assert log.submit(request(*records)).result().duplicates == 100


def test_a_repeat_inside_one_request_is_dropped_and_a_conflict_is_quarantined(tmp_path: Path) -> None:
    with open_log(tmp_path) as log:
        done = log.submit(request(record("a"), record("a"), record("a", action="other"), record("b"))).result()
        assert (done.committed, done.duplicates, done.conflicts, done.quarantined) == (2, 1, 1, 1)
        assert rows(tmp_path) == ["a", "b"]
        (held,) = held_records(tmp_path)
        assert "conflict" in held.reason
        again = log.submit(request(record("a", action="other"))).result()
        assert again.conflicts == 1
        assert len(held_records(tmp_path)) == 1


def test_what_is_no_valid_activity_is_held_once_and_its_neighbours_go_on(tmp_path: Path) -> None:
    with open_log(tmp_path) as log:
        for _ in range(2):
            done = log.submit(request(record("a"), broken=2)).result()
            assert done.quarantined == 2
        assert rows(tmp_path) == ["a"]
        assert len(held_records(tmp_path)) == 2
        assert "actor" in held_records(tmp_path)[0].reason
    with open_log(tmp_path) as log:
        log.submit(request(broken=2)).result()
        assert len(held_records(tmp_path)) == 2
        assert log.stats().quarantine_rows == 2


def test_a_held_record_can_be_dropped_and_one_that_is_still_invalid_stays(tmp_path: Path) -> None:
    with open_log(tmp_path) as log:
        log.submit(request(broken=2)).result()
        one, two = held_records(tmp_path)
        log.decisions.drop(one.sha256[:12])
        assert [held.sha256 for held in held_records(tmp_path)] == [two.sha256]
        with pytest.raises(StillHeldError, match="no valid activity"):
            log.decisions.release(two.sha256)
        with pytest.raises(RecordNotFoundError):
            log.decisions.drop(one.sha256)
        assert len(held_records(tmp_path)) == 1


def test_with_the_quarantine_full_valid_records_are_committed_and_the_request_is_refused(tmp_path: Path) -> None:
    with open_log(tmp_path, quarantine_max_bytes=0) as log:
        with pytest.raises(OverloadedError, match="quarantine is full"):
            log.submit(request(record("a"), broken=1)).result()
        assert log.submit(request(record("b"))).result().committed == 1
        assert rows(tmp_path) == ["a", "b"]


def test_merges_and_seals_keep_every_row_once_while_it_writes(tmp_path: Path) -> None:
    with open_log(tmp_path, merge_fan_in=4, seal_rows=60, input_keep_s=0.0) as log:
        for at in range(200):
            log.submit(request(record(f"r{at}"))).result()
        wait_until(lambda: log.stats().seals >= 2 and log.stats().merges >= 2)
    assert rows(tmp_path) == [f"r{at}" for at in range(200)]
    assert folder_status(tmp_path, check=True).faults == []
    with open_log(tmp_path) as log:
        assert log.seal() == 1
        stats = log.stats()
        assert stats.hot_files == stats.hot_bytes == 0
        assert stats.sealed_bytes == sum(path.stat().st_size for path in (tmp_path / "archive").rglob("*.parquet"))
        assert rows(tmp_path) == [f"r{at}" for at in range(200)]


def test_many_threads_share_commits_and_every_answer_is_true(tmp_path: Path) -> None:
    answers: list[tuple[str, int]] = []
    with open_log(tmp_path) as log:

        def produce(name: str) -> None:
            for at in range(20):
                done = log.submit(request(record(f"{name}-{at}"))).result()
                assert done.first is not None
                answers.append((f"{name}-{at}", done.first))

        threads = [threading.Thread(target=produce, args=(f"p{n}",)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert log.stats().commits < 160
    archived = rows(tmp_path)
    assert len(archived) == 160
    assert all(archived[index] == record_id for record_id, index in answers)


@pytest.mark.parametrize("took_effect", [False, True])
@pytest.mark.parametrize("operation", ["write_new", "fsync_folder", "publish"])
def test_a_failing_disk_is_answered_with_an_error_and_heals_by_itself(
    tmp_path: Path, operation: str, took_effect: bool
) -> None:
    disk = Failing(operation, took_effect)
    settings = load_settings({}, min_free_bytes=0)
    with ActivityLog.open(tmp_path, settings, disk=disk) as log:
        log.submit(request(record("a"))).result()
        disk.armed = True
        with pytest.raises(UnwritableError):
            log.submit(request(record("b"))).result()
        done = log.submit(request(record("b"), record("c"))).result()
        assert done.committed + done.duplicates == 2
        assert rows(tmp_path) == ["a", "b", "c"]
        assert log.ready


def test_below_the_low_space_mark_nothing_is_accepted(tmp_path: Path) -> None:
    with open_log(tmp_path, min_free_bytes=1 << 60) as log, pytest.raises(UnwritableError, match="low-space mark"):
        log.submit(request(record("a"))).result()


def test_a_fault_found_at_start_is_an_error_and_leaves_the_folder_unlocked(tmp_path: Path) -> None:
    with open_log(tmp_path) as log:
        for name in "abc":
            log.submit(request(record(name))).result()
    sorted((tmp_path / "hot").iterdir())[1].unlink()
    for _ in range(2):
        with pytest.raises(ArchiveFaultError, match="rows 1-1 are missing"):
            open_log(tmp_path)
    assert folder_status(tmp_path).faults == [f"log {folder_status(tmp_path).log}: rows 1-1 are missing"]


def test_a_closed_log_refuses_and_what_was_handed_over_before_is_committed(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    futures = [log.submit(request(record(f"r{at}"))) for at in range(50)]
    log.close()
    log.close()
    assert all(future.result().committed == 1 for future in futures)
    with pytest.raises(ClosedError):
        log.submit(request(record("late"))).result()
    assert len(rows(tmp_path)) == 50


def test_a_lost_index_is_rebuilt_from_the_files(tmp_path: Path) -> None:
    import shutil

    records = [record(new_record_id()) for _ in range(40)]
    with open_log(tmp_path, index_run_rows=10) as log:
        log.submit(request(*records)).result()
        wait_until(lambda: log._stores.index.covered == 40)
    shutil.rmtree(tmp_path / "log" / "ids")
    with open_log(tmp_path) as log:
        assert log.submit(request(*records)).result().duplicates == 40


def test_status_takes_a_quarantine_file_that_is_sealed_meanwhile_for_no_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_log(tmp_path, input_keep_s=0.0) as log:
        log.submit(request(record("a"), broken=1)).result()
        real, sealed = status.read_footer, False

        def sealing(path: Path) -> Footer:
            nonlocal sealed
            if "quarantine" in path.parts and not sealed:
                sealed = True
                log.seal()
                wait_until(lambda: not path.exists())
            return real(path)

        monkeypatch.setattr(status, "read_footer", sealing)
        found = folder_status(tmp_path)
        assert sealed
        assert (found.faults, found.quarantined) == ([], 1)
