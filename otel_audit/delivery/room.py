"""The bytes that undelivered records may take in the spool: a budget that all its processes share."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence

from otel_audit.errors import InvalidRecordError

__all__ = ["FULL_LOOK_S", "Room", "size_of"]

FULL_LOOK_S = 0.2
"""How often to look whether others have made room, while there is none."""
_OVERHEAD_BYTES = 110
"""What an entry takes beside the record: its head and its number in the stream."""


def size_of(records: Sequence[bytes]) -> int:
    """What records take in the spool, nearly."""
    return sum(map(len, records)) + _OVERHEAD_BYTES * len(records)


class Room:
    """Own bytes are known, those of others are counted now and then. All methods are called with the outbox's lock.

    Each process looks for itself, so that together they may go over the budget by what each takes between two looks.

    Args:
        most_bytes: the budget.
        count: the bytes of others' streams and of what is parked, counted now.
    """

    def __init__(self, most_bytes: int, count: Callable[[], tuple[int, int]]) -> None:
        self.most_bytes = most_bytes
        self._count = count
        self._waiting: deque[tuple[int, int]] = deque()
        """(number, bytes) of what is to be given back when that number is settled."""
        self._others_bytes = self._parked_bytes = 0
        self._counted_s: float | None = None
        self.own_bytes = 0
        self._reserved: dict[object, int] = {}

    @property
    def reserved_bytes(self) -> int:
        """What is set aside for appends under way."""
        return sum(self._reserved.values())

    @property
    def used_bytes(self) -> int:
        """What is taken, as far as known."""
        return self.own_bytes + self.reserved_bytes + self._others_bytes + self._parked_bytes

    def __str__(self) -> str:
        """Who takes it, in words."""
        own = self.own_bytes + self.reserved_bytes
        return (
            f"{self.used_bytes} of {self.most_bytes} bytes ({own} of this process, {self._others_bytes} in streams of "
            f"others, {self._parked_bytes} refused and parked)"
        )

    def reserve(self, place: object, count: int, size: int) -> bool:
        """Set room aside for records under a name, if there is. Raises InvalidRecordError when there never will be."""
        if size > self.most_bytes:
            raise InvalidRecordError(
                "record" if count == 1 else "records",
                f"{size} bytes are more than the spool ever holds ({self.most_bytes}; OTEL_AUDIT_SPOOL_MAX_BYTES)",
            )
        if self._counted_s is None:
            self.counted(*self._count())
        if self.used_bytes + size > self.most_bytes:
            if time.monotonic() - (self._counted_s or 0.0) < FULL_LOOK_S:
                return False
            self.counted(*self._count())
            if self.used_bytes + size > self.most_bytes:
                return False
        self._reserved[place] = size
        return True

    def counted(self, others: int, parked: int) -> None:
        """What others' streams and the parked files take, just now."""
        self._others_bytes, self._parked_bytes = others, parked
        self._counted_s = time.monotonic()

    def cancel(self, place: object) -> None:
        """Give back what was set aside, if it still is."""
        self._reserved.pop(place, None)

    def keep(self, number: int, size: int) -> None:
        """Records up to a number take room until that number is settled."""
        self._waiting.append((number, size))
        self.own_bytes += size

    def give_back(self, number: int) -> None:
        """Everything up to a number is settled."""
        while self._waiting and self._waiting[0][0] <= number:
            self.own_bytes -= self._waiting.popleft()[1]

    def parked(self, size: int) -> None:
        """So many bytes that were own are parked."""
        self._parked_bytes += size
