"""The bounded queue: nothing is dropped, all or none, and waiting ends when it should."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_audit.delivery.parcel import Parcel
from otel_audit.delivery.queue import DeliveryQueue
from otel_audit.errors import BacklogFullError, ClosedError, InvalidRecordError, UndeliveredError


def queue(
    records: int = 10, size: int = 1000, batch: int = 4, batch_size: int = 400, delay: float = 0, numbers: bool = False
) -> DeliveryQueue:
    """`numbers`: stamp each record with its number; else with nothing, so that sizes are plain to see."""
    return DeliveryQueue(
        stamp=(lambda number: str(number).encode()) if numbers else (lambda _: b""),
        mark=lambda state, last: f"{state} {last}".encode(),
        resource=lambda: (b"resource", ""),
        max_records=records,
        max_bytes=size,
        batch_records=batch,
        batch_bytes=batch_size,
        batch_delay_s=delay,
    )


def these(*records: bytes) -> tuple[bytes, ...]:
    return records


def given_out(q: DeliveryQueue) -> Parcel:
    parcel = q.take()
    assert parcel is not None
    return parcel


def taken(q: DeliveryQueue) -> list[bytes]:
    return list(given_out(q).records)


def settle(q: DeliveryQueue, parcel: Parcel) -> None:
    q.settle(parcel, 0, len(parcel.records), None, "")


def refuse(q: DeliveryQueue, reason: str, rejected: int) -> None:
    """The next parcel is refused."""
    parcel = given_out(q)
    q.refuse(parcel, 0, len(parcel.records), reason, rejected)


# --- room ---


def test_a_full_queue_is_reported_and_what_it_holds_stays() -> None:
    q = queue(records=2)
    q.put(these(b"a", b"b"), 0)
    with pytest.raises(BacklogFullError):
        q.put(these(b"c"), 0)
    assert taken(q) == [b"a", b"b"]


def test_bytes_are_a_bound_too() -> None:
    q = queue(size=10)
    q.put(these(b"123456"), 0)
    with pytest.raises(BacklogFullError):
        q.put(these(b"12345"), 0)
    q.put(these(b"1234"), 0)


def test_many_are_taken_all_or_none() -> None:
    q = queue(records=3)
    q.put(these(b"a"), 0)
    with pytest.raises(BacklogFullError):
        q.put(these(b"b", b"c", b"d"), 0)
    assert q.state().appended == 1
    assert taken(q) == [b"a"]


def test_what_can_never_fit_is_no_backlog() -> None:
    q = queue(records=3, size=10)
    for records in ([b"x"] * 4, [b"x" * 11]):
        with pytest.raises(InvalidRecordError):
            q.put(these(*records), 60)


def test_room_is_given_back_when_the_peer_has_them_and_not_before() -> None:
    q = queue(records=1)
    q.put(these(b"a"), 0)
    parcel = given_out(q)
    with pytest.raises(BacklogFullError):
        q.put(these(b"b"), 0)
    settle(q, parcel)
    q.put(these(b"b"), 0)


def test_put_waits_for_room() -> None:
    q = queue(records=1)
    q.put(these(b"a"), 0)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(q.put, these(b"b"), 20)
        settle(q, given_out(q))
        waiting.result(20)
    assert taken(q) == [b"b"]


def test_put_gives_up_after_its_timeout() -> None:
    q = queue(records=1)
    q.put(these(b"a"), 0)
    with pytest.raises(BacklogFullError) as caught:
        q.put(these(b"b"), 0.01)
    assert caught.value.retryable


def test_on_a_running_event_loop_put_never_waits() -> None:
    q = queue(records=1)
    q.put(these(b"a"), 0)

    async def append() -> None:
        q.put(these(b"b"), 3600)

    with pytest.raises(BacklogFullError):
        asyncio.run(append())


def test_aput_waits_while_the_loop_goes_on() -> None:
    q = queue(records=1)
    q.put(these(b"a"), 0)

    async def scenario() -> None:
        waiting = [asyncio.create_task(q.aput(these(name), 20)) for name in (b"b", b"c")]
        await asyncio.sleep(0)
        for _ in range(3):
            await asyncio.to_thread(lambda: settle(q, given_out(q)))
        await asyncio.gather(*waiting)

    asyncio.run(scenario())
    assert q.state().appended == 3


def test_a_cancelled_aput_has_put_nothing() -> None:
    q = queue(records=1)
    q.put(these(b"a"), 0)

    async def scenario() -> None:
        waiting = asyncio.create_task(q.aput(these(b"b"), 20))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(scenario())
    settle(q, given_out(q))
    assert (q.state().appended, q.state().waiting) == (1, 0)


def test_aput_gives_up_after_its_timeout() -> None:
    q = queue(records=1)
    q.put(these(b"a"), 0)
    with pytest.raises(BacklogFullError):
        asyncio.run(q.aput(these(b"b"), 0.01))


# --- numbers ---


def test_numbers_have_no_gap_when_a_record_is_not_taken() -> None:
    q = queue(records=2, numbers=True)
    assert q.put(these(b"a"), 0) == 1
    for _ in range(3):
        with pytest.raises(BacklogFullError):
            q.put(these(b"b", b"c"), 0)
    assert q.put(these(b"d"), 0) == 2
    assert taken(q) == [b"a1", b"d2"]


def test_numbers_follow_the_order_of_the_queue_among_threads() -> None:
    q = queue(records=10_000, size=10**6, batch=10_000, batch_size=10**6, numbers=True)
    with ThreadPoolExecutor(4) as pool:
        for future in [pool.submit(lambda: [q.put([b""] * 3, 0) for _ in range(200)]) for _ in range(4)]:
            future.result()
    assert [int(record) for record in taken(q)] == list(range(1, 2401))


# --- batches ---


@given(st.lists(st.binary(min_size=1, max_size=30), max_size=40), st.integers(1, 7), st.integers(1, 60))
def test_batches_keep_order_and_limits_and_lose_nothing(records: list[bytes], batch: int, batch_size: int) -> None:
    q = queue(records=100, size=10_000, batch=batch, batch_size=batch_size)
    q.put(these(*records), 0)
    q.close()
    batches = []
    while (parcel := q.take()) is not None:
        found = parcel.records
        if parcel.is_marker:
            assert found == (f"closed {len(records)}".encode(),)
        else:
            assert len(found) <= batch
            assert sum(map(len, found)) <= batch_size or len(found) == 1
            batches += found
        settle(q, parcel)
    assert batches == records
    assert (q.state().waiting, q.state().waiting_bytes) == (0, 0)


def test_a_full_batch_does_not_wait_for_its_delay() -> None:
    q = queue(delay=3600)
    q.put(these(b"a", b"b", b"c", b"d"), 0)
    assert len(taken(q)) == 4


def test_a_batch_that_fills_up_goes_before_its_delay() -> None:
    q = queue(delay=3600)
    q.put(these(b"a"), 0)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(taken, q)
        q.put(these(b"b", b"c"), 0)
        q.put(these(b"d"), 0)
        assert waiting.result(20) == [b"a", b"b", b"c", b"d"]


def test_a_lone_record_goes_after_the_delay() -> None:
    q = queue(delay=0.01)
    q.put(these(b"a"), 0)
    assert taken(q) == [b"a"]


def hurrying_flush(q: DeliveryQueue) -> None:
    with pytest.raises(UndeliveredError):
        q.flush(0)


@pytest.mark.parametrize("hurry", [DeliveryQueue.close, hurrying_flush])
def test_flush_and_close_end_the_delay(hurry: Callable[[DeliveryQueue], object]) -> None:
    q = queue(delay=3600)
    q.put(these(b"a"), 0)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(taken, q)
        hurry(q)
        assert waiting.result(20) == [b"a"]


# --- flush ---


def flushing(q: DeliveryQueue, how: str, timeout_s: float | None = 20) -> None:
    if how == "flush":
        q.flush(timeout_s)
    else:
        asyncio.run(q.aflush(timeout_s))


both = pytest.mark.parametrize("how", ["flush", "aflush"])


@both
def test_flush_waits_for_what_was_appended_before_only(how: str) -> None:
    q = queue(delay=3600)
    q.put(these(b"a"), 0)

    def work() -> None:
        first = given_out(q)  # comes when the flush asks for it
        q.put(these(b"b"), 0)
        settle(q, first)

    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(work)
        flushing(q, how)
        done.result()
    assert q.state().waiting == 1


@both
def test_flush_of_an_empty_queue_returns(how: str) -> None:
    flushing(queue(), how, None)


@both
def test_flush_says_how_many_are_missing_and_why(how: str) -> None:
    q = queue()
    q.put(these(b"a", b"b"), 0)
    q.trouble = "connection refused"
    with pytest.raises(UndeliveredError, match="connection refused") as caught:
        flushing(q, how, 0.01)
    assert caught.value.count == 2


@both
def test_flush_reports_refusals_until_they_are_taken_out(how: str) -> None:
    q = queue()
    q.put(these(b"a", b"b", b"c"), 0)
    refuse(q, "HTTP 400 (nonsense)", 2)
    for _ in range(2):
        with pytest.raises(UndeliveredError, match="HTTP 400") as caught:
            flushing(q, how)
        assert caught.value.count == 2
    (refusal,) = q.take_refused()
    assert refusal.records == (b"a", b"b", b"c")
    flushing(q, how)


@both
def test_flush_ends_when_the_sender_is_stopped(how: str) -> None:
    q = queue()
    q.put(these(b"a"), 0)
    stopper = threading.Timer(0.02, q.stop)
    stopper.start()
    with pytest.raises(UndeliveredError):
        flushing(q, how, None)
    stopper.join()


# --- refused records ---


def test_refused_records_hold_their_room_until_taken_out() -> None:
    q = queue(records=2)
    q.put(these(b"a", b"b"), 0)
    refuse(q, "HTTP 401", 2)
    with pytest.raises(BacklogFullError, match="401"):
        q.put(these(b"c"), 0)
    q.take_refused()
    q.put(these(b"c", b"d"), 0)


def test_refused_records_can_be_sent_again_in_the_room_they_have() -> None:
    q = queue(records=2)
    q.put(these(b"a", b"b"), 0)
    refuse(q, "HTTP 401", 2)
    assert q.retry_refused() == 2
    with pytest.raises(BacklogFullError):
        q.put(these(b"c"), 0)
    parcel = given_out(q)
    assert parcel.records == (b"a", b"b")
    settle(q, parcel)
    q.flush(0)
    assert q.refusals() == ()


# --- the end ---


def test_a_closed_queue_takes_nothing_and_gives_out_what_it_has() -> None:
    q = queue()
    q.put(these(b"a"), 0)
    assert q.close()
    assert not q.close()
    with pytest.raises(ClosedError):
        q.put(these(b"b"), 0)
    with pytest.raises(ClosedError):
        asyncio.run(q.aput(these(b"b"), 0))
    with pytest.raises(ClosedError):
        q.retry_refused()
    assert taken(q) == [b"a"]
    end = given_out(q)
    assert (end.is_marker, end.records) == (True, (b"closed 1",))
    settle(q, end)
    assert q.take() is None


def test_closing_wakes_those_who_wait_for_room() -> None:
    q = queue(records=1)
    q.put(these(b"a"), 0)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(q.put, these(b"b"), 60)
        q.close()
        with pytest.raises(ClosedError):
            waiting.result(20)


def test_our_own_pause_is_cut_short_by_closing_but_not_the_peers() -> None:
    q = queue()
    closer = threading.Timer(0.02, q.close)
    closer.start()
    assert q.pause(time.monotonic() + 3600, cut_short=True)
    assert q.closed
    stopper = threading.Timer(0.02, q.stop)
    stopper.start()
    assert not q.pause(time.monotonic() + 1e300, cut_short=False)
