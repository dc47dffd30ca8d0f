"""The demo tells the truth on any history, and the parts of time it draws lose nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_audit.cli.append import record_from_line
from otel_audit.cli.demo.source import find_source
from otel_audit.cli.demo.timeline import MOST_BARS, bar, boundaries, choose_unit
from otel_audit.errors import ImportSourceError
from otel_audit.log.folder import read_owner
from otel_audit.log.status import folder_status
from tests.cli.conftest import Stream, put

moments = st.datetimes(datetime(1970, 1, 1), datetime(2199, 1, 1), timezones=st.just(UTC))
SAMPLE = Path(__file__).parents[2] / "otel_audit" / "cli" / "sample.jsonl"


@given(moments, moments)
def test_the_parts_cover_the_span_without_gaps(one: datetime, other: datetime) -> None:
    """At most so many bars; the first begins at or before the first activity, the last ends after the last."""
    first, last = sorted((one, other))
    unit = choose_unit(first, last)
    edges = boundaries(unit, first, last)
    assert 1 <= len(edges) - 1 <= MOST_BARS or unit.name == "decade"
    assert edges[0] <= first
    assert edges[-2] <= last < edges[-1]
    assert all(before < after for before, after in pairwise(edges))
    assert all(unit.floor(edge) == edge for edge in edges)


@given(st.integers(0, 10**9), st.integers(1, 10**9))
def test_a_bar_fits_and_shows_whatever_is_there(value: int, most: int) -> None:
    """The largest value fills the width; a value above 0 is never invisible."""
    value = min(value, most)
    for unicode in (True, False):
        drawn = bar(value, most, 40, unicode=unicode)
        assert len(drawn) <= 40
        assert bool(drawn) == bool(value)
    assert bar(most, most, 40) == "█" * 40


def test_the_sample_is_a_history_like_a_real_one() -> None:
    """Every line is a valid record of one owner with a commit, and no id comes twice."""
    records = [record_from_line(line) for line in SAMPLE.read_bytes().splitlines()]
    assert len({record.record_id for record in records}) == len(records) > 50
    assert {record.owner_id for record in records} == {"lantern"}
    assert all(record.metadata["commit"] for record in records)
    assert {"add_file", "modify_file", "rename_file", "delete_file"} == {record.action for record in records}


def test_a_folder_without_a_history_gets_the_sample_unless_it_was_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Nothing to import here: the sample. A repository that was asked for and is not there: an error."""
    monkeypatch.chdir(tmp_path)
    assert find_source(None).repository is None
    with pytest.raises(ImportSourceError):
        find_source(tmp_path)


def demo(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "GIT_"))}
    return subprocess.run(
        [sys.executable, "-m", "otel_audit.cli.main", "demo", *words],
        cwd=folder, env=clean, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.slow
def test_the_demo_runs_without_a_repository_and_a_second_time(tmp_path: Path) -> None:
    """The sample goes in once, SQL and port agree, the collector is gone afterwards and the data is there."""
    count = len(SAMPLE.read_bytes().splitlines())
    first = demo(tmp_path)
    assert (first.returncode, first.stderr) == (0, "")
    assert f"rows in the log = activities sent = {count}" in first.stdout
    assert "every answer is equal" in first.stdout
    second = demo(tmp_path)
    assert (second.returncode, second.stderr) == (0, "")
    assert f"nothing added: the log had all {count} of them already" in second.stdout
    data = tmp_path / "demo-data"
    assert read_owner(data) is None
    assert (folder_status(data, check=True).rows, folder_status(data).faults) == (count, [])


@pytest.mark.slow
def test_the_demo_shows_a_repository_that_grew(tmp_path: Path, make_repository: Callable[[Stream], Path]) -> None:
    """Odd paths do not break the report, and of a longer history only the rest is added."""
    stream = Stream()
    stream.commit(put(b'"\\033[2Jodd\\nname"', b"1"), put(b"a", b"1"), subject=b"begin \x1b[31m")
    path = make_repository(stream)
    first = demo(tmp_path, "--repository", str(path), "--data", "kept")
    assert (first.returncode, first.stderr) == (0, "")
    assert "\x1b" not in first.stdout
    (path / "b").write_text("1")
    for words in (
        ["reset", "-q"],
        ["add", "b"],
        ["-c", "user.name=A", "-c", "user.email=a@example.com", "commit", "-qm", "more"],
    ):
        subprocess.run(["git", "-C", str(path), *words], check=True)
    second = demo(tmp_path, "--repository", str(path), "--data", "kept")
    assert second.returncode == 0
    assert "1 were new, 2 were there already: 3 rows" in second.stdout


@pytest.mark.slow
def test_a_folder_that_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    """The collector's own words come through, and nothing is written."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    done = demo(tmp_path, "--data", "mine")
    assert done.returncode == 74
    assert "the collector did not start" in done.stderr
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["letter.txt"]
