"""`otel-audit status --check`, `gaps` and every reader say when the end of a log, or a whole one, is not there."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from otel_audit.archive.listing import list_log
from otel_audit.config import load_settings
from otel_audit.errors import ArchiveFaultError
from otel_audit.log.engine import ActivityLog
from otel_audit.query.reader import DuckDBReader
from otel_audit.query.session import open_session
from tests.cli.conftest import Invoke
from tests.log.requests import record, request

STORAGE = 74
SETTINGS = load_settings({}, min_free_bytes=0)


def fill(root: Path, seal: bool = False) -> None:
    """A stopped folder with three commits, one record in quarantine and a note of a repeat."""
    with ActivityLog.open(root, SETTINGS) as log:
        for at in range(3):
            log.submit(request(record(f"r-{at}"), stream=("s", at + 1))).result()
        log.submit(request(record("r-0"), broken=1, stream=("s", 9))).result()
        if seal:
            log.seal()


def newest(root: Path) -> Path:
    return list_log(root).files[-1].path


def without_newest(root: Path) -> None:
    newest(root).unlink()


def without_any(root: Path) -> None:
    for path in [*root.glob("hot/*.parquet"), *root.glob("archive/*/*.parquet")]:
        path.unlink()


def without_quarantine(root: Path) -> None:
    shutil.rmtree(root / "quarantine")


def without_streams(root: Path) -> None:
    shutil.rmtree(root / "streams")


def without_held(root: Path) -> None:
    without_any(root / "quarantine")


EVERY_LOSS = pytest.mark.parametrize(
    ("lose", "told"),
    [
        (without_newest, "rows 2-2 are missing"),
        (without_any, "rows 0-2 are missing"),
        (without_quarantine, "quarantine: log [a-z0-9]{16}: rows 0-0 are missing"),
        (without_streams, "streams: log [a-z0-9]{16}: rows 0-1 are missing"),
        (without_held, "quarantine: log [a-z0-9]{16}: rows 0-0 are missing"),
    ],
)


@EVERY_LOSS
def test_a_stopped_folder_that_lacks_the_end_of_a_log_is_at_fault(
    tmp_path: Path, invoke: Invoke, lose: Callable[[Path], None], told: str
) -> None:
    root = tmp_path / "data"
    fill(root)
    assert invoke("status", "--check", "--data", str(root)).code == 0
    lose(root)
    done = invoke("status", "--check", "--data", str(root))
    assert done.code == STORAGE
    assert re.search(told, done.err)


@EVERY_LOSS
def test_it_is_not_opened_and_nothing_is_made_anew(tmp_path: Path, lose: Callable[[Path], None], told: str) -> None:
    root = tmp_path / "data"
    fill(root)
    lose(root)
    before = sorted(path.relative_to(root) for path in root.rglob("*.parquet"))
    for _ in range(2):
        with pytest.raises(ArchiveFaultError, match=told.rpartition(": ")[2]):
            ActivityLog.open(root, SETTINGS)
    assert sorted(path.relative_to(root) for path in root.rglob("*.parquet")) == before


@pytest.mark.parametrize(("lose", "seal"), [(without_newest, False), (without_any, False), (without_any, True)])
def test_every_reader_compares_with_the_high_water_mark(
    tmp_path: Path, invoke: Invoke, lose: Callable[[Path], None], seal: bool
) -> None:
    root = tmp_path / "data"
    fill(root, seal)
    with DuckDBReader(root) as open_before:
        assert open_before.count() == 3
        lose(root)
        with pytest.raises(ArchiveFaultError, match="are missing"):
            open_before.count()
    with pytest.raises(ArchiveFaultError, match="are missing"):
        list_log(root)
    with DuckDBReader(root) as reader, pytest.raises(ArchiveFaultError, match="are missing"):
        reader.get_by_actor("ann")
    with pytest.raises((ArchiveFaultError, duckdb.Error), match="are missing"):
        open_session(root)
    assert invoke("gaps", "--data", str(root)).code == STORAGE


def test_gaps_compares_the_notes_about_streams_too(tmp_path: Path, invoke: Invoke) -> None:
    root = tmp_path / "data"
    fill(root)
    without_streams(root)
    assert invoke("gaps", "--data", str(root)).code == STORAGE
    with pytest.raises((ArchiveFaultError, duckdb.Error), match="are missing"):
        open_session(root)
