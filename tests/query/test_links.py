"""Parts of a data folder may stand elsewhere, behind a symbolic link: they are written, read and counted alike."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from otel_audit.config import load_settings
from otel_audit.errors import StorageError
from otel_audit.log.engine import ActivityLog
from otel_audit.log.status import folder_status
from otel_audit.query.reader import DuckDBReader
from otel_audit.query.session import SqlSession
from tests.log.requests import record, request

SETTINGS = load_settings({}, min_free_bytes=0)


def append(root: Path, first: int) -> None:
    """Five numbered records, and one more that is no valid activity."""
    with ActivityLog.open(root, SETTINGS) as log:
        whole = request(*(record(f"r-{at}") for at in range(first, first + 5)), broken=1, stream=("s", first + 1))
        log.submit(whole).result(60)


def move_away(part: Path) -> None:
    """Put a folder elsewhere, with a link in its place."""
    elsewhere = Path(tempfile.mkdtemp(dir=part.parents[len(part.parts) - part.parts.index("data") - 1])) / part.name
    shutil.move(part, elsewhere)
    part.symlink_to(elsewhere)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A data folder with five sealed records, and a held one."""
    append(tmp_path / "data", 0)
    with ActivityLog.open(tmp_path / "data", SETTINGS) as log:
        log.seal()
    return tmp_path / "data"


@pytest.mark.parametrize(
    "parts",
    [
        ["."],
        ["hot", "archive", "log", "streams", "quarantine"],
        ["archive/date=*", "streams/hot", "streams/archive", "quarantine/archive/date=*"],
    ],
    ids=" ".join,
)
def test_a_part_behind_a_link_is_written_and_read_as_any_other(root: Path, parts: list[str]) -> None:
    for part in parts:
        (folder,) = root.glob(part) if part != "." else (root,)
        move_away(folder)
    append(root, 6)
    with DuckDBReader(root) as reader, SqlSession(root) as session:
        assert len(reader.search().records) == 10
        (stream,) = reader.stream_reports()
        assert (stream.archived, stream.quarantined, stream.missing) == (10, 2, ())
        assert list(session.run("SELECT count(*) FROM activity")[1]) == [(10,)]
        assert list(session.run("SELECT count(*) FROM quarantine")[1]) == [(2,)]
    status = folder_status(root, check=True)
    assert (status.rows, status.quarantined, status.faults) == (10, 2, [])


def test_a_part_that_becomes_a_link_while_a_reader_is_open_is_told(root: Path) -> None:
    with DuckDBReader(root) as reader:
        assert len(reader.search().records) == 5
        move_away(root / "archive")
        with pytest.raises(StorageError, match="symbolic link"):
            reader.search()
    with DuckDBReader(root) as reader:
        assert len(reader.search().records) == 5


def test_a_link_that_leads_nowhere_is_a_fault_and_no_empty_log(root: Path) -> None:
    move_away(root / "hot")
    os.rename((root / "hot").readlink(), root.parent / "gone")
    with pytest.raises(StorageError, match="hot"):
        ActivityLog.open(root, SETTINGS)
    with DuckDBReader(root) as reader, pytest.raises(StorageError, match="hot"):
        reader.search()
    with pytest.raises(StorageError, match="hot"):
        folder_status(root)
