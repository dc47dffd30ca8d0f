"""What to merge and what to seal next: pure decisions over the list of hot files.

Merging bounds the number of files a reader opens; sealing makes the final, compact ones. Both end at file boundaries
and neither combines two UTC days. A busy log rewrites a record at most twice (one merge, one seal): files that are
already big wait for the seal. A slow log rewrites it once per size class.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from otel_audit.archive.names import FileName, Stage

__all__ = ["HotFile", "MergeRules", "SealRules", "plan_merge", "plan_seal"]

_SIZE_CLASS_FACTOR = 16


@dataclass(frozen=True, slots=True)
class HotFile:
    """A maximal hot file: its name, UTC day of `recorded_at` and size."""

    name: FileName
    day: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class MergeRules:
    """`fan_in` commits become one file; a file of `big_rows` is left alone; beyond `most_files` smaller runs go too."""

    fan_in: int
    big_rows: int
    most_files: int


@dataclass(frozen=True, slots=True)
class SealRules:
    """How many rows or bytes make a sealed file."""

    rows: int
    size_bytes: int


def plan_merge(files: Sequence[HotFile], rules: MergeRules) -> tuple[FileName, ...]:
    """The adjacent files to merge next, or none. `files`: the maximal hot ones in log order."""
    for same_class, least in ((_commit_class, rules.fan_in), (_merged_class, max(2, rules.fan_in // 2))):
        for run in _runs(files, partial(same_class, rules=rules)):
            if len(run) >= least:
                return tuple(file.name for file in run[: 2 * least])
    if len(files) > rules.most_files:
        # Too many small classes at once (a slow log with bursts): the longest run of files that are not big goes.
        small = [run for run in _runs(files, partial(_small, rules=rules)) if len(run) >= 2]
        if small:
            return tuple(file.name for file in max(small, key=len))
    return ()


def _small(file: HotFile, rules: MergeRules) -> int | None:
    return 0 if file.name.rows < rules.big_rows else None


def _commit_class(file: HotFile, rules: MergeRules) -> int | None:
    return _small(file, rules) if file.name.stage is Stage.COMMITTED else None


def _merged_class(file: HotFile, rules: MergeRules) -> int | None:
    if file.name.stage is not Stage.MERGED or file.name.rows >= rules.big_rows:
        return None
    size_class, rows = 0, file.name.rows
    while rows >= _SIZE_CLASS_FACTOR:
        rows //= _SIZE_CLASS_FACTOR
        size_class += 1
    return size_class


def _runs(files: Sequence[HotFile], classify: Callable[[HotFile], int | None]) -> list[list[HotFile]]:
    """Adjacent files of one class and one day; files of class None, and rows that are lost, end a run."""
    runs: list[list[HotFile]] = []
    last: tuple[int, str] | None = None
    end = -1
    for file in files:
        kind = classify(file)
        key = None if kind is None else (kind, file.day)
        if key is not None:
            if key == last and file.name.first == end:
                runs[-1].append(file)
            else:
                runs.append([file])
        last, end = key, file.name.last + 1
    return runs


def plan_seal(
    files: Sequence[HotFile], rules: SealRules, today: str, *, everything: bool = False
) -> tuple[FileName, ...]:
    """The oldest hot files to seal into one, or none.

    A prefix is due when it reaches the target size, when its UTC day is over (or a file of another day follows: a clock
    that once stood in the far future must not keep the rest from being sealed), when rows after it are lost, or when
    `everything` is asked for.
    """
    if not files:
        return ()
    day = files[0].day
    taken: list[FileName] = []
    rows = size = 0
    for file in files:
        if file.day != day or (taken and file.name.first != taken[-1].last + 1):
            return tuple(taken)
        taken.append(file.name)
        rows += file.name.rows
        size += file.size_bytes
        if rows >= rules.rows or size >= rules.size_bytes:
            return tuple(taken)
    return tuple(taken) if everything or day < today else ()
