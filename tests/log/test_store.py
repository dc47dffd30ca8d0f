"""Commit, merge, seal and recovery of one log's files, on a real disk."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from otel_audit.archive.columns import COLUMNS, parquet_schema
from otel_audit.archive.listing import list_log
from otel_audit.archive.names import Stage
from otel_audit.disk import Disk
from otel_audit.errors import ArchiveFaultError, UnwritableError
from otel_audit.log import store as store_module
from otel_audit.log.compact import compact
from otel_audit.log.folder import open_identity
from otel_audit.log.recover import recover
from otel_audit.log.store import Store
from tests.log.rows import incoming


def clock() -> int:
    return 1_764_000_000_000_000_000


def open_store(root: Path, disk: Disk | None = None, mark: int = 0) -> Store:
    disk = disk or Disk()
    identity = open_identity(root, "activity", disk, clock)
    store = Store(root, identity.log, COLUMNS, disk, clock)
    recover(store, mark)
    return store


def record_ids(root: Path) -> list[str]:
    ids: list[str] = []
    for file in list_log(root).files:
        table = pq.read_table(file.path, partitioning=None)
        assert table["log_index"].to_pylist() == list(range(file.name.first, file.name.last + 1))
        ids += table["record_id"].to_pylist()
    return ids


def test_committed_rows_are_readable_numbered_and_read_only(tmp_path: Path) -> None:
    store = open_store(tmp_path / "data")
    assert store.commit(incoming(0, 3)) == (0, 2)
    assert store.commit(incoming(3, 2)) == (3, 4)
    assert record_ids(tmp_path / "data") == [f"r-{at}" for at in range(5)]
    for path in (tmp_path / "data" / "hot").iterdir():
        assert path.stat().st_mode & 0o777 == 0o440


@pytest.mark.parametrize("stage", [Stage.MERGED, Stage.SEALED])
def test_a_compacted_file_hides_its_inputs_and_holds_the_same_rows(tmp_path: Path, stage: Stage) -> None:
    store = open_store(tmp_path / "data")
    for at in range(10):
        store.commit(incoming(at * 100, 100))
    inputs = store.coverage().files
    if stage is Stage.SEALED:
        store._recent.clear()  # read the inputs from disk for once
    output = compact(store, inputs, stage)
    assert store.coverage().files == (output,)
    assert set(store.coverage().hidden) == set(inputs)
    assert record_ids(tmp_path / "data") == [f"r-{at}" for at in range(1000)]
    for name in inputs:
        store.remove(name)
    assert record_ids(tmp_path / "data") == [f"r-{at}" for at in range(1000)]


def test_files_of_a_release_with_fewer_columns_are_compacted_with_newer_ones(tmp_path: Path) -> None:
    """Null stands in the column that they lack."""
    root = tmp_path / "data"
    store = open_store(root)
    store.columns, store.schema = COLUMNS[:-1], parquet_schema(COLUMNS[:-1])
    store.commit(incoming(0, 3).drop_columns(["received_from"]))
    store = open_store(root)
    store.commit(incoming(3, 2, received_from="somebody"))
    compact(store, store.coverage().files, Stage.SEALED)
    open_store(root)  # recovery proves the output once more
    (file,) = list_log(root).files
    assert pq.read_table(file.path, partitioning=None)["received_from"].to_pylist() == [None] * 3 + ["somebody"] * 2


def test_a_restart_continues_after_the_last_row(tmp_path: Path) -> None:
    open_store(tmp_path / "data").commit(incoming(0, 4))
    store = open_store(tmp_path / "data")
    assert store.commit(incoming(4, 1)) == (4, 4)


class Failing(Disk):
    """A disk on which the n-th operation of one kind fails, before or after it took effect."""

    def __init__(self, operation: str, took_effect: bool) -> None:
        self._operation, self._took_effect, self.armed = operation, took_effect, False

    def _do(self, operation: str, *args: object) -> None:
        real = getattr(super(), operation)
        if self.armed and operation == self._operation:
            self.armed = False
            if self._took_effect:
                real(*args)
            raise UnwritableError(f"{operation} failed")
        real(*args)

    def write_new(self, *args: object) -> None:  # type: ignore[override]
        self._do("write_new", *args)

    def fsync_folder(self, *args: object) -> None:  # type: ignore[override]
        self._do("fsync_folder", *args)

    def publish(self, *args: object) -> None:  # type: ignore[override]
        self._do("publish", *args)

    def unlink(self, *args: object) -> None:  # type: ignore[override]
        self._do("unlink", *args)


@pytest.mark.parametrize("took_effect", [False, True])
@pytest.mark.parametrize("operation", ["write_new", "fsync_folder", "publish"])
def test_after_a_failed_commit_no_range_is_used_twice(tmp_path: Path, operation: str, took_effect: bool) -> None:
    disk = Failing(operation, took_effect)
    store = open_store(tmp_path / "data", disk)
    store.commit(incoming(0, 2))
    disk.armed = True
    with pytest.raises(UnwritableError):
        store.commit(incoming(2, 2))
    if not store.settled:
        recover(store)
    survived = store.next_index == 4
    store.commit(incoming(100, 3))
    ids = ["r-0", "r-1", *(["r-2", "r-3"] if survived else []), "r-100", "r-101", "r-102"]
    assert record_ids(tmp_path / "data") == ids
    restarted = open_store(tmp_path / "data")
    assert restarted.next_index == len(ids)
    assert not list((tmp_path / "data" / "hot").glob("*.tmp"))


def test_whatever_fails_once_a_file_has_its_name_the_range_is_not_given_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(tmp_path / "data")

    def no_memory(*_: object, **__: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(store_module, "replace", no_memory)
        with pytest.raises(MemoryError):
            store.commit(incoming(0, 2))
    with pytest.raises(UnwritableError, match="is to be read again"):
        store.commit(incoming(2, 2))
    recover(store)
    assert store.commit(incoming(2, 2)) == (2, 3)
    assert record_ids(tmp_path / "data") == [f"r-{at}" for at in range(4)]


def test_a_complete_temporary_file_is_published_and_a_torn_one_removed(tmp_path: Path) -> None:
    root = tmp_path / "data"
    store = open_store(root)
    store.commit(incoming(0, 2))
    store.commit(incoming(2, 2))
    last = sorted((root / "hot").iterdir())[-1]
    last.rename(last.with_name(last.name + ".tmp"))
    assert open_store(root).next_index == 4
    last.rename(last.with_name(last.name + ".tmp"))
    torn = last.with_name(last.name + ".tmp")
    content = torn.read_bytes()
    torn.unlink()
    torn.write_bytes(content[: len(content) // 2])
    assert open_store(root).next_index == 2
    assert not torn.exists()


def test_a_missing_file_is_a_fault_and_nothing_is_changed(tmp_path: Path) -> None:
    root = tmp_path / "data"
    store = open_store(root)
    for at in range(3):
        store.commit(incoming(at, 1))
    middle = sorted((root / "hot").iterdir())[1]
    middle.rename(tmp_path / "elsewhere.parquet")
    before = sorted(os.listdir(root / "hot"))
    with pytest.raises(ArchiveFaultError, match="rows 1-1 are missing"):
        open_store(root)
    assert sorted(os.listdir(root / "hot")) == before


def test_files_lost_from_the_end_are_noticed_by_the_high_water_mark(tmp_path: Path) -> None:
    root = tmp_path / "data"
    store = open_store(root)
    for at in range(3):
        store.commit(incoming(at, 1))
    sorted((root / "hot").iterdir())[-1].unlink()
    with pytest.raises(ArchiveFaultError, match="rows 2-2 are missing"):
        open_store(root, mark=3)


def test_a_truncated_wide_file_does_not_hide_its_inputs_for_good(tmp_path: Path) -> None:
    root = tmp_path / "data"
    store = open_store(root)
    for at in range(4):
        store.commit(incoming(at, 1))
    output = compact(store, store.coverage().files, Stage.MERGED)
    path = store.known((output,))[0].path
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[:-20])
    with pytest.raises(ArchiveFaultError, match="not a whole Parquet file"):
        open_store(root)
    assert len(list((root / "hot").glob("*.c.parquet"))) == 4


def test_a_merged_file_with_other_rows_than_its_inputs_is_found(tmp_path: Path) -> None:
    root = tmp_path / "data"
    store = open_store(root)
    for at in range(4):
        store.commit(incoming(at, 1))
    inputs = store.coverage().files
    store._recent[inputs[1]] = store._recent[inputs[1]].set_column(
        store.schema.get_field_index("action"), store.schema.field("action"), [["forged"]]
    )
    compact(store, inputs, Stage.MERGED)
    with pytest.raises(ArchiveFaultError, match="rows differ"):
        open_store(root)


def test_a_file_of_another_log_is_refused(tmp_path: Path) -> None:
    one, two = open_store(tmp_path / "one"), open_store(tmp_path / "two")
    one.commit(incoming(0, 1))
    two.commit(incoming(0, 1))
    foreign = next((tmp_path / "two" / "hot").iterdir())
    (tmp_path / "one" / "hot" / foreign.name).write_bytes(foreign.read_bytes())
    with pytest.raises(ArchiveFaultError, match="another log"):
        open_store(tmp_path / "one")
