"""DuckDB's temporary files: private, unpredictable, and gone when nobody needs them."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from otel_audit.query.reader import DuckDBReader
from otel_audit.query.scratch import Scratch
from otel_audit.query.session import SqlSession
from tests.query.folder import record, write


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files go."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.mark.parametrize("opened", [DuckDBReader, SqlSession])
def test_what_spills_goes_into_a_private_folder_that_is_removed(
    tmp_path: Path, temporary: Path, opened: Callable[[Path], Any]
) -> None:
    data = tmp_path / "data"
    write(data, 0, [record(1)])
    before = os.umask(0)
    try:
        with opened(data) as reader:
            (folder,) = temporary.iterdir()
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
            assert str(os.getpid()) != folder.name.rpartition("-")[2]
            connection = reader._engine._root if opened is DuckDBReader else reader._connection
            row = connection.execute("SELECT current_setting('temp_directory')").fetchone()
            assert row == (str(folder),)
    finally:
        os.umask(before)
    assert list(temporary.iterdir()) == []


def test_a_folder_that_somebody_made_before_is_not_used(tmp_path: Path, temporary: Path) -> None:
    planted = temporary / f"otel-audit-query-{os.getpid()}"
    planted.mkdir(mode=0o777)
    scratch = Scratch()
    assert scratch.path != planted
    scratch.close()
    assert list(temporary.iterdir()) == [planted]


def test_the_folder_of_a_killed_process_is_removed_by_the_next_one_and_that_of_a_living_one_is_not(
    temporary: Path,
) -> None:
    code = "from otel_audit.query.scratch import Scratch; kept = Scratch(); print(kept.path, flush=True); input()"
    other = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(temporary)},
    )
    assert other.stdout is not None
    theirs = Path(other.stdout.readline().strip())
    Scratch().close()
    assert theirs.is_dir()
    (theirs / "spilled").write_bytes(b"rows")
    other.send_signal(signal.SIGKILL)
    other.communicate()
    assert theirs.is_dir()
    Scratch().close()
    assert not theirs.exists()


def test_a_forked_child_leaves_its_parents_folder_alone(temporary: Path) -> None:
    scratch = Scratch()
    if (child := os.fork()) == 0:
        scratch.close()
        os._exit(0)
    os.waitpid(child, 0)
    assert scratch.path.is_dir()
    scratch.close()
    assert not scratch.path.exists()
