"""What the local repo promises beyond the contract suite: the folder is its own, and an append is on disk."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from otel_audit import ActivityRecord, EntityRef, InvalidRecordError, LocalActivityLogRepo
from otel_audit.archive.listing import list_log
from otel_audit.config import load_settings
from otel_audit.errors import FolderLockedError
from otel_audit.log.held import held_records
from otel_audit.query.reader import DuckDBReader

SETTINGS = load_settings({}, min_free_bytes=0)


def _open(root: Path, **options) -> LocalActivityLogRepo:
    return LocalActivityLogRepo(root, settings=SETTINGS, **options)


def _record(number: int = 0, **fields) -> ActivityRecord:
    values = {"actor_id": "ann", "owner_id": "bob", "action": "edit", "entity_ref": EntityRef("Task", number)}
    return ActivityRecord.create(**(values | fields))


def test_an_append_that_returned_is_in_a_file_with_its_index(tmp_path):
    """Read by a stranger while the repo is still open: nothing waits for `close`."""
    with _open(tmp_path) as log:
        receipts = [log.append(_record(n)) for n in range(3)]
        assert [(r.state, r.log, r.log_index) for r in receipts] == [
            ("acknowledged", log.log_name, n) for n in range(3)
        ]
        assert list_log(tmp_path).next_index == 3
        with DuckDBReader(tmp_path) as stranger:
            assert stranger.count() == 3


def test_what_was_appended_is_there_after_reopening_and_indexes_go_on(tmp_path):
    records = [_record(n, metadata={"n": n}) for n in range(5)]
    with _open(tmp_path) as log:
        log.append_many(records)
    with _open(tmp_path) as log:
        assert list(log.iter_records()) == records
        assert log.append(_record(9)).log_index == 5
        assert log.append(records[0]).log_index is None
        assert log.count() == 6


def test_append_many_is_one_commit(tmp_path):
    with _open(tmp_path) as log:
        receipts = log.append_many(_record(n) for n in range(100))
        assert [receipt.log_index for receipt in receipts] == list(range(100))
        assert len(list_log(tmp_path).files) == 1


def test_a_folder_has_one_owner(tmp_path):
    with _open(tmp_path), pytest.raises(FolderLockedError):
        _open(tmp_path)
    _open(tmp_path).close()


def test_a_conflict_is_held_in_quarantine(tmp_path):
    with _open(tmp_path) as log:
        record = _record()
        log.append(record)
        receipt = log.append(record.replace(action="other"))
        assert (receipt.state, receipt.log_index) == ("acknowledged", None)
        assert log.get_by_id(record.record_id) == record
        assert len(held_records(tmp_path)) == 1


def test_what_no_collector_would_take_is_refused_and_none_of_the_rest_is_stored(tmp_path):
    """A record built without its checks is found out before anything is handed to the disk."""
    unchecked = ActivityRecord.from_archive({"record_id": "x", "occurred_at": _record().occurred_at, "action": "edit",
                                             "actor_id": "", "metadata": {}})  # fmt: skip
    with _open(tmp_path) as log:
        with pytest.raises(InvalidRecordError):
            log.append_many([_record(), unchecked])
        with pytest.raises(InvalidRecordError, match="record"):
            log.append("no record")
        assert log.count() == 0
        assert held_records(tmp_path) == []


def test_threads_share_commits_and_lose_nothing(tmp_path):
    with _open(tmp_path) as log:

        def work(number):
            for at in range(20):
                log.append(_record(number * 100 + at))

        threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert log.count() == 120
        assert sorted(int(str(r.entity_ref.entity_id)) for r in log.iter_records()) == sorted(
            number * 100 + at for number in range(6) for at in range(20)
        )


def test_a_cancelled_wait_does_not_undo_the_append(tmp_path):
    """The engine answers every request it was handed; whoever stopped waiting finds the record there."""

    async def run() -> None:
        async with _open(tmp_path) as log:
            for number in range(20):
                task = asyncio.create_task(log.aappend(_record(number)))
                await asyncio.sleep(0)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            receipt = await log.aappend(_record(99))
            assert receipt.log_index == 20
            assert log.count() == 21

    asyncio.run(run())


def test_the_service_is_named_in_the_archive(tmp_path):
    with _open(tmp_path, resource={"service.name": "shop"}) as log:
        log.append(_record())

    (file,) = list_log(tmp_path).files
    table = pq.read_table(file.path, partitioning=None)
    assert table["service_name"].to_pylist() == ["shop"]
    assert table["received_from"].to_pylist() == ["local"]
