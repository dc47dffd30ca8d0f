"""Whatever goes wrong at whichever operation on the application's disk: no record whose append returned is lost."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.faults import spool_bed as bed
from tests.faults.append_disk import AppendDisk
from tests.faults.spool_world import Ledger, check_after
from tests.faults.test_every_fault import told

pytestmark = pytest.mark.usefixtures("quiet")

_SAMPLE = 23
_PAIRS = 5_000


def test_the_story_has_every_operation_and_every_kind_of_end(tmp_path: Path) -> None:
    """A table over operations says only something of what the story does."""
    disk, ledger = AppendDisk({}), Ledger()
    bed.Story(tmp_path / "spool", disk, ledger, synced=True).tell()
    every_kind = {"create", "append", "sync", "truncate", "write_new", "publish", "replace", "unlink", "fsync_folder"}
    assert set(disk.trace) == every_kind | {"make_folder", "remove_folder"}
    pools = {pool: [path.name for path in (tmp_path / "spool" / pool).iterdir()] for pool in ("parked", "aside")}
    assert len(pools["parked"]) == 1 and len(pools["aside"]) == 1
    assert ledger.spoilt and len(ledger.ended) == 5
    check_after(tmp_path / "spool", ledger)


def test_a_sample_of_single_faults_breaks_no_promise(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every 23rd cell of the table, so that operations and kinds of fault both take turns."""
    trace = bed.operations(tmp_path)
    cases = bed.matrix(trace)[::_SAMPLE]
    told("spool, a sample of single faults", len(cases), len(trace), bed.violations(tmp_path, cases), capsys)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_single_fault_breaks_no_promise(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The whole table: each operation × each thing that can go wrong at it."""
    trace = bed.operations(tmp_path)
    cases = bed.matrix(trace)
    told("spool, every single fault", len(cases), len(trace), bed.violations(tmp_path, cases), capsys)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_failure_and_death_breaks_no_promise_of_durability_process(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trace = bed.operations(tmp_path, synced=False)
    cases = bed.matrix(trace, power=False)
    found = bed.violations(tmp_path, cases, synced=False)
    told("spool, every failure and death, not fsynced", len(cases), len(trace), found, capsys)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_failure_or_a_death_and_a_second_fault_break_no_promise(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What one fault has left half done must survive the next: pairs drawn with a fixed seed, half of them close
    together."""
    trace = bed.operations(tmp_path)
    cases = bed.pairs(trace, random.Random(20261124), _PAIRS)
    told("spool, pairs of faults", len(cases), len(trace), bed.violations(tmp_path, cases), capsys)
