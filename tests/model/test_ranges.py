"""Range arithmetic is set arithmetic, without the sets."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from otel_audit.model.ranges import Range, Ranges, common, merged, size, without

pairs = st.tuples(st.integers(-3, 40), st.integers(-3, 40))
any_ranges = st.lists(pairs, max_size=8)
in_order = any_ranges.map(merged)


def numbers(ranges: Iterable[Range]) -> set[int]:
    """The model: every number by itself."""
    return {number for first, last in ranges for number in range(first, last + 1)}


def in_form(ranges: Ranges) -> bool:
    """Whether ranges are in order and neither touch nor overlap."""
    return all(first <= last for first, last in ranges) and all(
        one[1] + 1 < other[0] for one, other in pairwise(ranges)
    )


@given(any_ranges)
def test_merged_ranges_hold_the_same_numbers_in_as_few_ranges_as_can_be(ranges: list[Range]) -> None:
    assert numbers(merged(ranges)) == numbers(ranges)
    assert in_form(merged(ranges))
    assert size(merged(ranges)) == len(numbers(ranges))


@given(in_order, in_order)
def test_without_is_the_difference_of_sets(ranges: Ranges, taken: Ranges) -> None:
    assert numbers(without(ranges, taken)) == numbers(ranges) - numbers(taken)
    assert in_form(without(ranges, taken))


@given(in_order, in_order)
def test_common_is_the_intersection_of_sets(one: Ranges, other: Ranges) -> None:
    assert numbers(common(one, other)) == numbers(one) & numbers(other)
    assert in_form(common(one, other))


def test_a_huge_range_costs_no_more_than_a_small_one() -> None:
    most = 2**63 - 1
    assert without(((1, most),), ((5, 5),)) == ((1, 4), (6, most))
    assert size(((1, most),)) == most
