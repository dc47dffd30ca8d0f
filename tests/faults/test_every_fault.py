"""Whatever goes wrong at whichever operation on the disk: nothing acknowledged is lost, doubled or changed."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from otel_audit.archive.listing import scan_files
from otel_audit.archive.names import Stage
from otel_audit.log.streams import FOLDER as STREAMS
from tests.faults import bed
from tests.faults.disk import FaultyDisk
from tests.faults.world import Ledger

_SAMPLE = 301
_PAIRS = 1_500
_PARTS = 4
"""Of a table that takes minutes: for processes side by side, and for less to do again where one is broken."""


def told(table: str, runs: int, operations: int, found: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print(f"\n{table}: {runs} runs over {operations} operations, {len(found)} broken promises")
    assert not found, "\n".join(found)


def test_the_scenario_merges_seals_removes_and_spills(tmp_path: Path) -> None:
    """A table over operations says only something of what the scenario does."""
    root = tmp_path / "data"
    published: dict[str, set[Stage]] = {"": set(), STREAMS: set()}
    removed: set[str] = set()

    class Watched(FaultyDisk):
        def unlink(self, path: Path) -> None:
            if path.exists():
                removed.add("".join(path.suffixes[-2:]))
            super().unlink(path)

    def look(_: Path) -> None:
        for log, stages in published.items():
            if (root / log).exists():
                stages.update(name.stage for name in scan_files(root / log))

    disk = Watched({}, look)
    bed.scenario(root, disk, Ledger())
    assert all(stages == set(Stage) for stages in published.values()), published
    assert {".c.parquet", ".m.parquet", ".timed.run"} <= removed
    every_kind = {"write_new", "fsync_folder", "fsync_file", "publish", "replace", "unlink", "make_folder"}
    assert set(disk.trace) == every_kind


def test_a_sample_of_single_faults_breaks_no_promise(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every 301st cell of the table, so that operations and kinds of fault both take turns."""
    trace = bed.operations(tmp_path)
    cases = bed.matrix(trace)[::_SAMPLE]
    told("a sample of single faults", len(cases), len(trace), bed.violations(tmp_path, cases), capsys)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("part", range(_PARTS))
def test_every_single_fault_breaks_no_promise(tmp_path: Path, capsys: pytest.CaptureFixture[str], part: int) -> None:
    """The whole table: each operation × each thing that can go wrong at it."""
    trace = bed.operations(tmp_path)
    cases = bed.matrix(trace)[part::_PARTS]
    told(f"every single fault, part {part}", len(cases), len(trace), bed.violations(tmp_path, cases), capsys)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("part", range(_PARTS))
def test_a_failed_operation_and_a_second_fault_break_no_promise(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], part: int
) -> None:
    """What an error has left half done must survive the next error, kill or power loss: pairs drawn with a fixed seed,
    half of them close together."""
    trace = bed.operations(tmp_path)
    cases = bed.pairs(trace, random.Random(20261124), _PAIRS)[part::_PARTS]
    told(f"pairs of faults, part {part}", len(cases), len(trace), bed.violations(tmp_path, cases), capsys)
