"""Which of the records that are held in quarantine somebody means."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

__all__ = ["HeldFilter"]


@dataclass(frozen=True, slots=True)
class HeldFilter:
    """All that are given must hold; `since` and `until` are half open, over the time it was put in quarantine.

    Args:
        reason: text that is part of why it is held.
        service: its service, or else the peer that sent it.
        actor: the id of its actor, which stands in its bytes.
    """

    reason: str | None = None
    service: str | None = None
    actor: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def __bool__(self) -> bool:
        return self != HeldFilter()

    def admits(self, reason: str, source: str, at: datetime) -> bool:
        """Whether all conditions but the actor's hold."""
        return (
            (self.reason is None or self.reason in reason)
            and (self.service is None or self.service == source)
            and (self.since is None or at >= self.since)
            and (self.until is None or at < self.until)
        )
