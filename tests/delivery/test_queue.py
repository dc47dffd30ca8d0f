"""The outbox in memory: its bounds, and what it frees."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from otel_audit.delivery.queue import DeliveryQueue
from otel_audit.errors import BacklogFullError, InvalidRecordError
from tests.delivery.outboxes import RESOURCE, plain, refuse, settle, taken


def queue(
    records: int = 10,
    size: int = 1000,
    stamp: Callable[[int], bytes] = lambda number: b"#%d" % number,
    *,
    holds_refused: bool = True,
) -> DeliveryQueue:
    return DeliveryQueue(
        stamp=stamp,
        mark=lambda state, last: b"",
        resource=lambda: RESOURCE,
        max_records=records,
        max_bytes=size,
        batch_records=4,
        batch_bytes=400,
        batch_delay_s=0,
        holds_refused=holds_refused,
    )


def test_bytes_are_a_bound_too() -> None:
    q = queue(size=10)
    q.put([b"123456"], 0)
    with pytest.raises(BacklogFullError):
        q.put([b"12345"], 0)
    q.put([b"1234"], 0)


@pytest.mark.parametrize("records", [[b"x"] * 4, [b"x" * 11]])
def test_what_can_never_fit_names_both_bounds(records: list[bytes]) -> None:
    with pytest.raises(InvalidRecordError, match="3 records, 10 bytes"):
        queue(records=3, size=10).put(records, 60)


def test_all_room_is_given_back_whatever_the_length_of_a_number() -> None:
    """A record is stamped only when it goes out, and what is given back is what went out."""
    q = queue(size=100, stamp=lambda number: b"#" * number)
    for number in range(1, 20):
        q.put([b"x" * 60], 0)
        settle(q, taken(q))
        assert q.state().waiting_bytes == 0, number


def test_records_that_are_sent_again_give_back_what_they_held() -> None:
    q = queue(records=2, size=100)
    q.put([b"a", b"b"], 0)
    refuse(q, taken(q))
    q.retry_refused()
    settle(q, taken(q))
    assert q.state().waiting_bytes == 0
    q.put([b"x" * 50, b"y" * 50], 0)


def test_refused_records_of_one_who_was_told_at_once_are_not_held() -> None:
    """Durability `collector`: the append itself raised."""
    q = queue(records=1, holds_refused=False)
    q.put([b"a"], 0)
    refuse(q, taken(q), "HTTP 400")
    outcome = q.outcome(1, 0)
    assert outcome is not None and (outcome.state, outcome.reason) == ("refused", "HTTP 400")
    assert (q.refusals(), q.state().refused) == ((), 0)
    q.put([b"b"], 0)
    assert taken(q).records == plain(b"b", first=2)


def test_the_stamp_is_asked_for_in_the_order_of_numbers() -> None:
    asked: list[int] = []
    q = queue(stamp=lambda number: asked.append(number) or b"")  # type: ignore[func-returns-value]
    for _ in range(6):
        q.put([b"x"], 0)
    settle(q, taken(q))
    settle(q, taken(q))
    assert asked == [1, 2, 3, 4, 5, 6]
