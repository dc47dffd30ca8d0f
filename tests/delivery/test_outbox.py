"""What both outboxes promise: nothing is dropped, all or none, and waiting ends when it should."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from otel_audit import disk as disk_module
from otel_audit.delivery.outbox import Outbox
from otel_audit.disk import Disk
from otel_audit.errors import BacklogFullError, ClosedError, InvalidRecordError, UndeliveredError
from tests.delivery.outboxes import RESOURCE, Kind, Maker, drained, plain, refuse, settle, taken
from tests.delivery.scripted_peer import until

WAIT_S = 20.0


@pytest.fixture(params=["memory", "spool"])
def make(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Maker:
    """The disk's part is tested elsewhere; here it only takes time."""
    monkeypatch.setattr(disk_module, "sync_handle", lambda handle: None)
    kind: Kind = request.param
    return Maker(kind, tmp_path / "spool", Disk())


# --- room ---


def test_a_full_outbox_is_reported_and_what_it_holds_stays(make: Maker) -> None:
    box = make(room=2)
    box.put([b"a", b"b"], 0)
    with pytest.raises(BacklogFullError) as caught:
        box.put([b"c"], 0)
    assert caught.value.retryable
    assert taken(box).records == plain(b"a", b"b")


def test_many_are_taken_all_or_none(make: Maker) -> None:
    box = make(room=3)
    box.put([b"a"], 0)
    with pytest.raises(BacklogFullError):
        box.put([b"b", b"c", b"d"], 0)
    assert box.state().appended == 1
    assert taken(box).records == plain(b"a")


def test_what_can_never_fit_is_no_backlog(make: Maker) -> None:
    with pytest.raises(InvalidRecordError, match="ever holds"):
        make(room=3).put([b"x"] * 4, 60)


def test_room_is_given_back_when_the_peer_has_them_and_not_before(make: Maker) -> None:
    box = make(room=1)
    box.put([b"a"], 0)
    parcel = taken(box)
    with pytest.raises(BacklogFullError):
        box.put([b"b"], 0)
    settle(box, parcel)
    box.put([b"b"], 0)


def test_put_waits_for_room(make: Maker) -> None:
    box = make(room=1)
    box.put([b"a"], 0)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(box.put, [b"b"], WAIT_S)
        settle(box, taken(box))
        assert waiting.result(WAIT_S) == 2
    assert taken(box).records == plain(b"b", first=2)


def test_put_gives_up_after_its_timeout(make: Maker) -> None:
    box = make(room=1)
    box.put([b"a"], 0)
    with pytest.raises(BacklogFullError):
        box.put([b"b"], 0.01)


def test_on_a_running_event_loop_put_never_waits(make: Maker) -> None:
    box = make(room=1)
    box.put([b"a"], 0)

    async def append() -> None:
        box.put([b"b"], 3600)

    with pytest.raises(BacklogFullError):
        asyncio.run(append())


def test_aput_waits_while_the_loop_goes_on(make: Maker) -> None:
    box = make(room=1)
    box.put([b"a"], 0)

    async def scenario() -> list[int]:
        waiting = [asyncio.create_task(box.aput([name], WAIT_S)) for name in (b"b", b"c")]
        await asyncio.sleep(0)
        for _ in range(3):
            await asyncio.to_thread(lambda: settle(box, taken(box)))
        return await asyncio.gather(*waiting)

    assert sorted(asyncio.run(scenario())) == [2, 3]
    assert box.state().appended == 3


def test_an_aput_that_is_cancelled_while_it_waits_has_put_nothing(make: Maker) -> None:
    box = make(room=1)
    box.put([b"a"], 0)

    async def scenario() -> None:
        waiting = asyncio.create_task(box.aput([b"b"], WAIT_S))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(scenario())
    settle(box, taken(box))
    assert (box.state().appended, box.state().waiting) == (1, 0)
    box.put([b"c"], 0)


def test_aput_gives_up_after_its_timeout(make: Maker) -> None:
    box = make(room=1)
    box.put([b"a"], 0)
    with pytest.raises(BacklogFullError):
        asyncio.run(box.aput([b"b"], 0.01))


def test_nothing_is_put_without_records(make: Maker) -> None:
    box = make()
    assert box.put([], 0) == 1
    box.put([b"a"], 0)
    assert asyncio.run(box.aput([], 0)) == 2
    assert box.state().appended == 1


# --- numbers ---


def test_put_returns_the_number_of_the_first(make: Maker) -> None:
    box = make()
    assert [box.put([b"a"], 0), box.put([b"b", b"c"], 0), asyncio.run(box.aput([b"d"], 0))] == [1, 2, 4]
    parcel = taken(box)
    assert (parcel.first, parcel.records) == (1, plain(b"a", b"b", b"c", b"d"))
    assert (parcel.resource, parcel.schema_url, parcel.is_marker) == (*RESOURCE, False)


def test_numbers_have_no_gap_when_a_record_is_not_taken(make: Maker) -> None:
    box = make(room=2)
    box.put([b"a"], 0)
    for _ in range(3):
        with pytest.raises(BacklogFullError):
            box.put([b"x", b"y"], 0)
    assert box.put([b"b"], 0) == 2
    assert taken(box).records == plain(b"a", b"b")


def test_among_threads_every_number_is_told_to_the_one_who_has_it(make: Maker) -> None:
    box = make(batch=10_000, batch_bytes=1 << 20)

    def append(name: int) -> list[tuple[int, bytes]]:
        found = []
        for at in range(50):
            records = [b"%d-%d-%d" % (name, at, part) for part in range(3)]
            found += list(enumerate(records, start=box.put(records, 0)))
        return found

    with ThreadPoolExecutor(8) as pool:
        told = sorted(pair for future in [pool.submit(append, name) for name in range(8)] for pair in future.result())
    assert [number for number, _ in told] == list(range(1, 1201))
    assert taken(box).records == plain(*(record for _, record in told))


# --- batches ---


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.binary(min_size=1, max_size=30), max_size=40), st.integers(1, 7), st.integers(1, 90))
def test_batches_keep_order_and_limits_and_lose_nothing(
    make: Maker, records: list[bytes], batch: int, batch_bytes: int
) -> None:
    box = make(batch=batch, batch_bytes=batch_bytes)
    for record in records:
        box.put([record], 0)
    box.close()
    parcels = drained(box)
    sent = [parcel for parcel in parcels if not parcel.is_marker]
    assert [record for parcel in sent for record in parcel.records] == list(plain(*records))
    numbers = [parcel.first for parcel in sent]
    assert numbers == [1 + sum(len(parcel.records) for parcel in sent[:at]) for at in range(len(sent))]
    for parcel in sent:
        unstamped = sum(len(record.rpartition(b"#")[0]) for record in parcel.records)
        assert len(parcel.records) <= batch
        assert unstamped <= batch_bytes or len(parcel.records) == 1
    assert [parcel.records for parcel in parcels if parcel.is_marker] == [(b"closed %d" % len(records),)] * bool(
        records
    )
    assert (box.state().waiting, box.state().waiting_bytes) == (0, 0)


def test_a_full_batch_does_not_wait_for_its_delay(make: Maker) -> None:
    box = make(delay_s=3600)
    box.put([b"a", b"b", b"c", b"d"], 0)
    assert len(taken(box).records) == 4


def test_a_batch_that_fills_up_goes_before_its_delay(make: Maker) -> None:
    box = make(delay_s=3600)
    box.put([b"a"], 0)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(taken, box)
        box.put([b"b", b"c"], 0)
        box.put([b"d"], 0)
        assert waiting.result(WAIT_S).records == plain(b"a", b"b", b"c", b"d")


def test_a_batch_of_full_size_goes_before_its_delay(make: Maker) -> None:
    box = make(delay_s=3600)
    box.put([bytes(400)], 0)
    assert len(taken(box).records) == 1


def test_a_lone_record_goes_after_the_delay(make: Maker) -> None:
    box = make(delay_s=0.01)
    box.put([b"a"], 0)
    assert taken(box).records == plain(b"a")


def hurrying_flush(box: Outbox) -> None:
    with pytest.raises(UndeliveredError):
        box.flush(0)


def asking(box: Outbox) -> None:
    assert box.outcome(1, 0) is None


@pytest.mark.parametrize("hurry", [Outbox.close, hurrying_flush, asking])
def test_flush_and_close_and_whoever_asks_for_a_record_end_the_delay(
    make: Maker, hurry: Callable[[Outbox], object]
) -> None:
    box = make(delay_s=3600)
    box.put([b"a"], 0)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(taken, box)
        hurry(box)
        assert waiting.result(WAIT_S).records == plain(b"a")


# --- flush ---


def flushing(box: Outbox, how: str, timeout_s: float | None = WAIT_S, *, to_the_end: bool = False) -> None:
    if how == "flush":
        box.flush(timeout_s, to_the_end=to_the_end)
    else:
        asyncio.run(box.aflush(timeout_s, to_the_end=to_the_end))


both = pytest.mark.parametrize("how", ["flush", "aflush"])


@both
def test_flush_waits_for_what_was_appended_before_only(make: Maker, how: str) -> None:
    box = make(delay_s=3600)
    box.put([b"a"], 0)

    def work() -> None:
        first = taken(box)  # comes when the flush asks for it
        box.put([b"b"], 0)
        settle(box, first)

    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(work)
        flushing(box, how)
        done.result()
    assert box.state().waiting == 1


@both
def test_flush_of_an_empty_outbox_returns(make: Maker, how: str) -> None:
    flushing(make(), how, None)


@both
def test_flush_says_how_many_are_missing_and_why(make: Maker, how: str) -> None:
    box = make()
    box.put([b"a", b"b"], 0)
    box.trouble = "connection refused"
    with pytest.raises(UndeliveredError, match="connection refused") as caught:
        flushing(box, how, 0.01)
    assert (caught.value.count, caught.value.kept) == (2, bool(box.kept))


@both
def test_flush_reports_refusals_until_they_are_taken_out(make: Maker, how: str) -> None:
    box = make()
    box.put([b"a", b"b", b"c"], 0)
    refuse(box, taken(box), "HTTP 400 (nonsense)", 2)
    for _ in range(2):
        with pytest.raises(UndeliveredError, match="HTTP 400") as caught:
            flushing(box, how)
        assert caught.value.count == 2
    (refusal,) = box.take_refused()
    assert (refusal.reason, refusal.records, refusal.rejected) == ("HTTP 400 (nonsense)", plain(b"a", b"b", b"c"), 2)
    flushing(box, how)


@both
def test_flush_ends_when_the_sender_is_stopped(make: Maker, how: str) -> None:
    box = make()
    box.put([b"a"], 0)
    stopper = threading.Timer(0.02, box.stop)
    stopper.start()
    with pytest.raises(UndeliveredError):
        flushing(box, how, None)
    stopper.join()


@both
def test_flush_to_the_end_waits_until_the_peer_knows_that_nothing_follows(make: Maker, how: str) -> None:
    box = make()
    box.put([b"a"], 0)
    box.close()
    settle(box, taken(box))
    flushing(box, how)
    ended = threading.Event()

    def work() -> None:
        parcel = taken(box)
        assert parcel.is_marker
        ended.set()
        settle(box, parcel)
        assert box.take() is None

    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(work)
        flushing(box, how, to_the_end=True)
        assert ended.is_set()
        done.result()


# --- refused records ---


def test_refused_records_hold_their_room_until_taken_out(make: Maker) -> None:
    box = make(room=2)
    box.put([b"a", b"b"], 0)
    refuse(box, taken(box), "HTTP 401")
    with pytest.raises(BacklogFullError, match="401"):
        box.put([b"c"], 0)
    box.take_refused()
    assert box.put([b"c", b"d"], WAIT_S) == 3


@pytest.mark.parametrize("make", ["spool"], indirect=True)
def test_a_full_spool_says_who_fills_it(make: Maker) -> None:
    box, other = make(room=15), make(room=15)
    box.put([b"a"], 0)
    refuse(box, taken(box), "HTTP 401")
    other.put([b"b"], 0)
    other.let_go()
    with pytest.raises(BacklogFullError, match=r"\(\d{3,4} of this process, \d{3} in streams of others, \d{3} refused"):
        for _ in range(15):
            box.put([b"c"], 0.5)  # others are counted again while it waits


def test_refused_records_can_be_sent_again_in_the_room_they_have(make: Maker) -> None:
    box = make(room=2)
    box.put([b"a", b"b"], 0)
    refuse(box, taken(box), "HTTP 401")
    assert box.retry_refused() == 2
    with pytest.raises(BacklogFullError):
        box.put([b"c"], 0)
    assert box.state().waiting == 2
    parcel = settle(box, taken(box))
    assert (parcel.records, parcel.first) == (plain(b"a", b"b"), 0)
    box.flush(0)
    assert box.refusals() == ()
    assert (box.state().delivered, box.state().refused) == (2, 0)


def test_a_flush_waits_for_records_that_are_sent_again(make: Maker) -> None:
    box = make()
    box.put([b"a"], 0)
    refuse(box, taken(box))
    box.retry_refused()
    with pytest.raises(UndeliveredError) as caught:
        box.flush(0.01)
    assert caught.value.count == 1
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(box.flush, WAIT_S)
        settle(box, taken(box))
        waiting.result(WAIT_S)


def test_records_that_are_refused_once_more_are_held_once_more(make: Maker) -> None:
    box = make()
    box.put([b"a", b"b"], 0)
    refuse(box, taken(box), "HTTP 401")
    box.retry_refused()
    refuse(box, taken(box), "HTTP 403", 1)
    (refusal,) = box.refusals()
    assert (refusal.reason, refusal.records, refusal.rejected) == ("HTTP 403", plain(b"a", b"b"), 1)
    assert box.state().refused == 1
    assert box.retry_refused() == 2


def test_a_parcel_may_be_settled_part_by_part(make: Maker) -> None:
    """Halved, because it was too large for the peer; of which it takes some and refuses some."""
    box = make()
    box.put([b"a", b"b", b"c", b"d"], 0)
    parcel = taken(box)
    box.settle(parcel, 0, 2, None, "")
    assert box.state().waiting == 2
    box.refuse(parcel, 2, 3, "HTTP 413", 1)
    box.settle(parcel, 3, 4, None, "")
    assert (box.state().waiting, box.state().delivered, box.state().refused) == (0, 3, 1)
    (refusal,) = box.refusals()
    assert refusal.records == plain(b"c", first=3)


# --- how it went with one record ---


def test_each_record_knows_who_has_it_and_where(make: Maker) -> None:
    box = make(batch=2)
    box.put([b"a", b"b"], 0)
    box.put([b"c"], 0)
    box.put([b"d"], 0)
    settle(box, taken(box), "log-1", "42:n2")
    refuse(box, taken(box), "HTTP 400")
    outcomes = [box.outcome(number, 0) for number in (1, 2, 3, 4)]
    assert [(each.state, each.log, each.reason) for each in outcomes if each] == [
        ("acknowledged", "log-1", ""),
        ("acknowledged", "log-1", ""),
        ("refused", None, "HTTP 400"),
        ("refused", None, "HTTP 400"),
    ]
    assert [each.log_index(number) for number, each in enumerate(outcomes, start=1) if each] == [42, 43, None, None]
    assert box.is_settled(4) and not box.is_settled(5)


def test_a_record_that_another_peer_has_is_forwarded(make: Maker) -> None:
    box = make()
    box.put([b"a"], 0)
    settle(box, taken(box))
    outcome = asyncio.run(box.aoutcome(1, 0))
    assert outcome is not None and (outcome.state, outcome.log_index(1)) == ("forwarded", None)


def test_whoever_asks_for_a_record_waits_for_it_and_for_nothing_else(make: Maker) -> None:
    box = make(batch=1)
    box.put([b"a", b"b"], 0)
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(box.outcome, 1, WAIT_S), pool.submit(lambda: asyncio.run(box.aoutcome(1, WAIT_S)))]
        settle(box, taken(box))
        assert [future.result(WAIT_S).state for future in waiting] == ["forwarded"] * 2
    assert box.outcome(2, 0.01) is None


def test_a_stopped_sender_leaves_nobody_waiting_for_a_record(make: Maker) -> None:
    box = make()
    box.put([b"a"], 0)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(box.outcome, 1, None)
        box.stop()
        assert waiting.result(WAIT_S) is None


# --- the stream's own words ---


def test_now_and_then_it_says_how_far_it_is(make: Maker) -> None:
    box = make(heartbeat_s=0.01)
    box.put([b"a", b"b"], 0)
    settle(box, taken(box))
    parcel = settle(box, taken(box))
    assert (parcel.is_marker, parcel.first, parcel.records, parcel.resource) == (True, 0, (b"open 2",), RESOURCE[0])
    assert box.state().delivered == 2


def test_before_the_first_record_there_is_nothing_to_say(make: Maker) -> None:
    box = make(heartbeat_s=0.001)
    time.sleep(0.002)
    stopper = threading.Timer(0.05, box.stop)
    stopper.start()
    assert box.take() is None
    stopper.join()


def test_the_last_word_is_how_many_there_were(make: Maker) -> None:
    box = make(heartbeat_s=0.001)
    box.put([b"a", b"b"], 0)
    box.close()
    assert [(parcel.is_marker, parcel.records) for parcel in drained(box)] == [
        (False, plain(b"a", b"b")),
        (True, (b"closed 2",)),
    ]


def test_a_word_that_the_peer_refuses_is_let_go(make: Maker) -> None:
    box = make()
    box.put([b"a"], 0)
    box.close()
    settle(box, taken(box))
    refuse(box, taken(box))
    assert box.take() is None
    box.flush(0, to_the_end=True)
    assert box.refusals() == ()


# --- the end ---


def test_a_closed_outbox_takes_nothing_and_gives_out_what_it_has(make: Maker) -> None:
    box = make()
    box.put([b"a"], 0)
    assert box.close()
    assert not box.close()
    with pytest.raises(ClosedError):
        box.put([b"b"], 0)
    with pytest.raises(ClosedError):
        asyncio.run(box.aput([b"b"], 0))
    with pytest.raises(ClosedError):
        box.retry_refused()
    assert settle(box, taken(box)).records == plain(b"a")
    assert settle(box, taken(box)).is_marker
    assert box.take() is None


def test_an_empty_outbox_ends_at_once(make: Maker) -> None:
    box = make()
    box.close()
    assert box.take() is None
    box.flush(0, to_the_end=True)


def test_closing_sends_what_is_to_be_sent_again(make: Maker) -> None:
    box = make()
    box.put([b"a"], 0)
    refuse(box, taken(box))
    box.retry_refused()
    box.close()
    assert {parcel.records for parcel in drained(box)} == {plain(b"a"), (b"closed 1",)}
    box.flush(0, to_the_end=True)


def test_closing_wakes_those_who_wait_for_room(make: Maker) -> None:
    box = make(room=1)
    box.put([b"a"], 0)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(box.put, [b"b"], 60)
        box.close()
        with pytest.raises(ClosedError):
            waiting.result(WAIT_S)


def test_closing_wakes_a_sender_that_waits(make: Maker) -> None:
    box = make(delay_s=3600)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(box.take)
        box.close()
        assert waiting.result(WAIT_S) is None


def test_a_pause_is_cut_short_by_closing_once_and_by_stopping_for_good(make: Maker) -> None:
    box = make()
    closer = threading.Timer(0.02, box.close)
    closer.start()
    assert box.pause(time.monotonic() + 3600, soonest_s=time.monotonic())
    assert box.closed
    stopper = threading.Timer(0.02, box.stop)
    stopper.start()
    assert not box.pause(time.monotonic() + 1e300, soonest_s=time.monotonic())


def test_a_pause_is_shorter_while_somebody_waits_for_delivery(make: Maker) -> None:
    box = make()
    box.put([b"x"], 0)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(box.pause, time.monotonic() + 3600, hurried_s=time.monotonic() + 0.05)
        with pytest.raises(UndeliveredError):
            box.flush(0.01)
        assert waiting.result(WAIT_S)


def test_whoever_begins_to_wait_cuts_a_pause_short_once(make: Maker) -> None:
    box = make()
    box.put([b"x"], 0)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(box.pause, time.monotonic() + 3600, soonest_s=time.monotonic())
        until(lambda: box._pausing)
        with pytest.raises(UndeliveredError):
            box.flush(0.01)
        assert waiting.result(WAIT_S)
        again = pool.submit(box.pause, time.monotonic() + 3600, soonest_s=time.monotonic())
        until(lambda: box._pausing)
        box.stop()
        assert not again.result(WAIT_S)
