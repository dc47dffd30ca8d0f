"""How fast a body comes, against the least rate that keeps its sender's place.

Each byte pays for a part of a second; who is behind by a little gives way where somebody else lacks room, and who is
behind by the whole time-out is refused. A head start is worth a few seconds and no more: else whoever sends fast first
could hold what it has sent for as long as it likes.
"""

from __future__ import annotations

__all__ = ["Pace"]

_LEAST_BYTES_PER_S = 16 << 10
_CREDIT_S = 5.0
_SLOW_S = 2.0


class Pace:
    """Of one body. Times are those of the event loop. `due`: until when its sender has paid."""

    def __init__(self, now: float) -> None:
        self.due = now

    def came(self, size_bytes: int, now: float) -> None:
        """So much of it came."""
        self.due = min(self.due + size_bytes / _LEAST_BYTES_PER_S, now + _CREDIT_S)

    def is_slow(self, now: float) -> bool:
        """Whether it should give way to others."""
        return now - self.due > _SLOW_S
