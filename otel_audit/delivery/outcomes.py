"""How requests ended, for receipts that ask later: the newest in full, older ones by what became of which numbers."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from itertools import chain

from otel_audit.delivery.outcome import Outcome

__all__ = ["Outcomes"]

_MOST = 16_384


class Outcomes:
    """Outcomes in the order of their numbers. All methods are called with the outbox's lock.

    Args:
        most: how many are kept in full; and how many runs of numbers that ended alike are kept of the older ones.
    """

    def __init__(self, most: int = _MOST) -> None:
        self._newest: deque[Outcome] = deque()
        self._runs: deque[Outcome] = deque(maxlen=most)
        self._most = most

    def add(self, outcome: Outcome) -> None:
        """One more."""
        if len(self._newest) == self._most:
            self._fold(replace(self._newest.popleft(), rows=""))
        self._newest.append(outcome)

    def _fold(self, old: Outcome) -> None:
        if self._runs:
            run = self._runs[-1]
            if replace(run, last=old.last) == replace(old, first=run.first) and run.last + 1 == old.first:
                self._runs[-1] = replace(run, last=old.last)
                return
        self._runs.append(old)

    def find(self, number: int) -> Outcome | None:
        """The outcome of a number; None where it is not known, or not any more."""
        known = chain(reversed(self._newest), reversed(self._runs))
        return next((one for one in known if one.first <= number <= one.last), None)
