"""The byte budget: never more held than the limit, and everything given back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_audit.collector.admission import ByteBudget
from otel_audit.errors import OverloadedError

steps = st.lists(
    st.tuples(st.integers(0, 5), st.sampled_from(["open", "resize", "cover", "close"]), st.integers(0, 2_000_000)),
    max_size=60,
)


@given(steps, st.integers(0, 3_000_000))
def test_the_holds_never_exceed_the_limit_and_add_up(plan, limit):
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
        except OverloadedError:
            pass
        assert budget.held_bytes == sum(hold.size_bytes for hold in holds.values())
        assert budget.held_bytes <= limit


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
