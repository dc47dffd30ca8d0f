"""The outbox in memory (durability `memory` and `collector`). Bounded, and nothing in it is ever dropped.

Room, in records and bytes, is taken when a record enters and given back when the peer has it. A record the peer refused
stays held, room and all, until somebody takes it out or sends it again: so a peer that refuses everything ends in a
full queue that `append` reports, and not in records that are gone.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence

from otel_audit.delivery.change import LONGEST_WAIT_S
from otel_audit.delivery.outbox import Outbox
from otel_audit.delivery.outcome import Outcome, QueueState, Refusal, backlog_full
from otel_audit.delivery.parcel import Parcel
from otel_audit.errors import BacklogFullError, InvalidRecordError

__all__ = ["DeliveryQueue"]


class DeliveryQueue(Outbox):
    """Records on their way out.

    Args:
        stamp: makes the bytes that number a record.
        mark: makes a marker of a state ("open", "closed") and the highest number given.
        resource: the serialized Resource and its schema URL.
        max_records, max_bytes: what it holds at most, batches under way and refused records included.
        batch_records, batch_bytes: what one batch has at most.
        batch_delay_s: how long a record may wait for its batch to fill.
        holds_refused: False where whoever appended a record is told at once that it was refused.
    """

    def __init__(
        self,
        *,
        stamp: Callable[[int], bytes],
        mark: Callable[[str, int], bytes],
        resource: Callable[[], tuple[bytes, str]],
        max_records: int,
        max_bytes: int,
        batch_records: int,
        batch_bytes: int,
        batch_delay_s: float,
        heartbeat_s: float = 0.0,
        holds_refused: bool = True,
    ) -> None:
        super().__init__(heartbeat_s)
        self._holds_refused = holds_refused
        self._stamp, self._mark, self._resource = stamp, mark, resource
        self._records: deque[bytes] = deque()
        self._again: deque[tuple[bytes, ...]] = deque()
        """Refused batches that are to be sent again; they have their numbers already."""
        self._again_records = 0
        self._max_records, self._max_bytes = max_records, max_bytes
        self._batch_records, self._batch_bytes, self._batch_delay_s = batch_records, batch_bytes, batch_delay_s
        self._used_records = self._used_bytes = self._queued_bytes = 0
        self._reserved: dict[object, tuple[int, int]] = {}
        """Records and bytes of appends under way."""
        self._oldest_s = 0.0
        self._refusals: list[Refusal] = []

    # --- in ---

    def _size(self, records: Sequence[bytes]) -> int:
        return sum(map(len, records))

    def _reserve(self, place: object, count: int, size: int) -> bool:
        if count > self._max_records or size > self._max_bytes:
            raise InvalidRecordError(
                "record" if count == 1 else "records",
                f"{count} record(s) of {size} bytes together are more than the queue ever holds "
                f"({self._max_records} records, {self._max_bytes} bytes; OTEL_AUDIT_QUEUE_MAX_*)",
            )
        reserved = self._reserved.values()
        records = self._used_records + sum(others for others, _ in reserved)
        if records + count > self._max_records:
            return False
        if self._used_bytes + sum(others for _, others in reserved) + size > self._max_bytes:
            return False
        self._reserved[place] = (count, size)
        return True

    def _give_up_place(self, place: object) -> None:
        with self._lock:
            self._reserved.pop(place, None)

    def _full(self) -> BacklogFullError:
        wait = f"{self._used_records} records, {self._used_bytes} bytes wait"
        return backlog_full(wait, self.trouble, self._refused())

    def _enter(self, records: Sequence[bytes], size: int, place: object) -> int:
        with self._lock:
            self._reserved.pop(place, None)
            self._check_open()  # closed since there was room, the sender may have ended
            self._used_records += len(records)
            self._used_bytes += size
            first = self._entered + 1
            idle = not self._records
            if idle:
                self._oldest_s = time.monotonic()
            self._records.extend(records)
            self._entered += len(records)
            self._queued_bytes += size
            if idle or self._batch_full():
                self._work.notify()
            return first

    async def _aenter(self, records: Sequence[bytes], size: int, place: object) -> int:
        return self._enter(records, size, place)

    # --- out ---

    def take(self) -> Parcel | None:
        """The next batch, oldest first.

        Waits until a batch is full or its oldest record has waited long enough; a flush or close cuts that short. One
        record over the batch's bytes goes alone.
        """
        with self._lock:
            while not self._stopped:
                if self._again:
                    return self._parcel(self._again.popleft(), 0)
                if not self._records:
                    if self._closed:
                        return None if self._ended else self._end()
                    left = self._heartbeat_left_s()
                    if left <= 0:
                        self._heartbeat_sent()
                        return self._marker("open")
                else:
                    left = self._oldest_s + self._batch_delay_s - time.monotonic()
                    if left <= 0 or self._closed or self._settled < self._hurry_until or self._batch_full():
                        return self._next_batch()
                self._work.wait(min(left, LONGEST_WAIT_S))
            return None

    def _end(self) -> Parcel | None:
        if not self._entered:
            self._ended = True
            self._change.announce()
            return None
        return self._marker("closed")

    def _marker(self, state: str) -> Parcel:
        return self._parcel((self._mark(state, self._entered),), 0, is_marker=True, source=state)

    def _parcel(
        self, records: tuple[bytes, ...], first: int, *, is_marker: bool = False, source: object = None
    ) -> Parcel:
        return Parcel(*self._resource(), records, first, is_marker, source)

    def _batch_full(self) -> bool:
        return len(self._records) >= self._batch_records or self._queued_bytes >= self._batch_bytes

    def _next_batch(self) -> Parcel:
        first = self._entered - len(self._records) + 1
        batch: list[bytes] = []
        size = 0
        while self._records and len(batch) < self._batch_records:
            size += len(self._records[0])
            if batch and size > self._batch_bytes:
                size -= len(self._records[0])
                break
            batch.append(self._records.popleft())
        self._queued_bytes -= size
        self._oldest_s = time.monotonic()
        stamp = self._stamp
        stamped = tuple([record + stamp(number) for number, record in enumerate(batch, start=first)])
        # The stamps take room as well: what is given back is what is sent.
        self._used_bytes += sum(map(len, stamped)) - size
        return self._parcel(stamped, first)

    def settle(self, parcel: Parcel, start: int, stop: int, log: str | None, rows: str) -> None:
        """See `Outbox.settle`."""
        with self._lock:
            if parcel.is_marker:
                self._ended = self._ended or parcel.source == "closed"
                self._change.announce()
                return
            records = parcel.records[start:stop]
            self._delivered += len(records)
            self._free(records)
            self._settled_part(parcel, start, stop, "acknowledged" if log else "forwarded", log, rows, "")

    def refuse(self, parcel: Parcel, start: int, stop: int, reason: str, rejected: int) -> None:
        """See `Outbox.refuse`; a refused marker is let go, it holds nothing of the application's."""
        with self._lock:
            if parcel.is_marker:
                self._ended = self._ended or parcel.source == "closed"
                self._change.announce()
                return
            self._delivered += stop - start - rejected
            if self._holds_refused:
                self._refusals.append(Refusal(reason, parcel.records[start:stop], rejected))
            else:
                self._free(parcel.records[start:stop])
            self._settled_part(parcel, start, stop, "refused", None, "", reason)

    def _settled_part(
        self, parcel: Parcel, start: int, stop: int, state: str, log: str | None, rows: str, reason: str
    ) -> None:
        if parcel.first:
            outcome = Outcome(parcel.first + start, parcel.first + stop - 1, state, log, rows, reason)  # type: ignore[arg-type]
            self._settle_own(outcome)
        else:
            self._again_records -= stop - start
            self._change.announce()

    def _more_to_settle(self) -> int:
        return self._again_records

    # --- the owner's side ---

    def _refused(self) -> list[tuple[str, int]]:
        return [(refusal.reason, refusal.rejected) for refusal in self._refusals]

    def refusals(self) -> tuple[Refusal, ...]:
        """See `Outbox.refusals`."""
        with self._lock:
            return tuple(self._refusals)

    def take_refused(self) -> tuple[Refusal, ...]:
        """See `Outbox.take_refused`."""
        with self._lock:
            refusals, self._refusals = tuple(self._refusals), []
            for refusal in refusals:
                self._free(refusal.records)
            self._change.announce()
        return refusals

    def retry_refused(self) -> int:
        """See `Outbox.retry_refused`."""
        with self._lock:
            self._check_open()
            refusals, self._refusals = self._refusals, []
            self._again.extend(refusal.records for refusal in refusals)
            count = sum(len(refusal.records) for refusal in refusals)
            self._again_records += count
            self._work.notify()
            return count

    def state(self) -> QueueState:
        """See `Outbox.state`."""
        with self._lock:
            held = sum(len(record) for refusal in self._refusals for record in refusal.records)
            return QueueState(
                appended=self._entered,
                delivered=self._delivered,
                waiting=self._entered - self._settled + self._again_records,
                waiting_bytes=self._used_bytes - held,
                refused=sum(refusal.rejected for refusal in self._refusals),
            )

    def let_go(self) -> None:
        """Nothing is open."""

    def abandon(self) -> None:
        """Nothing is open."""

    def _free(self, records: Sequence[bytes]) -> None:
        self._used_records -= len(records)
        self._used_bytes -= sum(map(len, records))
