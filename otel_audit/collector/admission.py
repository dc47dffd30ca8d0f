"""The byte budget: how much of other people's data may be in memory at once.

A request reserves room as its body arrives, holds it while it is decoded and committed, and gives it back when it is
answered. What was only announced takes no room; and where there is none, a body that comes slowly gives way. What
decoding made of it counts from then on: a Resource is written out for each record under it, so a small body can become
a big table. (While it decodes, the decoder's slots are the bound.)

There is no waiting for room: no room is `OverloadedError` at once, which the client turns into a resend, because a
queue of unread requests would only hide the overload and grow. Belongs to one event loop; not thread-safe.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType

from otel_audit.collector.pace import Pace
from otel_audit.errors import OverloadedError

__all__ = ["ByteBudget", "Hold"]


class ByteBudget:
    """So many bytes, shared by all requests."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.held_bytes = 0
        self._arriving: dict[Hold, tuple[Pace, Callable[[], object]]] = {}

    def hold(self, size_bytes: int) -> Hold:
        """Reserve room. Raises OverloadedError when there is none."""
        hold = Hold(self)
        hold.resize(size_bytes)
        return hold

    def make_room(self, size_bytes: int, now: float) -> None:
        """Let slow bodies give way until so much is free, if they hold so much."""
        missing = self.held_bytes + size_bytes - self.limit_bytes
        slow = [(pace.due, hold) for hold, (pace, _) in self._arriving.items() if pace.is_slow(now) and hold.size_bytes]
        if missing <= 0 or sum(hold.size_bytes for _, hold in slow) < missing:
            return
        for _, hold in sorted(slow, key=lambda each: each[0]):
            if missing > 0:
                missing -= hold.size_bytes
                _, told = self._arriving.pop(hold)
                hold.resize(0)
                hold.gave_way = True
                told()

    @contextmanager
    def arriving(self, hold: Hold, pace: Pace, told: Callable[[], object]) -> Iterator[None]:
        """Meanwhile this one may have to give way; then it is told."""
        self._arriving[hold] = (pace, told)
        try:
            yield
        finally:
            self._arriving.pop(hold, None)


class Hold:
    """One request's share; a context manager that gives it back. `gave_way`: it was taken for others, for good."""

    def __init__(self, budget: ByteBudget) -> None:
        self._budget = budget
        self.size_bytes = 0
        self.gave_way = False

    def resize(self, size_bytes: int) -> None:
        """Hold exactly this much. Raises OverloadedError, with nothing changed, when growing finds no room."""
        if self.gave_way and size_bytes:
            raise OverloadedError("the body came slowly, and others had no room")
        budget = self._budget
        held = budget.held_bytes - self.size_bytes + size_bytes
        if held > budget.limit_bytes and size_bytes > self.size_bytes:
            raise OverloadedError(f"no room: {budget.held_bytes} of {budget.limit_bytes} bytes are in use")
        budget.held_bytes = held
        self.size_bytes = size_bytes

    def cover(self, size_bytes: int) -> None:
        """Hold at least this much. Raises OverloadedError when there is no room."""
        if size_bytes > self.size_bytes:
            self.resize(size_bytes)

    def cover_decoded(self, size_bytes: int) -> None:
        """Hold at least this much for rows that are decoded already. Raises OverloadedError when there is no room.

        Whoever is alone may go over the limit: a request must not be too large for ever where its bytes were taken.
        """
        alone = self._budget.held_bytes == self.size_bytes
        if size_bytes > self.size_bytes and alone:
            self._budget.held_bytes = self.size_bytes = size_bytes
        elif size_bytes > self.size_bytes:
            self.resize(size_bytes)

    def __enter__(self) -> Hold:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.resize(0)
