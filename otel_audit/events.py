"""How the package tells people what happened: standard logging, under the logger `otel_audit`.

So an application's levels, handlers and filters hold for us as for any library, and without any set-up warnings go to
stderr. An event is a constant text with facts: plain handlers show `event key=value`, and whoever formats records into
fields finds both in the record's attribute `otel_audit`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Literal

from otel_audit.model.printing import printable

__all__ = ["FACTS", "Event", "RateLimit", "report"]

FACTS = "otel_audit"
"""The log record's attribute: a dict of `event` and its facts."""

_LEVELS = {"info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_MOST_KEYS = 1_000

Level = Literal["info", "warning", "error"]


class Event:
    """What a log record has for its message: made into text only where a handler shows it."""

    __slots__ = ("facts", "name")

    def __init__(self, name: str, facts: dict[str, Any]) -> None:
        self.name = name
        self.facts = facts

    def __str__(self) -> str:
        return " ".join((self.name, *(f"{name}={_shown(value)}" for name, value in self.facts.items())))


def _shown(value: object) -> str:
    text = printable(str(value))
    return repr(text) if " " in text or not text else text


def report(room: str, level: Level, event: str, *, exc_info: bool | BaseException | None = None, **facts: Any) -> None:
    """Log an event under `otel_audit.<room>`; raises nothing.

    Whoever reports is committing, delivering or answering, and must not fail because a handler does.
    """
    try:
        logger = logging.getLogger(f"otel_audit.{room}")
        extra = {FACTS: {"event": event, **facts}}
        logger.log(_LEVELS[level], Event(event, facts), exc_info=exc_info, extra=extra)
    except Exception:  # noqa: BLE001, S110 - there is nowhere left to tell it; counters and states must do
        pass


class RateLimit:
    """Lets one event of a kind through in each interval, and counts the others. Safe to share between threads.

    Args:
        interval_s: between two events of one kind.
        monotonic_s: a clock that never steps back.
    """

    def __init__(self, interval_s: float, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._interval_s = interval_s
        self._monotonic_s = monotonic_s
        self._lock = threading.Lock()
        self._kinds: dict[object, tuple[float, int]] = {}

    def admit(self, kind: object, count: int = 1) -> int | None:
        """How many events of this kind there were since the last one let through, these included; None: not now.

        A peer may choose the kind, so the least recently admitted are forgotten where there are very many.
        """
        now_s = self._monotonic_s()
        with self._lock:
            last_s, held = self._kinds.get(kind, (float("-inf"), 0))
            if now_s - last_s < self._interval_s:
                self._kinds[kind] = (last_s, held + count)
                return None
            self._kinds.pop(kind, None)
            if len(self._kinds) >= _MOST_KEYS:
                del self._kinds[next(iter(self._kinds))]
            self._kinds[kind] = (now_s, 0)
            return held + count
