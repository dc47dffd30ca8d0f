"""`otel-audit repair`: what is gone is accepted by name, told for ever after, and nothing is passed over before."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from otel_audit.archive.listing import list_log
from otel_audit.config import Settings, load_settings
from otel_audit.errors import ArchiveFaultError, CopiedFolderError
from otel_audit.log.engine import ActivityLog
from otel_audit.log.status import folder_status
from otel_audit.query.reader import DuckDBReader
from otel_audit.query.session import open_session
from tests.cli.conftest import Invoke
from tests.cli.test_status import EVERY_LOSS, fill
from tests.faults.disk import spoilt
from tests.log.requests import record, request

STORAGE = 74
SETTINGS = load_settings({}, min_free_bytes=0, input_keep_s=0.0)


def accept(invoke: Invoke, root: Path, *more: str) -> str:
    done = invoke("repair", "--data", str(root), "--accept-loss", *more)
    assert done.code == 0, done
    return done.out


def damage(path: Path) -> None:
    """A disk that has lost the middle of a file: its footer is whole."""
    content = spoilt(path.read_bytes(), "hole")
    path.unlink()
    path.write_bytes(content)


@EVERY_LOSS
def test_an_accepted_loss_lets_the_log_go_on_and_is_told_for_ever(
    tmp_path: Path, invoke: Invoke, lose: Callable[[Path], None], told: str
) -> None:
    root = tmp_path / "data"
    fill(root)
    marks = json.loads((root / "log" / "floor.json").read_bytes())["logs"]
    lose(root)
    refused = invoke("repair", "--data", str(root))
    assert (refused.code, refused.out) == (STORAGE, "")
    assert told.rpartition(": ")[2] in refused.err
    accept(invoke, root)
    for round in range(2):
        done = invoke("status", "--check", "--data", str(root))
        assert done.code == 0, done
        (lost,) = json.loads(done.out)["lost"]
        assert told.endswith(f"rows {lost['first']}-{lost['last']} are missing")
        with ActivityLog.open(root, SETTINGS) as log:
            log.submit(request(record(f"after-{round}"), broken=1, stream=("t", 2 * round + 1))).result()
            log.seal()
        assert list_log(root).next_index == marks["activity"][log.name] + round + 1
    open_session(root).close()
    with DuckDBReader(root) as reader:
        assert reader.get_by_id("after-1") is not None
        reader.stream_reports()
    if ":" not in told:
        shown = invoke("gaps", "--data", str(root), "--wait", "0")
        assert f"rows {lost['first']}-{lost['last']} are accepted as lost" in shown.err


def test_lost_records_that_are_sent_again_are_new(tmp_path: Path, invoke: Invoke) -> None:
    root, spilling = tmp_path / "data", Settings({**SETTINGS, "index_run_rows": 1})
    with ActivityLog.open(root, spilling) as log:
        for at in range(4):
            log.submit(request(record(f"r-{at}"))).result()
            with log._tasks:
                log._maintenance.run_one()
    list_log(root).files[1].path.unlink()
    accept(invoke, root)
    with ActivityLog.open(root, SETTINGS) as log:
        done = [log.submit(request(record(f"r-{at}"))).result() for at in range(4)]
        assert [(one.committed, one.duplicates) for one in done] == [(0, 1), (1, 0), (0, 1), (0, 1)]
        assert done[1].first == 4


@pytest.mark.parametrize("log", ["", "quarantine", "streams"])
def test_one_damaged_page_no_longer_keeps_the_log_from_opening(tmp_path: Path, invoke: Invoke, log: str) -> None:
    root = tmp_path / "data"
    fill(root)
    first = list_log(root / log).files[0]
    damage(first.path)
    assert invoke("repair", "--data", str(root)).code == STORAGE
    assert first.path.name in accept(invoke, root)
    aside = first.path.with_name(first.path.name + ".damaged")
    assert aside.exists()
    (noted,) = (root / "log" / "lost").iterdir()
    assert json.loads(noted.read_bytes())["set_aside"] == [str(aside.relative_to(root))]
    status = folder_status(root, check=True)
    assert (status.faults, [(rows.first, rows.last) for rows in status.lost]) == ([], [(0, first.name.last)])
    with ActivityLog.open(root, SETTINGS) as opened:
        opened.seal()


def test_a_damaged_file_whose_rows_stand_elsewhere_costs_nothing(tmp_path: Path, invoke: Invoke) -> None:
    root = tmp_path / "data"
    fill(root)
    shutil.copytree(root / "hot", tmp_path / "hot")
    with ActivityLog.open(root, SETTINGS) as log:
        log.seal()
    shutil.copytree(tmp_path / "hot", root / "hot", dirs_exist_ok=True)  # as a crash before their removal leaves them
    (sealed,) = root.glob("archive/*/*.parquet")
    damage(sealed)
    accept(invoke, root)
    assert folder_status(root, check=True).lost == ()
    assert list_log(root).next_index == 3


def test_a_whole_folder_needs_no_decision(tmp_path: Path, invoke: Invoke) -> None:
    root = tmp_path / "data"
    fill(root)
    before = {path: path.read_bytes() for path in root.rglob("*.parquet")}
    assert "nothing to repair" in accept(invoke, root)
    assert {path: path.read_bytes() for path in root.rglob("*.parquet")} == before
    assert not (root / "log" / "lost").exists()


def copy(root: Path, target: Path) -> Path:
    shutil.copytree(root, target)
    return target


def test_a_copied_folder_is_not_opened_before_somebody_says_what_it_is(tmp_path: Path, invoke: Invoke) -> None:
    root = tmp_path / "data"
    fill(root)
    copied = copy(root, tmp_path / "copied")
    with pytest.raises(CopiedFolderError):
        ActivityLog.open(copied, SETTINGS)
    assert "--moved" in invoke("repair", "--data", str(copied)).err
    with DuckDBReader(copied) as reader:
        assert reader.count() == 3
    ActivityLog.open(root, SETTINGS).close()


def test_a_copy_made_of_hard_links_is_refused_too(tmp_path: Path) -> None:
    root = tmp_path / "data"
    fill(root)
    shutil.copytree(root, tmp_path / "linked", copy_function=os.link)
    with pytest.raises(CopiedFolderError):
        ActivityLog.open(tmp_path / "linked", SETTINGS)
    ActivityLog.open(root, SETTINGS).close()


def test_a_folder_that_is_only_renamed_opens(tmp_path: Path) -> None:
    root = tmp_path / "data"
    fill(root)
    root.rename(tmp_path / "elsewhere")
    ActivityLog.open(tmp_path / "elsewhere", SETTINGS).close()


def test_a_moved_folder_goes_on_under_its_name(tmp_path: Path, invoke: Invoke) -> None:
    root = tmp_path / "data"
    fill(root)
    name = folder_status(root).log
    moved = copy(root, tmp_path / "moved")
    shutil.rmtree(root)
    assert invoke("repair", "--moved", "--data", str(moved)).code == 0
    for number in (3, 4):
        with ActivityLog.open(moved, SETTINGS) as log:
            assert log.submit(request(record(f"r-{number}"))).result().first == number
            assert log.name == name


def test_a_copy_gets_a_log_of_its_own_and_keeps_the_old_rows(tmp_path: Path, invoke: Invoke) -> None:
    root = tmp_path / "data"
    fill(root)
    copied = copy(root, tmp_path / "copied")
    done = invoke("repair", "--copied", "--data", str(copied))
    assert done.code == 0, done
    for number in range(2):
        with ActivityLog.open(root, SETTINGS) as one, ActivityLog.open(copied, SETTINGS) as other:
            assert one.name != other.name
            assert one.submit(request(record(f"one-{number}"), broken=1)).result().first == 3 + number
            assert other.submit(request(record(f"other-{number}"), broken=1, stream=("u", 1))).result().first == number
            other.seal()
    status = folder_status(copied, check=True)
    assert (status.faults, status.rows, status.log) == ([], 5, other.name)
    assert invoke("status", "--check", "--data", str(copied)).code == 0
    open_session(copied).close()
    with DuckDBReader(copied) as reader:
        assert {one.record_id for one in reader.iter_records()} == {"r-0", "r-1", "r-2", "other-0", "other-1"}
    for path in copied.rglob("*.parquet"):  # what both hold has one name and one content, the rest has names of its own
        target = root / path.relative_to(copied)
        target.parent.mkdir(exist_ok=True)
        if not target.exists():
            shutil.copy(path, target)
    with DuckDBReader(root) as reader:
        assert reader.count() == 7
    with pytest.raises(ArchiveFaultError, match="another log"):
        ActivityLog.open(root, SETTINGS)


def test_a_copy_that_lost_its_end_too_takes_both_decisions_at_once(tmp_path: Path, invoke: Invoke) -> None:
    """As `cp -r` of a busy folder leaves it: a high-water mark newer than the files."""
    root = tmp_path / "data"
    fill(root)
    copied = copy(root, tmp_path / "copied")
    list_log(copied).files[-1].path.unlink()
    accept(invoke, copied, "--moved")
    with ActivityLog.open(copied, SETTINGS) as log:
        assert log.submit(request(record("r-2"))).result().first == 3
