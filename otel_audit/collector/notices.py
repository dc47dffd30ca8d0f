"""What the collector tells its operator while it serves: once per cause and interval, not once per request."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

from otel_audit.events import RateLimit, report
from otel_audit.log.engine import Committed
from otel_audit.otlp.decode import Decoded

__all__ = ["Notices"]

_INTERVAL_S = 30.0
_MOST_CAUSES = 20
"""Of quarantined records in one interval: reason and service are what a peer wrote, and each may be another one."""
_OTHERS = "various: `otel-audit quarantine list` shows each"


class Notices:
    """Belongs to one event loop."""

    def __init__(self, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._monotonic_s = monotonic_s
        self._limit = RateLimit(_INTERVAL_S, monotonic_s)
        self._outage_s: float | None = None
        self._refused = 0
        self._causes: set[tuple[str, str | None]] = set()
        self._causes_since_s = float("-inf")

    def refused(self, reason: str, *, status: int, path: str, peer: str, why: str) -> None:
        """A request was not answered with success."""
        if reason == "storage":
            self._outage_s = self._monotonic_s() if self._outage_s is None else self._outage_s
            self._refused += 1
        if (count := self._limit.admit(reason)) is not None:
            report(
                "collector",
                "warning",
                "refused",
                reason=reason,
                status=status,
                path=path,
                peer=peer,
                why=why,
                requests=count,
            )

    def stored(self, decoded: Decoded, committed: Committed, peer: str) -> None:
        """A request was stored: tells of an outage that is over, and of what went into the quarantine."""
        if self._outage_s is not None:
            after_s, refused = round(self._monotonic_s() - self._outage_s, 1), self._refused
            self._outage_s, self._refused = None, 0
            report("collector", "info", "recovered", after_s=after_s, refused_requests=refused)
        if decoded.rejected:
            causes = Counter((one.reason, one.service_name) for one in decoded.rejected)
            for (reason, service), count in causes.items():
                self._quarantined(reason, service, peer, count)
        if committed.conflicts:
            self._quarantined("another record with the same id is in the log", None, peer, committed.conflicts)

    def _quarantined(self, reason: str, service: str | None, peer: str, count: int) -> None:
        now_s = self._monotonic_s()
        if now_s - self._causes_since_s >= _INTERVAL_S:
            self._causes, self._causes_since_s = set(), now_s
        if (reason, service) not in self._causes and len(self._causes) >= _MOST_CAUSES:
            reason, service = _OTHERS, None
        else:
            self._causes.add((reason, service))
        if (held := self._limit.admit((reason, service), count)) is not None:
            report("collector", "warning", "quarantined", reason=reason, service=service, peer=peer, records=held)
