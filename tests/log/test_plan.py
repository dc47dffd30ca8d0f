"""What is merged and sealed next: never a hole, never two days, never many files."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from otel_audit.archive.names import FileName, Stage, resolve
from otel_audit.log.plan import HotFile, MergeRules, SealRules, plan_merge, plan_seal

LOG = "a" * 16
MERGE = MergeRules(fan_in=32, big_rows=65_536, most_files=56)
SEAL = SealRules(rows=1_000_000, size_bytes=1 << 40)


def simulate(sizes: list[tuple[int, str]], merge: MergeRules = MERGE) -> tuple[list[HotFile], dict[int, int], int]:
    """Commit files one by one, merging whenever a merge is due: (files left, rewrites per first index, most files)."""
    files: list[HotFile] = []
    rewrites: dict[int, int] = {}
    most = first = 0
    for rows, day in sizes:
        files.append(HotFile(FileName(LOG, first, first + rows - 1, Stage.COMMITTED), day, rows * 100))
        rewrites[first] = 0
        first += rows
        while inputs := plan_merge(files, merge):
            chosen = [file for file in files if file.name in inputs]
            assert len({file.day for file in chosen}) == 1
            start = files.index(chosen[0])
            assert files[start : start + len(chosen)] == chosen
            merged = FileName(LOG, chosen[0].name.first, chosen[-1].name.last, Stage.MERGED)
            files[start : start + len(chosen)] = [HotFile(merged, chosen[0].day, 0)]
            for index in rewrites:
                rewrites[index] += merged.first <= index <= merged.last
        most = max(most, len(files))
    return files, rewrites, most


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 200_000), min_size=1, max_size=300), st.integers(1, 50))
def test_merging_keeps_every_range_and_few_files(sizes: list[int], per_day: int) -> None:
    dated = [(rows, f"2026-01-{1 + at // (per_day * 50):02}") for at, rows in enumerate(sizes)]
    small_only = [(min(rows, 2_000), day) for rows, day in dated]
    files, _, _ = simulate(dated)
    assert resolve(file.name for file in files).faultless
    assert resolve(file.name for file in files).next_index == sum(sizes)
    days = len({day for _, day in small_only})
    _, _, most = simulate(small_only)
    assert most <= 64 + 2 * days


def test_a_slow_log_of_single_rows_stays_below_64_files() -> None:
    _, rewrites, most = simulate([(1, "2026-01-01")] * 6_000)
    assert most <= 64
    assert max(rewrites.values()) <= 4


def test_a_busy_log_merges_a_record_once() -> None:
    _, rewrites, most = simulate([(2_500, "2026-01-01")] * 400)
    assert max(rewrites.values()) == 1
    assert most <= 64


def test_big_commits_are_not_merged() -> None:
    _, rewrites, _ = simulate([(65_536, "2026-01-01")] * 50)
    assert max(rewrites.values()) == 0


def files_of(*sizes: tuple[int, str]) -> list[HotFile]:
    result, first = [], 0
    for rows, day in sizes:
        result.append(HotFile(FileName(LOG, first, first + rows - 1, Stage.COMMITTED), day, rows * 100))
        first += rows
    return result


def test_a_prefix_is_sealed_at_the_target_size_and_not_before() -> None:
    files = files_of((400_000, "d1"), (400_000, "d1"), (400_000, "d1"), (5, "d1"))
    assert plan_seal(files, SEAL, "d1") == tuple(file.name for file in files[:3])
    assert plan_seal(files[3:], SEAL, "d1") == ()


def test_a_day_that_is_over_is_sealed_by_itself() -> None:
    files = files_of((5, "d1"), (5, "d1"), (5, "d2"))
    assert plan_seal(files, SEAL, "d2") == tuple(file.name for file in files[:2])
    assert plan_seal(files[2:], SEAL, "d2") == ()
    assert plan_seal(files[2:], SEAL, "d2", everything=True) == (files[2].name,)


def test_a_clock_that_steps_back_seals_nothing_early() -> None:
    assert plan_seal(files_of((5, "d2")), SEAL, "d1") == ()
