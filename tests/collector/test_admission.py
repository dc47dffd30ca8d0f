"""The byte budget: never more held than the limit, and everything given back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_audit.collector.admission import ByteBudget
from otel_audit.errors import OverloadedError

actions = st.sampled_from(["open", "resize", "cover", "decoded", "close"])
steps = st.lists(st.tuples(st.integers(0, 5), actions, st.integers(0, 2_000_000)), max_size=60)


@given(steps, st.integers(0, 3_000_000))
def test_the_holds_add_up_and_together_never_exceed_the_limit(plan, limit):
    budget = ByteBudget(limit)
    holds = {}
    for key, action, size in plan:
        try:
            if action == "open" and key not in holds:
                holds[key] = budget.hold(size)
            elif action == "close" and key in holds:
                holds.pop(key).resize(0)
            elif key in holds and action == "resize":
                holds[key].resize(size)
            elif key in holds and action == "cover":
                holds[key].cover(size)
                assert holds[key].size_bytes >= size
            elif key in holds and action == "decoded":
                holds[key].cover_decoded(size)
                assert holds[key].size_bytes >= size
        except OverloadedError:
            pass
        sizes = [hold.size_bytes for hold in holds.values()]
        assert budget.held_bytes == sum(sizes)
        assert budget.held_bytes <= limit or budget.held_bytes == max(sizes)


def test_room_that_is_there_is_given_to_the_last_byte():
    budget = ByteBudget(1000)
    first, second = budget.hold(0), budget.hold(400)
    first.cover(600)
    with pytest.raises(OverloadedError):
        first.cover(601)
    second.resize(0)
    first.cover(1000)


def test_a_hold_gives_back_when_its_request_fails():
    budget = ByteBudget(10)
    with pytest.raises(KeyError), budget.hold(10):
        raise KeyError
    assert budget.held_bytes == 0


def test_rows_that_no_other_request_leaves_room_for_are_refused_until_it_is_alone():
    budget = ByteBudget(100)
    big, other = budget.hold(50), budget.hold(1)
    with pytest.raises(OverloadedError):
        big.cover_decoded(200)
    assert big.size_bytes == 50
    other.resize(0)
    big.cover_decoded(200)
    assert budget.held_bytes == 200
    with pytest.raises(OverloadedError):
        other.cover_decoded(1)
