"""The outbox on disk (durability `disk` and `process`): what `append` took survives this process.

The sender reads from the files: its own stream, what dead processes left there, and what is to be sent again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from otel_audit.delivery.backlog import Backlog
from otel_audit.delivery.change import LONGEST_WAIT_S
from otel_audit.delivery.marking import Mark
from otel_audit.delivery.notices import report
from otel_audit.delivery.outbox import Outbox
from otel_audit.delivery.outcome import Outcome, QueueState, Refusal, backlog_full
from otel_audit.delivery.own import Own
from otel_audit.delivery.parcel import Parcel
from otel_audit.delivery.refused import UNREADABLE, Refused
from otel_audit.delivery.room import FULL_LOOK_S, Room, size_of
from otel_audit.errors import BacklogFullError, OtelAuditError
from otel_audit.spool.pools import Pools
from otel_audit.spool.reading import Batch
from otel_audit.spool.stream import OwnStream

__all__ = ["SpoolOutbox"]

_LOOK_ROUND_S = 5.0
_WRITERS = 8  # tasks that append at the same time share writes: a few threads keep the disk as busy as many


class SpoolOutbox(Outbox):
    """Records in the spool.

    Args:
        pools: of the spool.
        open_stream: makes a stream of our own.
        mark: makes a marker: stream, state, highest number given.
        backlog: what others left there.
        max_bytes: what all undelivered records in the spool may take; the rest is as for the outbox in memory.
    """

    _look_again_s = FULL_LOOK_S

    def __init__(
        self,
        *,
        pools: Pools,
        open_stream: Callable[[], OwnStream],
        mark: Mark,
        backlog: Backlog,
        max_bytes: int,
        batch_records: int,
        batch_bytes: int,
        batch_delay_s: float,
        heartbeat_s: float = 0.0,
    ) -> None:
        super().__init__(heartbeat_s)
        self.kept, self._pools, self._backlog = str(pools.root), pools, backlog
        self._own = Own(open_stream, pools, mark, backlog.resource, backlog.damaged, self._await_apart)
        self._room = Room(max_bytes, lambda: pools.undelivered_bytes(self._own.folders))
        self._batch_records, self._batch_bytes, self._batch_delay_s = batch_records, batch_bytes, batch_delay_s
        self._oldest_s = self._look_round_s = 0.0
        self._apart = 0
        self._held = Refused(pools.parked)
        # Threads of our own: the loop's may all be busy with handlers that wait for this very append. None runs yet.
        self._writers = ThreadPoolExecutor(_WRITERS, thread_name_prefix="otel-audit-append")

    # --- in ---

    def _size(self, records: Sequence[bytes]) -> int:
        return size_of(records)

    def _reserve(self, place: object, count: int, size: int) -> bool:
        return self._room.reserve(place, count, size)

    def _give_up_place(self, place: object) -> None:
        self._room.cancel(place)

    def _full(self) -> BacklogFullError:
        return backlog_full(f"{self._room} are taken in the spool {self.kept}", self.trouble, self._refused())

    async def _aenter(self, records: Sequence[bytes], size: int, place: object) -> int:
        try:
            entering = asyncio.get_running_loop().run_in_executor(self._writers, self._enter, records, size, place)
        except RuntimeError:  # no thread can be had: the interpreter shuts down
            return self._enter(records, size, place)
        return await asyncio.shield(entering)  # a thread that writes cannot be called back, and gives back the room

    def _enter(self, records: Sequence[bytes], size: int, place: object) -> int:
        """Returns 0 for an append from within another one in the same thread: see `Own.write`."""
        if not records:
            return self._entered + 1
        first = 0
        try:
            first = self._own.write(records)
        finally:
            with self._lock:
                self._room.cancel(place)
                if first:
                    self._note(first + len(records) - 1, size)
                else:  # an interrupt may have come when the write was done
                    self._entered = max(self._entered, self._own.last)
                if self._closed:  # the sender waits for the last append under way; else it is woken for a batch only
                    self._work.notify()
        return first

    def _await_apart(self, stream_id: str, count: int) -> None:
        with self._lock:
            self._apart += count
            self._backlog.await_stream(stream_id, count)
            self._look_round_s = 0.0

    def _note(self, last: int, size: int) -> None:
        """Records up to `last` are in the stream, and perhaps delivered already."""
        if last > self._settled:
            self._room.keep(last, size)
        if idle := self._settled >= self._entered:
            self._oldest_s = time.monotonic()
        self._entered = max(self._entered, last)
        if idle or self._batch_full():
            self._work.notify()

    # --- out ---

    def take(self) -> Parcel | None:
        """See `Outbox.take`. Own records first; one parcel of what others left in between."""
        trouble = ""
        while True:
            with self._lock:
                if not self._wait_for_work():
                    return None
                own_is_due = self._own_left_s() <= 0
            try:
                parcel = self._next(own_is_due)
            except (OSError, OtelAuditError) as error:
                self.trouble = trouble = f"the spool cannot be read: {error}"
                report("error", "the spool cannot be read, trying again", spool=self.kept, error=str(error))
                if not self.pause(time.monotonic() + 1.0, soonest_s=time.monotonic()):
                    return None
                continue
            if self.trouble == trouble:
                self.trouble = ""
            if parcel is not None:
                return parcel
            with self._lock:
                self._change.announce()

    def _wait_for_work(self) -> bool:
        """Until something may be due; False when the sender shall end. With the lock."""
        while not self._stopped:
            if self._closed and not self._ended:
                return True
            if self._closed and not self._backlog.awaited:
                return False
            left = min(self._own_left_s(), self._backlog_left_s(), self._heartbeat_left_s())
            if left <= 0:
                return True
            self._work.wait(min(left, LONGEST_WAIT_S))
        return False

    def _own_left_s(self) -> float:
        """How long until own records are due."""
        if self._settled >= self._entered:
            return LONGEST_WAIT_S
        if self._closed or self._settled < self._hurry_until or self._batch_full():
            return 0.0
        return self._oldest_s + self._batch_delay_s - time.monotonic()

    def _batch_full(self) -> bool:
        return self._entered - self._settled >= self._batch_records or self._room.own_bytes >= self._batch_bytes

    def _backlog_left_s(self) -> float:
        return 0.0 if self._backlog.has_work else self._look_round_s - time.monotonic()

    def _next(self, own_is_due: bool) -> Parcel | None:
        """The next parcel of whatever is due. Without the lock: this reads the disk."""
        if not self._closed or self._backlog.awaited:
            if time.monotonic() >= self._look_round_s:
                self._look_round()
            if self._heartbeat_left_s() <= 0:
                self._heartbeat_sent()
                if (heartbeat := self._own.heartbeat()) is not None:
                    return heartbeat
            if not own_is_due or self._backlog.is_its_turn():
                parcel = self._backlog.next_parcel(self._batch_records, self._batch_bytes)
                if parcel is not None:
                    return parcel
        return self._next_own() if own_is_due or self._closed else None

    def _next_own(self) -> Parcel | None:
        with self._lock:
            entered, closed, is_whole = self._entered, self._closed, not self._room.reserved_bytes
        if closed and is_whole:
            self._own.end()
        parcel = self._own.next_parcel(self._batch_records, self._batch_bytes)
        if parcel is None and closed and not is_whole:  # an append that began before `close` is still under way
            with self._lock:
                self._work.wait(FULL_LOOK_S)
        elif parcel is None:
            if closed and not self._own.is_finished:
                self._own.finish()
            with self._lock:
                self._give_up(entered)
                self._ended = closed
        return parcel

    def _give_up(self, last: int) -> None:
        """Own records up to a number that are not settled by now were in a damaged part of a file. With the lock."""
        if last > self._settled:
            self._held.add_unreadable(last - self._settled)
            self._settle_own(Outcome(self._settled + 1, last, "refused", reason=UNREADABLE))
            self._room.give_back(last)

    def _look_round(self) -> None:
        """What is done now and then: adopt, count, expire."""
        self._look_round_s = time.monotonic() + (FULL_LOOK_S if self._backlog.awaited else _LOOK_ROUND_S)
        self._own.look_round()
        self._backlog.look_round(frozenset(folder.name for folder in self._own.folders))
        self._pools.expire_in_turn()
        taken = self._pools.undelivered_bytes(self._own.folders)  # without the lock: many files take a while
        with self._lock:
            self._room.counted(*taken)
            self._change.announce()

    def settle(self, parcel: Parcel, start: int, stop: int, log: str | None, rows: str) -> None:
        """See `Outbox.settle`."""
        first, last = parcel.first + start, parcel.first + stop - 1
        self._backlog.succeeded()
        self._end_part(parcel, stop, Outcome(first, last, "acknowledged" if log else "forwarded", log, rows))
        with self._lock:
            self._delivered += 0 if parcel.is_marker else stop - start

    def refuse(self, parcel: Parcel, start: int, stop: int, reason: str, rejected: int) -> None:
        """See `Outbox.refuse`: the records go to the spool's `parked`."""
        if not parcel.is_marker:
            is_own = isinstance(parcel.source, Batch)
            path = (self._own if is_own else self._backlog).park(parcel, start, stop, reason, rejected)
            self._backlog.refused(path, reason)
            with self._lock:
                if not parcel.is_second_try or self._held.has(parcel.source.path):
                    self._held.add(path, reason, rejected)
                self._delivered += stop - start - rejected
                self._room.parked(size_of(parcel.records[start:stop]) if is_own else 0)
        self._end_part(parcel, stop, Outcome(parcel.first + start, parcel.first + stop - 1, "refused", reason=reason))

    def _end_part(self, parcel: Parcel, stop: int, outcome: Outcome) -> None:
        if isinstance(parcel.source, Batch):
            self._own.end_part(parcel, stop)
        elif parcel.source is not None:
            self._backlog.end_part(parcel, stop)
        with self._lock:
            if parcel.first:
                self._give_up(outcome.first - 1)
                self._settle_own(outcome)
                self._room.give_back(outcome.last)
                self._oldest_s = time.monotonic()
            self._change.announce()

    def _more_to_settle(self) -> int:
        return self._backlog.awaited

    # --- the owner's side ---

    def _refused(self) -> list[tuple[str, int]]:
        return self._held.counts()

    def refusals(self) -> tuple[Refusal, ...]:
        """See `Outbox.refusals`. Raises SpoolUnreadableError."""
        with self._lock:
            return self._held.read()

    def take_refused(self) -> tuple[Refusal, ...]:
        """See `Outbox.take_refused`; a copy stays among the delivered ones for a while. Raises SpoolUnreadableError."""
        with self._lock:
            refusals = self._held.read()
            for path in self._held.clear():
                self._pools.unpark(path)
            self._change.announce()
        return refusals

    def retry_refused(self) -> int:
        """See `Outbox.retry_refused`."""
        with self._lock:
            self._check_open()
            count = self._backlog.retry(self._held.clear())
            self._work.notify()
        return count

    def state(self) -> QueueState:
        """See `Outbox.state`."""
        with self._lock:
            return QueueState(
                appended=self._entered + self._apart,
                delivered=self._delivered,
                waiting=max(self._entered - self._settled, 0) + self._backlog.awaited,
                waiting_bytes=self._room.own_bytes,
                refused=sum(count for _, count in self._held.counts()),
            )

    def stop(self) -> None:
        """See `Outbox.stop`. What is left is left with its end, lest it look like the stream of a killed process."""
        super().stop()
        with self._lock:
            is_whole = self._closed and not self._room.reserved_bytes
        if is_whole:
            self._own.end()

    def let_go(self) -> None:
        """See `Outbox.let_go`; what is not delivered, the next process delivers."""
        self._backlog.let_go()
        self._own.let_go()
        self._writers.shutdown(wait=False)

    def abandon(self) -> None:
        """See `Outbox.abandon`."""
        self._backlog.abandon()
        self._own.abandon()
