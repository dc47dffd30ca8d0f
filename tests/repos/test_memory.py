"""What the in-memory repo offers beyond the contract: `records`, `quarantined`, receipts with a place."""

import threading
from datetime import UTC, datetime, timedelta

import pytest

from otel_audit import ActivityRecord, EntityRef, Filter, InMemoryActivityLogRepo, LogPosition, Receipt
from otel_audit.errors import ClosedError, HookError, InvalidRecordError

START = datetime(2026, 1, 1, tzinfo=UTC)


def made(minute=0, **fields):
    values = {"actor_id": "a", "owner_id": "o", "action": "do", "entity_ref": EntityRef("T", 1)} | fields
    return ActivityRecord.create(occurred_at=START + timedelta(minutes=minute), **values)


@pytest.fixture
def log():
    return InMemoryActivityLogRepo()


def test_records_stand_in_the_order_they_were_appended(log):
    records = [made(3), made(1), made(2)]
    log.append_many(records)
    assert log.records == tuple(records)
    assert len(log.records) == 3


def test_every_append_is_acknowledged_with_its_place(log):
    first, second = made(1), made(0)
    receipts = log.append_many([first, second, first])
    assert receipts == [
        Receipt(first.record_id, "acknowledged", "memory0000000000", 0),
        Receipt(second.record_id, "acknowledged", "memory0000000000", 1),
        Receipt(first.record_id, "acknowledged", "memory0000000000", 0),
    ]
    assert log.search(after=LogPosition("memory0000000000", 0)).records == (second,)


def test_a_conflict_is_quarantined_and_has_no_place(log):
    record = made(metadata={"n": 1})
    other = record.replace(metadata={"n": 1.0})
    log.append(record)
    assert log.append(other) == Receipt(record.record_id, "acknowledged")
    assert log.records == (record,)
    assert log.quarantined == (other,)
    assert type(log.quarantined[0].metadata["n"]) is float


def test_changing_what_records_gave_changes_nothing(log):
    record = made(metadata={"a": [1]})
    log.append(record)
    log.append(record.replace(metadata={"b": [1]}))
    log.records[0].metadata["a"].append(2)
    log.quarantined[0].metadata.clear()
    assert log.records[0].metadata == {"a": [1]}
    assert log.quarantined[0].metadata == {"b": [1]}


def test_an_after_hook_cannot_change_the_log():
    class Spoils:
        def after_append(self, event):
            event.record.metadata.clear()

    log = InMemoryActivityLogRepo(hooks=[Spoils()])
    log.append(made(metadata={"a": 1}))
    assert log.records[0].metadata == {"a": 1}
    assert log.after_failures == 0


def test_metadata_spoilt_after_the_record_was_made_is_refused(log):
    """The check is made again at the append, and nothing of the batch is stored."""
    record = made()
    record.metadata["a"] = {1, 2}
    with pytest.raises(InvalidRecordError, match=r"metadata\.a"):
        log.append_many([made(), record])
    assert log.records == ()


@pytest.mark.parametrize("record", [None, "text", {"action": "do"}])
def test_what_is_no_record_is_refused(log, record):
    with pytest.raises(InvalidRecordError, match="ActivityRecord"):
        log.append(record)


def test_failures_of_after_hooks_are_counted():
    class Fails:
        def after_append(self, event):
            raise RuntimeError

    log = InMemoryActivityLogRepo(hooks=[Fails()])
    log.append_many([made(), made()])
    assert log.after_failures == 2


def test_a_hook_error_leaves_the_log_usable():
    refuse = [True]
    log = InMemoryActivityLogRepo(hooks=[lambda record: None if refuse[0] else record])
    with pytest.raises(HookError):
        log.append(made())
    refuse[0] = False
    log.append(made())
    assert len(log.records) == 1


def test_a_hook_may_append_to_the_log_itself():
    """Hooks run outside the lock."""
    other = made(1, action="hook")

    class Follows:
        def after_append(self, event):
            if event.record.action != "hook":
                log.append(other)

    log = InMemoryActivityLogRepo(hooks=[Follows()])
    log.append(made())
    assert [record.action for record in log.records] == ["do", "hook"]


def test_a_closed_log_can_still_be_looked_at(log):
    """A test may ask what was logged after the application has shut down."""
    log.append(made())
    log.close()
    assert len(log.records) == 1
    assert log.quarantined == ()
    with pytest.raises(ClosedError):
        log.search()


def test_streams_of_many_records_come_in_batches_without_a_seam(log):
    """More than one batch of 5,000, with equal times across the seam, in both orders and in log order."""
    records = [made(minute // 3_000) for minute in range(5_500)]
    log.append_many(reversed(records))
    ordered = sorted(records, key=lambda record: record.order_key)
    assert list(log.iter_records()) == ordered
    assert list(log.iter_records(order="desc")) == ordered[::-1]
    assert list(log.iter_records(after=LogPosition())) == records[::-1]


def test_a_stream_goes_on_while_records_arrive(log):
    log.append_many(made(minute) for minute in range(5_000))
    stream = log.iter_records()
    seen = [next(stream)]
    log.append(made(9_999, action="late"))
    log.append(made(-1, action="too late for this stream"))
    seen += stream
    assert len(seen) == 5_001
    assert seen[-1].action == "late"


def test_readers_never_see_half_of_a_batch(log):
    """append_many is atomic for readers too."""
    counts, stop = set(), threading.Event()

    def read():
        while not stop.is_set():
            counts.add(log.count(Filter(actor_id="a")) % 50)

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(20):
        log.append_many([made() for _ in range(50)])
    stop.set()
    reader.join()
    assert counts == {0}
