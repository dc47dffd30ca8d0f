"""The torture itself, three minutes with fixed seeds: nothing is lost, nothing doubled; what is planted is found."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


class Run:
    """A bed that has run. `said` is its report."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        command = [sys.executable, "-m", "tests.torture", "--folder", str(folder), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=380, check=False)
        self.code, self.said = done.returncode, done.stdout + done.stderr
        print(self.said)

    def fact(self, name: str) -> int:
        """The number that a line of the report gives; 0 without such a line."""
        found = re.search(rf"^{re.escape(name)} \.* ?(\d+)", self.said, re.MULTILINE)
        return int(found[1]) if found else 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("--seconds", "75", "--seed", "7"),
        ("--seconds", "45", "--seed", "11", "--plain"),
        ("--seconds", "30", "--seed", "23", "--durability", "process"),
        ("--seconds", "30", "--seed", "5", "--durability", "collector"),
    ],
    ids=" ".join,
)
def test_whatever_is_killed_cut_filled_or_replayed_nothing_is_lost_or_doubled(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    run = Run(tmp_path / "bed", *arguments)
    assert run.code == 0, run.said
    assert not (tmp_path / "bed").exists()
    # A bed in which little happens proves little.
    assert run.fact("records archived") > 200
    assert run.fact("producer killed -9") + run.fact("producer killed -9 with its children") > 2
    assert run.fact("collector started") > 2
    assert run.fact("old requests replayed") > 50
    assert run.fact("repeats dropped by the collector") > 100


@pytest.mark.parametrize(
    ("plant", "found"),
    [
        ("ack-before-commit", ("lost", "missing numbers")),
        ("replay-renamed", ("strangers", "numbers given twice")),
        ("replay-edited", ("in quarantine",)),
    ],
)
def test_a_planted_bug_is_found(tmp_path: Path, plant: str, found: tuple[str, ...]) -> None:
    run = Run(tmp_path / "bed", "--seconds", "8", "--seed", "9", "--plant", plant)
    assert run.code == 1, run.said
    wrong = re.findall(r"^WRONG: (.*): \d+$", run.said, re.MULTILINE)
    assert set(found) <= set(wrong)
    assert not {"false alarms", "alarms not raised", "doubled", "faults"} & set(wrong)
    assert run.fact("numbers rightly said to be missing") == run.fact("WRONG: missing numbers:")
    assert (tmp_path / "bed" / "report.txt").stat().st_size >= len(run.said) / 2


def test_the_stock_pipeline_loses_records_under_the_same_kills(tmp_path: Path) -> None:
    """What the comparison is worth: the bed reports the loss, and says that it is none of a promise's."""
    run = Run(tmp_path / "bed", "--seconds", "10", "--seed", "7", "--sender", "sdk")
    assert run.code == 0, run.said
    assert run.fact("appends returned") > run.fact("records archived") > 0
    assert run.fact("accepted, never arrived") > 0
