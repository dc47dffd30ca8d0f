"""Names of archive files, and what a set of them says about a log."""

import re
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from otel_audit.archive.names import FileName, Stage, format_name, is_log_name, parse_name, resolve

LOG = "a" * 16
logs = st.text("0123456789abcdefghijklmnopqrstuvwxyz", min_size=16, max_size=64)
indexes = st.integers(0, 10**16 - 1)


@given(logs, indexes, indexes, st.sampled_from(Stage))
def test_a_name_comes_back_from_its_text(log, one, other, stage):
    name = FileName(log, min(one, other), max(one, other), stage)
    assert parse_name(format_name(name)) == name
    assert name.rows == name.last - name.first + 1


@given(st.text(max_size=80))
def test_any_text_gives_a_name_or_none(text):
    name = parse_name(text)
    assert name is None or format_name(name) == text


GOOD = format_name(FileName(LOG, 0, 9, Stage.COMMITTED))


@pytest.mark.parametrize(
    "text",
    [
        "",
        GOOD + "\n",
        GOOD + ".tmp",
        GOOD.upper(),
        GOOD.replace(".c.", ".x."),
        GOOD.replace(".c.", "."  * 2),
        GOOD.replace("-", "_"),
        f"{'a' * 15}-{0:016d}-{9:016d}.parquet",
        f"{'a' * 65}-{0:016d}-{9:016d}.parquet",
        f"{LOG}-{9:016d}-{0:016d}.parquet",
        f"{LOG}-{0:017d}-{9:017d}.parquet",
        f"{LOG}-{'٠' * 16}-{9:016d}.parquet",
        "../" + GOOD,
    ],
)  # fmt: skip
def test_other_names_are_not_ours(text):
    assert parse_name(text) is None


@given(st.text(max_size=70))
def test_a_log_name_is_16_to_64_of_its_alphabet(text):
    assert is_log_name(text) == bool(re.fullmatch("[0-9a-z]{16,64}", text))


@st.composite
def histories(draw):
    """Files as a log makes them: commits side by side, cascades of merges over them, a sealed prefix, leftovers.

    Gives (files on disk, rows of the log). Inputs of a merge or seal may still be there or not.
    """
    sizes = draw(st.lists(st.integers(1, 5), min_size=1, max_size=25))
    living, first = [], 0
    for size in sizes:
        living.append(FileName(LOG, first, first + size - 1, Stage.COMMITTED))
        first += size
    disk = set(living)
    for _ in range(draw(st.integers(0, 4))):
        if len(living) < 2:
            break
        start = draw(st.integers(0, len(living) - 2))
        end = draw(st.integers(start + 2, len(living)))
        if any(name.stage is Stage.SEALED for name in living[start:end]):
            continue
        merged = FileName(LOG, living[start].first, living[end - 1].last, Stage.MERGED)
        replaced, living[start:end] = living[start:end], [merged]
        disk.add(merged)
        disk -= {name for name in replaced if draw(st.booleans())}
    if draw(st.booleans()):
        end = draw(st.integers(1, len(living)))
        sealed = FileName(LOG, 0, living[end - 1].last, Stage.SEALED)
        replaced, living[:end] = living[:end], [sealed]
        disk.add(sealed)
        disk -= {name for name in replaced if draw(st.booleans())}
    return draw(st.permutations(sorted(disk))), first


def rows_of(files):
    return [row for name in files for row in range(name.first, name.last + 1)]


@given(histories())
def test_merging_and_sealing_neither_lose_nor_double_a_row(history):
    """Whatever was merged and sealed, and whichever inputs are still there: each row stands in one file to read."""
    disk, rows = history
    coverage = resolve(disk)
    assert coverage.faultless
    assert rows_of(coverage.files) == list(range(rows))
    assert coverage.next_index == rows
    assert sorted([*coverage.files, *coverage.hidden]) == sorted(disk)


@given(histories(), st.data())
def test_a_missing_file_is_a_hole_of_its_range(history, data):
    """Unless it is the last one, whose absence names alone cannot show."""
    disk, rows = history
    files = resolve(disk).files
    assume(len(files) > 1)
    lost = data.draw(st.sampled_from(files[:-1]))
    left = [name for name in disk if not lost.covers(name) and name != lost]
    coverage = resolve(left)
    assert coverage.holes == ((lost.first, lost.last),)
    assert not coverage.overlaps
    assert rows_of(coverage.files) == [row for row in range(rows) if not lost.first <= row <= lost.last]


@given(histories(), st.data())
def test_a_file_that_cuts_across_others_is_an_overlap(history, data):
    """Whatever its stage: it begins inside one file and ends inside the next."""
    disk, _ = history
    wide = [pair for pair in pairwise(resolve(disk).files) if min(name.rows for name in pair) > 1]
    assume(wide)
    left, right = data.draw(st.sampled_from(wide))
    planted = FileName(LOG, left.first + 1, right.last - 1, data.draw(st.sampled_from(Stage)))
    coverage = resolve([*disk, planted])
    assert not coverage.faultless
    assert any(planted in pair for pair in coverage.overlaps)
    assert planted not in coverage.hidden


@given(histories(), st.data())
def test_two_commit_files_with_a_row_in_common_are_an_overlap(history, data):
    """Under a merge as well: a published range was used twice, and somebody has to look."""
    disk, rows = history
    commits = [name for name in disk if name.stage is Stage.COMMITTED]
    assume(commits)
    known = data.draw(st.sampled_from(commits))
    first = data.draw(st.integers(max(0, known.first - 3), known.last))
    last = data.draw(st.integers(max(first, known.first), min(rows - 1, known.last + 3)))
    planted = FileName(LOG, first, last, Stage.COMMITTED)
    assume(planted != known and planted not in disk)
    coverage = resolve([*disk, planted])
    assert coverage.overlaps
    assert any(planted in pair for pair in coverage.overlaps)


@pytest.mark.parametrize("stage", [Stage.MERGED, Stage.COMMITTED])
def test_of_equal_ranges_the_later_stage_is_read(stage):
    early, late = FileName(LOG, 0, 9, stage), FileName(LOG, 0, 9, Stage.SEALED)
    assert resolve([early, late]).files == (late,)
    assert resolve([early, late]).hidden == (early,)


def test_a_wider_commit_file_hides_nothing():
    """Only merged and sealed files supersede."""
    wide, inner = FileName(LOG, 0, 9, Stage.COMMITTED), FileName(LOG, 3, 5, Stage.SEALED)
    coverage = resolve([wide, inner])
    assert coverage.overlaps == ((wide, inner),)
    assert inner not in coverage.hidden


def test_files_of_another_log_are_never_covered():
    assert not FileName(LOG, 0, 9, Stage.SEALED).covers(FileName("b" * 16, 1, 2, Stage.COMMITTED))


def test_an_empty_set_of_files_is_an_empty_log():
    assert resolve([]).faultless
    assert resolve([]).next_index == 0
    assert resolve([], start=7).next_index == 7


def test_rows_before_the_start_need_no_file():
    late = FileName(LOG, 7, 9, Stage.SEALED)
    assert resolve([late], start=7).faultless
    assert resolve([late]).holes == ((0, 6),)
