"""Files of which the next step must not be taken for granted: outputs, what a sealed file is hidden by, the lock."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from otel_audit.archive.names import Stage
from otel_audit.disk import Disk
from otel_audit.errors import ArchiveFaultError, FolderLockedError, StorageError, UnwritableError
from otel_audit.log import compact as compact_module
from otel_audit.log import engine, folder
from otel_audit.log.compact import compact
from otel_audit.log.engine import ActivityLog
from otel_audit.log.folder import FolderLock
from otel_audit.log.recover import recover
from tests.faults.world import SETTINGS, Ledger, World
from tests.log.requests import record, request
from tests.log.rows import incoming
from tests.log.test_engine import open_log, rows
from tests.log.test_store import open_store, record_ids

# --- the output of a merge or seal ---


class Altering(Disk):
    """A disk that keeps something else than it was given, once `armed`."""

    armed = False

    def publish(self, tmp: Path, final: Path) -> None:
        if self.armed and final.name.endswith(".m.parquet"):
            content = tmp.read_bytes()
            tmp.chmod(0o640)
            tmp.write_bytes(content[:40] + bytes([content[40] ^ 1]) + content[41:])
        super().publish(tmp, final)


def test_inputs_stay_when_their_output_is_not_what_was_written(tmp_path: Path) -> None:
    disk = Altering()
    store = open_store(tmp_path / "data", disk)
    for at in range(3):
        store.commit(incoming(at, 1))
    disk.armed = True
    with pytest.raises(ArchiveFaultError, match="does not hold what was written"):
        compact(store, store.coverage().files, Stage.MERGED)
    assert not store.settled
    with pytest.raises(ArchiveFaultError):
        recover(store)
    assert len(list((tmp_path / "data" / "hot").glob("*.c.parquet"))) == 3


def test_inputs_stay_until_their_output_could_be_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_IDLE_S", 3_600.0)  # no maintenance but what is asked for below
    with ActivityLog.open(tmp_path, SETTINGS) as log:
        for at in range(3):
            log.submit(request(record(f"r{at}"))).result()
        refused: list[Path] = []

        def read_bytes(path: Path) -> bytes:
            refused.append(path)
            raise OSError(errno.EIO, "Input/output error")

        with monkeypatch.context() as patched:
            patched.setattr(Path, "read_bytes", read_bytes)
            with pytest.raises(StorageError, match="cannot be read now"):
                log.seal()
        assert [path.parent.parent.name for path in refused] == ["archive"]
        assert not log.ready
        real, proven = compact_module._prove_bytes, []
        monkeypatch.setattr(compact_module, "_prove_bytes", lambda *a: (proven.append(a), real(*a)))
        log.seal()
        assert proven
        assert log.ready
        log._maintenance.run_one()
        assert not list((tmp_path / "hot").iterdir())
        assert rows(tmp_path) == ["r0", "r1", "r2"]


def test_a_sealed_file_stays_whatever_hides_it(tmp_path: Path) -> None:
    world = World(tmp_path / "data", Disk(), Ledger())
    world.send(request(record("a")))
    world.seal()
    world.send(request(record("b")))
    store = world._stores.activity
    compact(store, store.coverage().files, Stage.MERGED)
    for _ in range(2):
        world.maintain()
    stages = {name.stage for name in store.files}
    assert stages == {Stage.MERGED, Stage.SEALED}
    assert len(list((tmp_path / "data" / "archive").rglob("*.parquet"))) == 1
    assert record_ids(tmp_path / "data") == ["a", "b"]


# --- the lock file ---


@pytest.mark.parametrize("room", [0, 10])
def test_on_a_full_disk_the_lock_file_is_an_error_that_leaves_no_lock_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    with open_log(tmp_path / "data"):
        pass
    (tmp_path / "data" / "log" / "lock").write_bytes(b"")  # as of a process that found the disk full before
    real = os.pwrite

    def full(handle: int, content: bytes, offset: int) -> int:
        if offset + len(content) > max(room, os.fstat(handle).st_size):
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(handle, content, offset)

    with monkeypatch.context() as patched:
        patched.setattr(folder.os, "pwrite", full)
        for _ in range(2):
            with pytest.raises(UnwritableError, match="No space left on device"):
                FolderLock(tmp_path / "data")
    held = FolderLock(tmp_path / "data")
    with pytest.raises(FolderLockedError):
        FolderLock(tmp_path / "data")
    held.release()
    with monkeypatch.context() as patched:
        patched.setattr(folder.os, "pwrite", full)
        with open_log(tmp_path / "data") as log:  # there is a lock file to be written over
            log.announce("http://127.0.0.1:4318")
