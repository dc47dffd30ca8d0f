"""Sets of whole numbers as ranges: in order, both ends inclusive, neither touching nor overlapping. Pure.

A stream has millions of numbers and few gaps, so nothing here ever looks at single numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

__all__ = ["Range", "Ranges", "common", "merged", "size", "without"]

Range = tuple[int, int]
Ranges = tuple[Range, ...]


def merged(ranges: Iterable[Range]) -> Ranges:
    """The numbers of all ranges together. Any order, overlaps and empty ranges (last before first) are fine."""
    found: list[Range] = []
    for first, last in sorted(ranges):
        if last < first:
            continue
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(found[-1][1], last))
        else:
            found.append((first, last))
    return tuple(found)


def without(ranges: Ranges, taken: Ranges) -> Ranges:
    """The numbers of `ranges` that are not in `taken`; both as `merged` gives them."""
    return tuple(_without(ranges, taken))


def _without(ranges: Ranges, taken: Ranges) -> Iterator[Range]:
    at = 0
    for first, last in ranges:
        while at < len(taken) and taken[at][1] < first:
            at += 1
        behind = at  # a taken range may reach into the next one as well
        while behind < len(taken) and taken[behind][0] <= last:
            if first < taken[behind][0]:
                yield first, taken[behind][0] - 1
            first = taken[behind][1] + 1
            behind += 1
        if first <= last:
            yield first, last


def common(one: Ranges, other: Ranges) -> Ranges:
    """The numbers that are in both."""
    return without(one, without(one, other))


def size(ranges: Iterable[Range]) -> int:
    """How many numbers the ranges hold."""
    return sum(last - first + 1 for first, last in ranges)
