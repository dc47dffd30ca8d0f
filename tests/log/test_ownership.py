"""A data folder is used only by the user it belongs to, and its lock is a file of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from otel_audit.disk import Disk
from otel_audit.errors import WrongOwnerError
from otel_audit.log.engine import ActivityLog
from otel_audit.log.folder import FolderLock, open_identity, read_owner

ANOTHER = 54_321


def give_away(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make something belong to another user: really where this process may, else by taking another name for itself."""
    if os.geteuid() == 0:
        os.chown(path, ANOTHER, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: ANOTHER)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data folder that nobody owns now."""
    ActivityLog.open(tmp_path / "data").close()
    return tmp_path / "data"


def test_a_lock_that_is_a_symbolic_link_is_refused_and_what_it_points_to_left_alone(folder: Path) -> None:
    victim = folder.parent / "victim"
    victim.write_text("precious")
    (folder / "log" / "lock").unlink()
    (folder / "log" / "lock").symlink_to(victim)
    with pytest.raises(WrongOwnerError, match="log/lock"):
        FolderLock(folder)
    assert read_owner(folder) is None
    assert victim.read_text() == "precious"


def test_a_lock_that_is_no_regular_file_is_refused_without_waiting_for_anybody(folder: Path) -> None:
    (folder / "log" / "lock").unlink()
    os.mkfifo(folder / "log" / "lock")
    with pytest.raises(WrongOwnerError, match="log/lock"):
        FolderLock(folder)
    assert read_owner(folder) is None


def test_a_lock_of_another_user_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    give_away(folder / "log" / "lock", monkeypatch)
    with pytest.raises(WrongOwnerError, match="belongs to"):
        FolderLock(folder)


@pytest.mark.parametrize("part", [".", "log", "hot", "archive", "quarantine", "streams/log"])
def test_a_folder_of_another_user_is_refused_and_nothing_is_made_in_it(
    folder: Path, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sorted(folder.rglob("*"))
    give_away(folder / part, monkeypatch)
    with pytest.raises(WrongOwnerError, match="belongs to"):
        ActivityLog.open(folder)
    assert sorted(folder.rglob("*")) == before


def test_an_empty_folder_of_another_user_does_not_become_a_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").mkdir()
    give_away(tmp_path / "empty", monkeypatch)
    with pytest.raises(WrongOwnerError):
        open_identity(tmp_path / "empty", "activity", Disk(), time.time_ns)
    assert os.listdir(tmp_path / "empty") == []


def test_a_folder_of_root_is_accepted_for_root_can_do_anything_anyway(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A volume is often mounted as root's, and given to the collector by its group."""
    if os.geteuid() != 0:
        pytest.xfail("only root can make a folder of root")
    (tmp_path / "volume").mkdir()
    monkeypatch.setattr(os, "geteuid", lambda: ANOTHER)
    open_identity(tmp_path / "volume", "activity", Disk(), time.time_ns)


def test_the_command_says_whose_the_folder_is_and_what_to_do(folder: Path) -> None:
    (folder / "log" / "lock").unlink()
    (folder / "log" / "lock").symlink_to("/dev/null")
    command = [sys.executable, "-m", "otel_audit.cli.main", "collector", "--data", str(folder), "--port", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 74
    assert "log/lock" in done.stderr
    assert "Traceback" not in done.stderr
