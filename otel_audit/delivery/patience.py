"""How long somebody waits for delivery, and when it is said what for."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["Patience"]

_SILENT_S = 2.0
_FOR_EVER_S = float("inf")


class Patience:
    """Of one call that waits.

    Args:
        timeout_s: at most so long; None: as long as it takes.
        idle_s: at most so long without any progress.
        say: called once, after two seconds, without any lock.
    """

    def __init__(
        self, timeout_s: float | None, *, idle_s: float | None = None, say: Callable[[], None] | None = None
    ) -> None:
        now_s = time.monotonic()
        self._end_s = _FOR_EVER_S if timeout_s is None else now_s + timeout_s
        self._idle_s = _FOR_EVER_S if idle_s is None else idle_s
        self._progress_s = now_s
        self._progress: object = None
        self._say = say
        self._say_at_s = now_s + _SILENT_S

    @classmethod
    def of(cls, given: Patience | float | None) -> Patience:
        """The same, or a plain time-out."""
        return given if isinstance(given, Patience) else cls(given)

    def left_s(self, progress: object) -> float:
        """Seconds that are left, or that are left until something is to be said; 0 or less when it is over.

        Args:
            progress: a value that changes with every progress.
        """
        now_s = time.monotonic()
        if progress != self._progress:
            self._progress, self._progress_s = progress, now_s
        left_s = min(self._end_s, self._progress_s + self._idle_s) - now_s
        return left_s if self._say is None or left_s <= 0 else min(left_s, max(self._say_at_s - now_s, 0.001))

    def speak(self) -> None:
        """Say it if it is time."""
        if self._say is not None and time.monotonic() >= self._say_at_s:
            say, self._say = self._say, None
            say()
