"""An outbox holds records from `append` until a peer has them: what all of them have in common.

Records have numbers, 1, 2, 3 …, and are delivered in that order, one request at a time. So "everything appended so far"
is one number, and waiting for it is waiting for another number to reach it.
"""

from __future__ import annotations

import contextlib
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence

from otel_audit.delivery.change import LONGEST_WAIT_S, Change, on_event_loop
from otel_audit.delivery.outcome import Outcome, QueueState, Refusal, undelivered
from otel_audit.delivery.outcomes import Outcomes
from otel_audit.delivery.parcel import Parcel
from otel_audit.delivery.patience import Patience
from otel_audit.errors import BacklogFullError, ClosedError

__all__ = ["Outbox", "Parcel"]


class Outbox(ABC):
    """Any number of threads and tasks append and flush; one sender takes.

    Attributes:
        trouble: why the sender does not get on at the moment, or "".
    """

    kept = ""
    """Where its records survive the process, for messages; "" if they do not."""
    _look_again_s = LONGEST_WAIT_S
    """How often whoever waits for room looks again, where room may come unannounced."""

    def __init__(self, heartbeat_s: float) -> None:
        # Reentrant: a garbage collection may run a finalizer that appends, anywhere.
        self._lock = threading.RLock()
        self._work = threading.Condition(self._lock)
        self._change = Change(self._lock)
        self._entered = self._settled = self._delivered = 0
        self._hurry_until = 0
        self._appending: list[int] = []
        """The threads that are in the middle of an append."""
        self._outcomes = Outcomes()
        self._closed = self._stopped = self._ended = False
        self._pausing = self._try_now = False
        self._heartbeat_s = heartbeat_s
        self._heartbeat_at_s = time.monotonic() + heartbeat_s
        self.trouble = ""

    # --- in ---

    def put(self, records: Sequence[bytes], timeout_s: float) -> int:
        """Take records, all or none; returns the number of the first; 0 if they went into a stream apart.

        Args:
            timeout_s: how long to wait for room; on a running event loop there is no wait.

        Raises:
            BacklogFullError, ClosedError, SpoolUnwritableError, InvalidRecordError (more than it ever holds).
        """
        size = self._size(records)
        deadline = time.monotonic() + (0.0 if on_event_loop() else timeout_s)
        place, me = object(), threading.get_ident()
        try:
            self._appending.append(me)
            with self._lock:
                while not self._has_room(place, len(records), size):
                    if (left := deadline - time.monotonic()) <= 0:
                        raise self._full()
                    self._change.wait(min(left, self._look_again_s))
            return self._enter(records, size, place)
        finally:
            # Here, because an interrupt may come anywhere in between.
            self._give_up_place(place)
            with contextlib.suppress(ValueError):
                self._appending.remove(me)

    async def aput(self, records: Sequence[bytes], timeout_s: float) -> int:
        """`put`, with a waiting task instead of a waiting thread. One that is cancelled while it waits for room has put
        nothing; while the disk writes, it may have."""
        size = self._size(records)
        deadline = time.monotonic() + timeout_s
        place = object()
        while True:
            with self._lock:
                if self._has_room(place, len(records), size):
                    break
                if (left := deadline - time.monotonic()) <= 0:
                    raise self._full()
                changed = self._change.watch()
            await self._change.arrival(changed, min(left, self._look_again_s))
        return await self._aenter(records, size, place)

    def _has_room(self, place: object, count: int, size: int) -> bool:
        self._check_open()
        return not count or self._reserve(place, count, size)

    @abstractmethod
    def _size(self, records: Sequence[bytes]) -> int:
        """The room that records take."""

    @abstractmethod
    def _reserve(self, place: object, count: int, size: int) -> bool:
        """Set room aside under a name of its own, if there is. With the lock. Raises InvalidRecordError."""

    @abstractmethod
    def _give_up_place(self, place: object) -> None:
        """Give back what was set aside under a name, if it still is."""

    @abstractmethod
    def _full(self) -> BacklogFullError:
        """What to say when there is none."""

    @abstractmethod
    def _enter(self, records: Sequence[bytes], size: int, place: object) -> int:
        """Take records into the room that was set aside. Raises SpoolUnwritableError."""

    @abstractmethod
    async def _aenter(self, records: Sequence[bytes], size: int, place: object) -> int:
        """`_enter`, awaited."""

    # --- out ---

    @abstractmethod
    def take(self) -> Parcel | None:
        """The next parcel, waited for; None when the sender shall end. The sender is done with the one before."""

    @abstractmethod
    def settle(self, parcel: Parcel, start: int, stop: int, log: str | None, rows: str) -> None:
        """The peer has the records from `start` to `stop` of a parcel. Raises SpoolUnwritableError: try that again."""

    @abstractmethod
    def refuse(self, parcel: Parcel, start: int, stop: int, reason: str, rejected: int) -> None:
        """The peer refused them for good: hold them, and let flushes report it. Raises as `settle`."""

    def pause(self, until_s: float, *, hurried_s: float | None = None, soonest_s: float | None = None) -> bool:
        """Wait until a monotonic time; False when the sender shall end.

        Args:
            hurried_s: until when while somebody waits for delivery; default the same.
            soonest_s: until when, this once, where somebody begins to wait or closes; default the same.
        """
        with self._lock:
            self._pausing = True
            try:
                while not self._stopped:
                    end_s = until_s if hurried_s is None or not self._is_hurried() else hurried_s
                    if self._try_now and soonest_s is not None:
                        end_s = min(end_s, soonest_s)
                    if (left := end_s - time.monotonic()) <= 0:
                        self._try_now = False
                        return True
                    self._work.wait(min(left, LONGEST_WAIT_S))
                return False
            finally:
                self._pausing = False

    def _is_hurried(self) -> bool:
        return self._closed or self._settled < self._hurry_until or self._more_to_settle() > 0

    def _settle_own(self, outcome: Outcome) -> None:
        """Records of the own stream, up to `outcome.last`, need no more waiting for. With the lock."""
        self._settled = max(self._settled, outcome.last)
        self._outcomes.add(outcome)
        self._change.announce()

    # --- waiting for delivery ---

    def flush(self, patience: Patience | float | None, *, to_the_end: bool = False) -> None:
        """Wait until everything that entered before is settled.

        Args:
            patience: how long; or so many seconds; None: as long as it takes.
            to_the_end: after `close`: also until the peer knows that nothing follows; nobody is blamed if it does not.
                Not for a signal handler that interrupted an append: that one cannot end meanwhile.

        Raises:
            UndeliveredError: some is not settled in time, or refused records are held.
        """
        patience = Patience.of(patience)
        to_the_end = to_the_end and threading.get_ident() not in self._appending
        with self._lock:
            target = self._hurry()
        while True:
            with self._lock:
                if (left := self._left(target, patience, to_the_end)) <= 0:
                    self._report(target)
                    return
                self._change.wait(left)
            patience.speak()

    async def aflush(self, patience: Patience | float | None, *, to_the_end: bool = False) -> None:
        """`flush`, awaited."""
        patience = Patience.of(patience)
        with self._lock:
            target = self._hurry()
        while True:
            with self._lock:
                if (left := self._left(target, patience, to_the_end)) <= 0:
                    self._report(target)
                    return
                changed = self._change.watch()
            await self._change.arrival(changed, left)
            patience.speak()

    def outcome(self, number: int, timeout_s: float | None) -> Outcome | None:
        """Wait for one record; None if that takes too long, or longer ago than is remembered."""
        patience = Patience(timeout_s)
        with self._lock:
            self._hurry()
            while (left := self._left(number, patience, False)) > 0:
                self._change.wait(left)
            return self._outcomes.find(number)

    async def aoutcome(self, number: int, timeout_s: float | None) -> Outcome | None:
        """`outcome`, awaited."""
        patience = Patience(timeout_s)
        while True:
            with self._lock:
                self._hurry()
                if (left := self._left(number, patience, False)) <= 0:
                    return self._outcomes.find(number)
                changed = self._change.watch()
            await self._change.arrival(changed, left)

    def is_settled(self, number: int) -> bool:
        """Whether a record needs no more waiting for."""
        return self._settled >= number

    def _hurry(self) -> int:
        self._hurry_until = self._entered
        self._try_now = self._try_now or self._pausing
        self._work.notify()
        return self._entered

    def _left(self, target: int, patience: Patience, to_the_end: bool) -> float:
        """Seconds still to wait for a target; 0 when it is reached or never will be."""
        at_end = self._ended or not self._entered or not to_the_end
        done = self._settled >= target and not self._more_to_settle() and at_end
        if done or self._stopped:
            return 0.0
        return patience.left_s((self._settled, self._delivered, self._ended))

    def _report(self, target: int) -> None:
        waiting = max(target - self._settled, 0) + self._more_to_settle()
        error = undelivered(waiting, self.trouble, self._refused(), self.kept)
        if error is not None:
            raise error

    @abstractmethod
    def _more_to_settle(self) -> int:
        """Records that wait and are not among the numbers: those that are sent again."""

    @abstractmethod
    def _refused(self) -> list[tuple[str, int]]:
        """(the peer's answer, how many records) of all that is held as refused."""

    # --- the owner's side ---

    @abstractmethod
    def refusals(self) -> tuple[Refusal, ...]:
        """What the peer refused and nobody took out yet, oldest first."""

    @abstractmethod
    def take_refused(self) -> tuple[Refusal, ...]:
        """Hand over what was refused and give its room back; flushes are clean again."""

    @abstractmethod
    def retry_refused(self) -> int:
        """Send what was refused again, in the room it has; returns how many records. Raises ClosedError."""

    @abstractmethod
    def state(self) -> QueueState:
        """Counters and what is held now."""

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def close(self) -> bool:
        """Take no more; what is held goes out at once. False if it was closed already."""
        with self._lock:
            first = not self._closed
            self._closed = self._try_now = True
            self._work.notify()
            self._change.announce()
        return first

    def stop(self) -> None:
        """End the sender, whatever is still held."""
        with self._lock:
            self._stopped = True
            self._work.notify()
            self._change.announce()

    @abstractmethod
    def let_go(self) -> None:
        """Close what is open, after the sender has ended."""

    @abstractmethod
    def abandon(self) -> None:
        """`let_go` in a child just forked, of its copies alone; no lock can be taken there."""

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError("the log is closed")

    def _heartbeat_left_s(self) -> float:
        """Seconds to the next heartbeat; without one, before the first record and after `close`, as long as can be."""
        if not self._heartbeat_s or not self._entered or self._closed:
            return LONGEST_WAIT_S
        return self._heartbeat_at_s - time.monotonic()

    def _heartbeat_sent(self) -> None:
        self._heartbeat_at_s = time.monotonic() + self._heartbeat_s
