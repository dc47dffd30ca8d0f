"""Every path of the archive, and what a set of file names says: which files to read, what is missing, what overlaps.

Pure: names in, names out. The rules:
- a file's name is its range, both ends inclusive: `<log>-<first>-<last>`;
- only merged and sealed files supersede: one hides the files whose ranges lie inside its own; of equal ranges the
  sealed one wins;
- two commit files that overlap, or any partial overlap, are a fault; so is a hole, or an end before the high-water
  mark;
- rows that are accepted as lost are no hole.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import IntEnum

from otel_audit.model.ranges import Ranges, common, without

__all__ = ["INDEX_DIGITS", "Coverage", "FileName", "Stage", "format_name", "is_log_name", "parse_name", "resolve"]

INDEX_DIGITS = 16
_NAME = re.compile(r"([0-9a-z]{16,64})-([0-9]{16})-([0-9]{16})(\.c|\.m|)\.parquet")
_LOG = re.compile(r"[0-9a-z]{16,64}")


class Stage(IntEnum):
    """How far a file has come; a later stage wins over an earlier one of the same range."""

    COMMITTED = 0
    MERGED = 1
    SEALED = 2


_SUFFIX = {Stage.COMMITTED: ".c", Stage.MERGED: ".m", Stage.SEALED: ""}
_STAGE = {suffix: stage for stage, suffix in _SUFFIX.items()}


@dataclass(frozen=True, slots=True, order=True)
class FileName:
    """What a file's name says. Ordered by log, then range."""

    log: str
    first: int
    last: int
    stage: Stage

    @property
    def rows(self) -> int:
        """How many rows the file holds."""
        return self.last - self.first + 1

    def covers(self, other: FileName) -> bool:
        """Whether this file hides the other: range inside, and allowed to supersede it."""
        if self.log != other.log or not (self.first <= other.first and other.last <= self.last):
            return False
        same_range = (self.first, self.last) == (other.first, other.last)
        return self.stage > other.stage if same_range else self.stage > Stage.COMMITTED


def is_log_name(text: str) -> bool:
    """Whether a text can be the name of a log: 16 to 64 of `[0-9a-z]`."""
    return bool(_LOG.fullmatch(text))


def format_name(name: FileName) -> str:
    """The base name of a file."""
    return f"{name.log}-{name.first:016d}-{name.last:016d}{_SUFFIX[name.stage]}.parquet"


def parse_name(text: str) -> FileName | None:
    """The inverse of `format_name`; None for a name that is not of this archive (such a file is never touched)."""
    match = _NAME.fullmatch(text)
    if match is None or not match[0].isascii():
        return None
    name = FileName(match[1], int(match[2]), int(match[3]), _STAGE[match[4]])
    return name if name.first <= name.last else None


@dataclass(frozen=True, slots=True)
class Coverage:
    """What a set of files amounts to, for one log.

    Attributes:
        files: the maximal ones, in order; each row of the log stands in exactly one of them when there are no faults.
        hidden: superseded ones, in order.
        holes: (first, last) ranges that no file has, up to the high-water mark.
        overlaps: pairs that contradict each other.
        next_index: follows the last row, there or lost.
        lost: ranges that no file has and that are accepted as lost.
    """

    files: tuple[FileName, ...]
    hidden: tuple[FileName, ...] = ()
    holes: tuple[tuple[int, int], ...] = ()
    overlaps: tuple[tuple[FileName, FileName], ...] = ()
    next_index: int = field(default=0)
    lost: Ranges = ()

    @property
    def faultless(self) -> bool:
        """No hole and no overlap."""
        return not self.holes and not self.overlaps

    def hiding(self) -> Iterator[tuple[FileName, FileName]]:
        """Each superseded file after the one to read that hides it."""
        at = 0
        for hidden in self.hidden:
            while self.files[at].last < hidden.last:
                at += 1
            yield self.files[at], hidden


def resolve(names: Iterable[FileName], start: int = 0, mark: int = 0, lost: Ranges = ()) -> Coverage:
    """Take the maximal ranges of one log's files and say what is wrong with the rest.

    Args:
        names: of one log; any order; each name once.
        start: the first index that files must cover.
        mark: the index that follows the last one they must cover.
        lost: ranges of which nothing is expected.
    """
    maximal: list[FileName] = []
    hidden: list[FileName] = []
    overlaps: list[tuple[FileName, FileName]] = []
    around: list[FileName] = []  # files not yet passed, each inside the one before it
    # Widest first among equal starts, latest stage first among equal ranges: whoever hides a file comes before it.
    for name in sorted(names, key=lambda n: (n.first, -n.last, -n.stage)):
        while around and around[-1].last < name.first:
            around.pop()
        # The innermost file around decides, so that two commit files contradict each other under a merge as well.
        contradicted = bool(around) and not around[-1].covers(name)
        if contradicted:
            overlaps.append((around[-1], name))
        if not maximal or name.last > maximal[-1].last:
            maximal.append(name)
        elif not contradicted:
            hidden.append(name)
        around.append(name)
    holes: list[tuple[int, int]] = []
    expected = start
    for name in maximal:
        if name.first > expected:
            holes.append((expected, name.first - 1))
        expected = max(expected, name.last + 1)
    end = max(expected, mark, lost[-1][1] + 1 if lost else 0)
    if end > expected:
        holes.append((expected, end - 1))
    absent = tuple(holes)
    return Coverage(tuple(maximal), tuple(hidden), without(absent, lost), tuple(overlaps), end, common(absent, lost))
