"""A data folder is recognised, owned by one process, and left alone when it is not ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from otel_audit.disk import Disk
from otel_audit.errors import FolderLockedError, NewerFormatError, NotADataFolderError
from otel_audit.log.folder import FolderLock, open_identity, read_owner


def make(root: Path) -> str:
    return open_identity(root, "activity", Disk(), time.time_ns).log


def test_a_log_keeps_its_name(tmp_path: Path) -> None:
    assert make(tmp_path / "data") == make(tmp_path / "data")
    assert make(tmp_path / "data") != make(tmp_path / "other")


def test_an_empty_folder_becomes_a_log_and_a_folder_with_other_things_does_not(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    make(tmp_path / "empty")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "holiday.jpg").write_bytes(b"x")
    with pytest.raises(NotADataFolderError):
        make(tmp_path / "photos")
    assert os.listdir(tmp_path / "photos") == ["holiday.jpg"]


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    make(tmp_path / "data")
    path = tmp_path / "data" / "log" / "log.json"
    facts = json.loads(path.read_bytes())
    path.chmod(0o640)
    path.write_text(json.dumps(facts | {"format_version": 2}))
    with pytest.raises(NewerFormatError, match="format 2"):
        make(tmp_path / "data")


def test_a_second_process_gets_an_error_that_names_the_first(tmp_path: Path) -> None:
    make(tmp_path / "data")
    program = (
        "import sys, pathlib; from otel_audit.log.folder import FolderLock;"
        "lock = FolderLock(pathlib.Path(sys.argv[1])); print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "data")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(FolderLockedError, match=f"process {holder.pid}"):
            FolderLock(tmp_path / "data")
        owner = read_owner(tmp_path / "data")
        assert owner is not None
        assert owner["pid"] == holder.pid
    finally:
        holder.kill()
        holder.communicate()
    FolderLock(tmp_path / "data").release()
    assert read_owner(tmp_path / "data") is None
