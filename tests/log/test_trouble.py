"""What could stop a log for good, or make it forget: each of these once did."""

from __future__ import annotations

import errno
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from otel_audit.archive import footer, verify
from otel_audit.archive.digest import rows_digest
from otel_audit.archive.write import regroup
from otel_audit.config import load_settings
from otel_audit.disk import Disk
from otel_audit.errors import ArchiveFaultError, ClosedError, StorageError
from otel_audit.log.engine import ActivityLog
from otel_audit.log.folder import open_identity
from otel_audit.log.lookup import FileLookup
from otel_audit.log.recover import recover
from otel_audit.otlp.content import keys_and_digests
from tests.faults.disk import FaultyDisk, Loss
from tests.faults.world import Ledger, World, check
from tests.log.requests import record, request
from tests.log.rows import incoming
from tests.log.test_plan import SEAL, files_of
from tests.log.test_plan import plan_seal as plan
from tests.log.test_store import open_store, record_ids

SETTINGS = load_settings({}, min_free_bytes=0)


def as_temporary(root: Path) -> Path:
    """Take back the last commit's name, as a power loss may."""
    last = max((root / "hot").glob("*.c.parquet"))
    return last.rename(last.with_name(last.name + ".tmp"))


def test_a_caller_that_gives_up_waiting_stops_nothing(tmp_path: Path) -> None:
    with ActivityLog.open(tmp_path, SETTINGS) as log:
        for name in "abc":
            log.submit(request(record(name))).cancel()
        assert log.submit(request(record("d"))).result(timeout=10).committed == 1
    assert record_ids(tmp_path) == list("abcd")


def test_a_closed_log_changes_nothing_more(tmp_path: Path) -> None:
    """The folder may belong to another process by then."""
    with ActivityLog.open(tmp_path, SETTINGS) as log:
        done = request(record("a"), broken=1)
        log.submit(done).result()
    for late in (log.seal, lambda: log.decisions.drop(done.rejected[0].sha256)):
        with pytest.raises(ClosedError):
            late()


def test_a_temporary_file_that_cannot_be_read_now_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(tmp_path / "data")
    store.commit(incoming(0, 2))
    tmp = as_temporary(tmp_path / "data")
    with monkeypatch.context() as patched:

        def refused(*_: Any, **__: Any) -> None:
            raise OSError(errno.EMFILE, "Too many open files")

        patched.setattr(verify, "open", refused, raising=False)
        with pytest.raises(StorageError, match="cannot be read now") as error:
            recover(store)
    assert not isinstance(error.value, ArchiveFaultError)
    assert not store.settled
    assert tmp.exists()
    recover(store)
    assert record_ids(tmp_path / "data") == ["r-0", "r-1"]


def test_a_temporary_file_of_another_log_is_a_fault(tmp_path: Path) -> None:
    for name in ("one", "two"):
        open_store(tmp_path / name).commit(incoming(0, 1))
    foreign = as_temporary(tmp_path / "two")
    foreign.rename(tmp_path / "one" / "hot" / foreign.name)
    with pytest.raises(ArchiveFaultError, match="another log"):
        open_store(tmp_path / "one")


def test_rows_that_were_durable_and_are_torn_now_are_missed(tmp_path: Path) -> None:
    store = open_store(tmp_path / "data")
    store.commit(incoming(0, 2))
    tmp = as_temporary(tmp_path / "data")
    content = tmp.read_bytes()
    tmp.unlink()
    tmp.write_bytes(content[:-9])
    for _ in range(2):
        with pytest.raises(ArchiveFaultError, match="rows 0-1 are missing"):
            open_store(tmp_path / "data", mark=2)


def test_looking_an_id_up_in_a_file_that_was_deleted_is_a_fault_and_ends(tmp_path: Path) -> None:
    store = open_store(tmp_path / "data")
    store.commit(incoming(0, 2))
    next((tmp_path / "data" / "hot").iterdir()).unlink()
    with pytest.raises(ArchiveFaultError):
        FileLookup(store, keys_and_digests).digests(["r-0"])


@pytest.mark.parametrize("rows", [1, 7, 1000])
def test_row_groups_of_large_rows_are_cut_by_size(rows: int) -> None:
    """A text column of more than 2 GiB in one piece is more than Arrow can join."""
    table = pa.table({"text": ["x" * (at % 9) * 100 for at in range(300)], "n": range(300)})
    groups = list(regroup([table.slice(0, 100), table.slice(100)], rows, 5_000))
    assert pa.concat_tables(groups).equals(table)
    assert all(group.num_rows <= rows and (group.nbytes < 10_000 or group.num_rows == 1) for group in groups)
    assert rows_digest(groups) == rows_digest([table])


def test_files_of_a_clock_that_was_ahead_do_not_keep_the_rest_from_being_sealed() -> None:
    files = files_of((5, "2100-01-01"), (5, "2026-01-01"))
    assert plan(files, SEAL, "2026-01-01") == (files[0].name,)


def test_a_fresh_ext4_volume_becomes_a_log(tmp_path: Path) -> None:
    (tmp_path / "lost+found").mkdir()
    open_identity(tmp_path, "activity", Disk(), time.time_ns)


def test_a_new_folder_below_new_folders_survives_power_loss(tmp_path: Path) -> None:
    disk, ledger = FaultyDisk({}), Ledger()
    root = tmp_path / "new" / "below" / "data"
    World(root, disk, ledger).send(request(record("a")))
    disk.after_power_loss(tmp_path / "new", Loss(False, False), tmp_path / "left")
    check(tmp_path / "left" / "below" / "data", ledger, frozenset("a"))


def test_what_stands_before_a_footer_is_checked_as_well(tmp_path: Path) -> None:
    """Else a hole in a temporary file would be taken for rows, where its bytes happen to decode."""
    store = open_store(tmp_path / "data")
    store.commit(incoming(0, 50))
    path = next((tmp_path / "data" / "hot").iterdir())
    content = bytearray(path.read_bytes())
    column = pq.ParquetFile(path).metadata.row_group(0).column(1)
    content[column.data_page_offset + column.total_compressed_size - 5] ^= 1
    path.unlink()
    path.write_bytes(content)
    footer.read_footer(path)
    with pytest.raises(ArchiveFaultError):
        verify.check_file(path)
