"""When records that a peer refused are sent again without anybody asking: those whose cause can pass (a token, a path).

After the next success all that were refused before it; until then one of them, at a slow pace, to find out. Each waits
twice as long as the last time, so that one which never passes costs next to nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from otel_audit.delivery.verdict import can_pass
from otel_audit.errors import SpoolFileError
from otel_audit.spool.format import Header, parse_header
from otel_audit.spool.places import PARKED
from otel_audit.spool.pools import Pools

__all__ = ["SecondTries"]

_SOON_S, _SLOW_S, _LONGEST_S = 5.0, 60.0, 3600.0
_LOOK_S = 60.0
_AT_ONCE = 200
_HEADERS_AT_ONCE = 2_000
_MOST_DOUBLINGS = 10
_HEADER_BYTES = 256 << 10


@dataclass(slots=True)
class _Waiting:
    tries: int
    refused_s: float


class SecondTries:
    """Parked files that wait for their next try. Used by the sender's thread.

    Args:
        clock_s: monotonic seconds.
    """

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s = clock_s
        self._waiting: dict[Path, _Waiting] = {}
        self._passed_over: set[Path] = set()
        self._success_s = self._probe_s = float("-inf")
        self._probes = 0
        self._look_s = float("-inf")

    def refused(self, path: Path, reason: str) -> None:
        """A parked file was refused, for the first time or again."""
        if not can_pass(reason):
            self._waiting.pop(path, None)
            self._passed_over.add(path)
            return
        now_s = self._clock_s()
        if not self._waiting:
            self._probe_s, self._probes = now_s, 0
        known = self._waiting.get(path)
        self._waiting[path] = _Waiting(known.tries + 1 if known else 0, now_s)

    def gone(self, path: Path) -> None:
        """A file is parked no more."""
        self._waiting.pop(path, None)

    def succeeded(self) -> None:
        """The peer took something."""
        if self._waiting:
            self._success_s = self._clock_s()

    def look(self, pools: Pools, is_ours: Callable[[Header], bool]) -> None:
        """Find, now and then, what others have parked: processes that are gone cannot try again."""
        now_s = self._clock_s()
        if now_s < self._look_s:
            return
        found = {path for _, path in pools.files(PARKED)}
        self._waiting = {path: waiting for path, waiting in self._waiting.items() if path in found}
        self._passed_over &= found
        unknown = sorted(found - self._waiting.keys() - self._passed_over)
        if len(unknown) <= _HEADERS_AT_ONCE:  # else on with them next time
            self._look_s = now_s + _LOOK_S
        for path in unknown[:_HEADERS_AT_ONCE]:
            header = _header(path)
            if header is not None and is_ours(header):
                self.refused(path, header.reason)
            else:
                self._passed_over.add(path)

    def due(self) -> list[Path]:
        """What is to be sent again now; perhaps more of it when that is done."""
        now_s = self._clock_s()
        ready = [path for path, waiting in self._waiting.items() if self._is_ready(waiting, now_s)]
        if ready or not self._waiting or now_s < self._probe_s + _doubled(_SLOW_S, self._probes):
            return ready[:_AT_ONCE]
        self._probe_s, self._probes = now_s, self._probes + 1
        return [min(self._waiting, key=lambda path: self._waiting[path].refused_s)]

    def _is_ready(self, waiting: _Waiting, now_s: float) -> bool:
        if self._success_s <= waiting.refused_s:
            return False
        return now_s >= waiting.refused_s + _doubled(_SOON_S, waiting.tries)


def _doubled(pause_s: float, times: int) -> float:
    return min(pause_s * 2.0 ** min(times, _MOST_DOUBLINGS), _LONGEST_S)


def _header(path: Path) -> Header | None:
    try:
        with path.open("rb") as file:
            return parse_header(file.read(_HEADER_BYTES))[0]
    except (OSError, SpoolFileError):
        return None
