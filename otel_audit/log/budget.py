"""What the quarantine may hold, and how much of that any one source.

Bytes are counted as they were sent, not as they lie compressed on the disk: whoever looks at them has them in memory.
What was decided about counts no longer. A source, the service that a record names or else its peer, gets at most half,
so that one producer gone wrong is refused by itself while the others go on. ADR 14 says why not otherwise.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from otel_audit.log.held import Held
from otel_audit.log.saying import say

__all__ = ["Budget"]

_SOON = 0.8


class Budget:
    """Changed by whoever commits to the quarantine; `notice` may be asked by any thread."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._share_bytes = max_bytes // 2
        self._held: Counter[str] = Counter()
        self._told = ""

    @property
    def held_bytes(self) -> int:
        """What is held now."""
        return self._held.total()

    def recount(self, held: Iterable[Held]) -> None:
        """Count anew, after a start or a decision."""
        found: Counter[str] = Counter()
        for one in held:
            found[one.source] += one.request_bytes
        self._held = found
        self._tell()

    def fits(self, source: str, size_bytes: int, besides: int = 0) -> bool:
        """Whether so much more of a source may be held, with `besides` of others."""
        whole = self.held_bytes + besides + size_bytes <= self.max_bytes
        return whole and self._held[source] + size_bytes <= self._share_bytes

    def add(self, sizes: Counter[str]) -> None:
        """So much is held now, by source."""
        self._held = self._held + sizes
        self._tell()

    @property
    def notice(self) -> str:
        """What an operator should do something about before or when records are refused, or ""."""
        held = self._held
        said = []
        if held.total() >= _SOON * self.max_bytes:
            said.append(f"the quarantine is {_percent(held.total(), self.max_bytes)} full")
        said += [
            f"{source!r:.100} has used {_percent(size, self._share_bytes)} of its half of the quarantine"
            for source, size in held.most_common(2)
            if size >= _SOON * self._share_bytes
        ]
        return "; ".join(said)

    def _tell(self) -> None:
        notice = self.notice
        if notice and not self._told:
            say("warning", "quarantine_nearly_full", notice=notice, advice="otel-audit quarantine list")
        self._told = notice


def _percent(size: int, of: int) -> str:
    return f"{100 * size // of if of else 100} %"
