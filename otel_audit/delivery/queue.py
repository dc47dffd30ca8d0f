"""The bounded queue between `append` and the sender. Nothing in it is ever dropped.

Room, in records and bytes, is taken when a record enters and given back when its fate is known: settled when the peer
has it. A record the peer refused stays held, room and all, until somebody takes it out or sends it again: so a peer
that refuses everything ends in a full queue that `append` reports, and not in records that are gone.

Delivery is in order and one batch at a time, so "everything appended so far" is one number, and waiting for it is
waiting for another number to reach it.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from otel_audit.delivery.change import LONGEST_WAIT_S, Change, on_event_loop
from otel_audit.delivery.outcome import QueueState, Refusal, backlog_full, undelivered
from otel_audit.errors import BacklogFullError, ClosedError, InvalidRecordError

__all__ = ["DeliveryQueue"]

Encode = Callable[[int], Sequence[bytes]]


class DeliveryQueue:
    """Encoded records on their way out. Any number of threads and tasks append and flush; one sender takes.

    Args:
        max_records, max_bytes: what it holds at most, batches under way and refused records included.
        batch_records, batch_bytes: what one batch has at most.
        batch_delay_s: how long a record may wait for its batch to fill.

    Attributes:
        trouble: why the sender does not get on at the moment, or "".
    """

    def __init__(
        self, *, max_records: int, max_bytes: int, batch_records: int, batch_bytes: int, batch_delay_s: float
    ) -> None:
        # Reentrant: encoding happens inside, and a garbage collection there may run a finalizer that appends.
        self._lock = threading.RLock()
        self._work = threading.Condition(self._lock)
        self._change = Change(self._lock)
        self._records: deque[bytes] = deque()
        self._max_records, self._max_bytes = max_records, max_bytes
        self._batch_records, self._batch_bytes, self._batch_delay_s = batch_records, batch_bytes, batch_delay_s
        self._used_records = self._used_bytes = self._queued_bytes = 0
        self._next_number = 1
        self._entered = self._settled = self._delivered = 0
        self._hurry_until = 0
        self._oldest_s = 0.0
        self._refusals: list[Refusal] = []
        self._closed = self._stopped = self._last_try = False
        self.trouble = ""

    # --- the appending side ---

    def put(self, encode: Encode, timeout_s: float) -> None:
        """Encode and take records, all or none.

        Args:
            encode: gives the encoded records, numbered from its argument. May be called more than once; only the
                numbers of the last call count, so that a record that was not taken leaves no gap.
            timeout_s: how long to wait for room; on a running event loop there is no wait.

        Raises:
            BacklogFullError, ClosedError, InvalidRecordError (more than the queue ever holds).
        """
        with self._lock:
            if self._try_put(encode):
                return
            if timeout_s > 0 and not on_event_loop():
                deadline = time.monotonic() + timeout_s
                while (left := deadline - time.monotonic()) > 0:
                    self._change.wait(left)
                    if self._try_put(encode):
                        return
            raise self._full()

    async def aput(self, encode: Encode, timeout_s: float) -> None:
        """`put`, with a waiting task instead of a waiting thread; a cancelled one has put nothing."""
        deadline = time.monotonic() + timeout_s
        while True:
            with self._lock:
                if self._try_put(encode):
                    return
                if (left := deadline - time.monotonic()) <= 0:
                    raise self._full()
                changed = self._change.watch()
            await self._change.arrival(changed, left)

    def _try_put(self, encode: Encode) -> bool:
        while True:
            if self._closed:
                raise ClosedError("the log is closed")
            number = self._next_number
            encoded = encode(number)
            if number == self._next_number:  # else a finalizer appended meanwhile, and the numbers are taken
                break
        count, size = len(encoded), sum(map(len, encoded))
        if count > self._max_records or size > self._max_bytes:
            raise InvalidRecordError(
                "record" if count == 1 else "records",
                f"{count} record(s) of {size} bytes together are more than the queue ever holds "
                f"({self._max_records} records, {self._max_bytes} bytes; OTEL_AUDIT_QUEUE_MAX_*)",
            )
        if self._used_records + count > self._max_records or self._used_bytes + size > self._max_bytes:
            return False
        self._next_number += count
        self._used_records += count
        self._used_bytes += size
        self._enqueue(encoded, size)
        return True

    def _enqueue(self, encoded: Sequence[bytes], size: int) -> None:
        idle = not self._records
        if idle:
            self._oldest_s = time.monotonic()
        self._records.extend(encoded)
        self._entered += len(encoded)
        self._queued_bytes += size
        if idle or self._batch_full():
            self._work.notify()

    def _full(self) -> BacklogFullError:
        return backlog_full(self._used_records, self._used_bytes, self.trouble, self._refusals)

    # --- waiting for delivery ---

    def flush(self, timeout_s: float | None) -> None:
        """Wait until everything that entered before is settled.

        Raises:
            UndeliveredError: some is not settled in time, or refused records are held.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        with self._lock:
            target = self._hurry()
            while (left := self._left(target, deadline)) > 0:
                self._change.wait(left)
            self._report(target)

    async def aflush(self, timeout_s: float | None) -> None:
        """`flush`, awaited."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        with self._lock:
            target = self._hurry()
        while True:
            with self._lock:
                if (left := self._left(target, deadline)) <= 0:
                    self._report(target)
                    return
                changed = self._change.watch()
            await self._change.arrival(changed, left)

    def _hurry(self) -> int:
        self._hurry_until = self._entered
        self._work.notify()
        return self._entered

    def _left(self, target: int, deadline: float | None) -> float:
        """Seconds still to wait for a target; 0 when it is reached or never will be."""
        if self._settled >= target or self._stopped:
            return 0.0
        return LONGEST_WAIT_S if deadline is None else deadline - time.monotonic()

    def _report(self, target: int) -> None:
        error = undelivered(max(target - self._settled, 0), self.trouble, self._refusals)
        if error is not None:
            raise error

    # --- the sender's side ---

    def take(self) -> list[bytes] | None:
        """The next batch, oldest first; None when the sender shall end.

        Waits until a batch is full or its oldest record has waited long enough; a flush or close cuts that short. One
        record over the batch's bytes goes alone.
        """
        with self._lock:
            while not self._stopped:
                if not self._records:
                    if self._closed:
                        return None
                    self._work.wait()
                    continue
                left = self._oldest_s + self._batch_delay_s - time.monotonic()
                if left <= 0 or self._closed or self._settled < self._hurry_until or self._batch_full():
                    return self._next_batch()
                self._work.wait(min(left, LONGEST_WAIT_S))
            return None

    def _batch_full(self) -> bool:
        return len(self._records) >= self._batch_records or self._queued_bytes >= self._batch_bytes

    def _next_batch(self) -> list[bytes]:
        batch: list[bytes] = []
        size = 0
        while self._records and len(batch) < self._batch_records:
            size += len(self._records[0])
            if batch and size > self._batch_bytes:
                break
            batch.append(self._records.popleft())
        self._queued_bytes -= sum(map(len, batch))
        self._oldest_s = time.monotonic()
        return batch

    def settle(self, records: Sequence[bytes]) -> None:
        """The peer has them: give their room back and tell whoever waits."""
        with self._lock:
            self._delivered += len(records)
            self._settled += len(records)
            self._free(records)
            self._change.announce()

    def refuse(self, refusal: Refusal) -> None:
        """The peer refused them for good: hold them, and let flushes report it."""
        with self._lock:
            self._delivered += len(refusal.records) - refusal.rejected
            self._settled += len(refusal.records)
            self._refusals.append(refusal)
            self._change.announce()

    def pause(self, until_s: float, *, cut_short: bool) -> bool:
        """Wait until a monotonic time; False when the sender shall end.

        Args:
            cut_short: closing ends one wait early, so that a last try is made; not when the peer asked for the pause.
        """
        with self._lock:
            while not self._stopped:
                left = until_s - time.monotonic()
                if cut_short and self._last_try:
                    self._last_try = False
                    return True
                if left <= 0:
                    return True
                self._work.wait(min(left, LONGEST_WAIT_S))
            return False

    # --- the owner's side ---

    @property
    def refusals(self) -> tuple[Refusal, ...]:
        """What the peer refused and nobody took out yet, oldest first."""
        with self._lock:
            return tuple(self._refusals)

    def take_refused(self) -> tuple[Refusal, ...]:
        """Hand over what was refused and give its room back; flushes are clean again."""
        with self._lock:
            refusals, self._refusals = tuple(self._refusals), []
            for refusal in refusals:
                self._free(refusal.records)
            self._change.announce()
        return refusals

    def retry_refused(self) -> int:
        """Put what was refused at the end of the queue again, in the room it has; returns how many records.

        Raises:
            ClosedError.
        """
        with self._lock:
            if self._closed:
                raise ClosedError("the log is closed")
            again = [record for refusal in self._refusals for record in refusal.records]
            self._refusals = []
            self._enqueue(again, sum(map(len, again)))
            return len(again)

    def state(self) -> QueueState:
        """Counters and what is held now."""
        with self._lock:
            held = sum(len(record) for refusal in self._refusals for record in refusal.records)
            return QueueState(
                appended=self._next_number - 1,
                delivered=self._delivered,
                waiting=self._entered - self._settled,
                waiting_bytes=self._used_bytes - held,
                refused=sum(refusal.rejected for refusal in self._refusals),
            )

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def close(self) -> bool:
        """Take no more; what is queued goes out at once. False if it was closed already."""
        with self._lock:
            first = not self._closed
            self._closed = self._last_try = True
            self._work.notify()
            self._change.announce()
        return first

    def stop(self) -> None:
        """End the sender, whatever is still queued."""
        with self._lock:
            self._stopped = True
            self._work.notify()
            self._change.announce()

    def _free(self, records: Sequence[bytes]) -> None:
        self._used_records -= len(records)
        self._used_bytes -= sum(map(len, records))
