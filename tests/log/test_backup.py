"""A backup opens, holds what was acknowledged before it, copies only what is new, and refuses what it would spoil."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from otel_audit.archive.listing import list_log
from otel_audit.archive.names import Stage
from otel_audit.config import load_settings
from otel_audit.disk import Disk
from otel_audit.errors import (
    ArchiveFaultError,
    FolderLockedError,
    NotADataFolderError,
    UnwritableError,
)
from otel_audit.log import place
from otel_audit.log.backup import back_up
from otel_audit.log.engine import ActivityLog
from otel_audit.log.held import held_records
from otel_audit.log.status import folder_status
from tests.log.requests import record, request

SETTINGS = load_settings({}, min_free_bytes=0, merge_fan_in=3, input_keep_s=0.0)


def append(root: Path, first: int, last: int, *, seal: bool = False, broken: int = 0) -> None:
    """Records `first` to `last`, a commit each."""
    with ActivityLog.open(root, SETTINGS) as log:
        for at in range(first, last + 1):
            log.submit(request(record(f"r-{at}"), broken=broken, stream=("s", 2 * at + 1))).result(60)
        if seal:
            log.seal()


def ids(root: Path) -> list[str]:
    """Every record id in log order, read without the engine."""
    tables = [pq.read_table(file.path, columns=["record_id"], partitioning=None) for file in list_log(root).files]
    return [id_ for table in tables for id_ in table["record_id"].to_pylist()]


def take_over(copy: Path) -> None:
    """Say that a copy is the log from now on, as `otel-audit repair --moved` does."""
    place.claim(copy, Disk())


def expected(last: int) -> list[str]:
    return [f"r-{at}" for at in range(last + 1)]


def names(root: Path) -> set[str]:
    return {path.name for path in root.rglob("*.parquet")}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Sealed, merged and committed files, with records in quarantine and notes about a stream."""
    append(tmp_path / "data", 0, 4, seal=True, broken=1)
    append(tmp_path / "data", 5, 9)
    return tmp_path / "data"


def test_a_backup_opens_with_every_row_and_takes_the_next(data: Path, tmp_path: Path) -> None:
    report = back_up(data, tmp_path / "copy")
    assert (report.rows, report.kept, report.linked) == (10, 0, 0)
    assert ids(tmp_path / "copy") == expected(9)
    assert [one.sha256 for one in held_records(tmp_path / "copy")] == [one.sha256 for one in held_records(data)]
    assert folder_status(tmp_path / "copy", check=True).faults == []
    take_over(tmp_path / "copy")
    append(tmp_path / "copy", 9, 10)  # r-9 is a repeat there as well, though the index of ids was not copied
    assert ids(tmp_path / "copy") == expected(10)


def test_the_next_backup_copies_only_what_is_new_and_drops_what_was_superseded(data: Path, tmp_path: Path) -> None:
    back_up(data, tmp_path / "copy")
    sealed = {path: path.stat().st_ino for path in (tmp_path / "copy" / "archive").rglob("*.parquet")}
    append(data, 10, 12, seal=True)
    report = back_up(data, tmp_path / "copy")
    assert report.kept >= len(sealed)
    assert {path: path.stat().st_ino for path in sealed} == sealed
    assert ids(tmp_path / "copy") == expected(12)
    assert report.removed > 0
    assert names(tmp_path / "copy") == {file.path.name for log in (data, data / "quarantine", data / "streams")
                                        for file in list_log(log).files}  # fmt: skip
    again = back_up(data, tmp_path / "copy")
    assert (again.copied, again.removed, again.rows) == (0, 0, 13)


def test_links_take_no_room_where_the_file_system_has_them(data: Path, tmp_path: Path) -> None:
    report = back_up(data, tmp_path / "copy", link=True)
    assert (report.copied, report.copied_bytes) == (0, 0)
    assert all(path.stat().st_nlink == 2 for path in (tmp_path / "copy").rglob("*.parquet"))
    assert (tmp_path / "copy" / "log" / "log.json").stat().st_nlink == 1
    take_over(tmp_path / "copy")
    append(tmp_path / "copy", 10, 12, seal=True)
    assert ids(data) == expected(9)


def test_without_links_there_are_copies(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another file system answers EXDEV; the shared memory of Linux is one."""
    real = os.link

    def link(source: Path, target: Path) -> None:
        if "copy" not in str(source):
            raise OSError(18, "Invalid cross-device link")
        real(source, target)

    monkeypatch.setattr(os, "link", link)
    report = back_up(data, tmp_path / "copy", link=True)
    assert report.linked == 0
    assert ids(tmp_path / "copy") == expected(9)


def test_progress_tells_of_each_file_up_to_the_last(data: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    back_up(data, tmp_path / "copy", progress=lambda done, total: told.append((done, total)))
    assert [done for done, _ in told] == list(range(1, len(told) + 1))
    assert {total for _, total in told} == {len(told)}


class FailsAt(Disk):
    """A disk whose n-th change, and every later one, fails."""

    def __init__(self, at: int) -> None:
        self.left = at

    def __getattribute__(self, name: str) -> object:
        if name in {"write_new", "create", "fsync_folder", "publish", "replace", "unlink"}:
            self.left -= 1
            if self.left < 0:
                raise UnwritableError(f"the disk refuses to {name}")
        return super().__getattribute__(name)


def test_a_backup_cut_short_anywhere_leaves_the_earlier_one_usable_and_the_next_goes_on(
    data: Path, tmp_path: Path
) -> None:
    copy, at = tmp_path / "copy", 0
    back_up(data, copy)
    held = len(held_records(copy))
    append(data, 10, 14, seal=True, broken=1)
    append(data, 15, 16)
    finished = False
    while not finished:
        subprocess.run(["cp", "-a", copy, tmp_path / f"at-{at}"], check=True)
        here = tmp_path / f"at-{at}"
        try:
            back_up(data, here, disk=FailsAt(at))
            finished = True
        except UnwritableError:
            status = folder_status(here)
            assert status.faults == []
            assert 10 <= status.rows <= 17
            assert status.quarantined >= held
            take_over(here)
            with ActivityLog.open(here, SETTINGS):
                assert ids(here) in (expected(status.rows - 1), expected(16))  # or what only lacked its name
        at += 7
    assert at > 50


def test_a_first_backup_cut_short_is_no_log_and_the_next_finishes_it(data: Path, tmp_path: Path) -> None:
    for at in (3, 17, 11):
        with pytest.raises(UnwritableError):
            back_up(data, tmp_path / "copy", disk=FailsAt(at))
        assert not (tmp_path / "copy" / "log" / "log.json").exists()
    back_up(data, tmp_path / "copy")
    assert ids(tmp_path / "copy") == expected(9)
    assert not list((tmp_path / "copy").rglob("*.tmp"))


def test_a_damaged_file_is_told_and_the_rest_is_copied(data: Path, tmp_path: Path) -> None:
    victim = next(file.path for file in list_log(data).files if file.name.stage is Stage.SEALED)
    content = bytearray(victim.read_bytes())
    content[40] ^= 1
    victim.chmod(0o640)
    victim.write_bytes(content)
    with pytest.raises(ArchiveFaultError, match=victim.name):
        back_up(data, tmp_path / "copy")
    assert names(tmp_path / "copy") >= {file.path.name for file in list_log(data).files}


def test_a_copy_that_went_its_own_way_is_not_written_over(data: Path, tmp_path: Path) -> None:
    back_up(data, tmp_path / "copy")
    take_over(tmp_path / "copy")
    append(tmp_path / "copy", 100, 101)
    append(data, 10, 10)
    before = names(tmp_path / "copy")
    with pytest.raises(ArchiveFaultError):
        back_up(data, tmp_path / "copy")
    assert names(tmp_path / "copy") >= before


def test_a_folder_that_lost_its_end_does_not_spoil_the_backup_that_has_it(data: Path, tmp_path: Path) -> None:
    back_up(data, tmp_path / "early")
    append(data, 10, 12)
    back_up(data, tmp_path / "late")
    with pytest.raises(ArchiveFaultError, match="holds 3 rows more"):
        back_up(tmp_path / "early", tmp_path / "late")
    assert ids(tmp_path / "late") == expected(12)


def test_a_target_that_is_something_else_is_refused(data: Path, tmp_path: Path) -> None:
    for target in (data, data / "backup", data.parent):
        with pytest.raises(NotADataFolderError, match="does not go into"):
            back_up(data, target)
    append(tmp_path / "other", 0, 0)
    with pytest.raises(NotADataFolderError, match="another log"):
        back_up(data, tmp_path / "other")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "holiday.jpg").write_bytes(b"x")
    with pytest.raises(NotADataFolderError):
        back_up(data, tmp_path / "photos")
    assert os.listdir(tmp_path / "photos") == ["holiday.jpg"]
    with pytest.raises(NotADataFolderError):
        back_up(tmp_path / "nothing", tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_a_target_that_somebody_owns_is_refused(data: Path, tmp_path: Path) -> None:
    back_up(data, tmp_path / "copy")
    take_over(tmp_path / "copy")
    with ActivityLog.open(tmp_path / "copy", SETTINGS), pytest.raises(FolderLockedError):
        back_up(data, tmp_path / "copy")
