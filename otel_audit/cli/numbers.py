"""Counts and numbers as the commands write them."""

from __future__ import annotations

from otel_audit.model.ranges import Ranges

__all__ = ["plural_s", "shown_ranges"]

_SHOWN_RANGES = 5


def plural_s(count: int) -> str:
    """The letter behind a noun that is counted."""
    return "" if count == 1 else "s"


def shown_ranges(ranges: Ranges) -> tuple[str, int]:
    """The first few ranges as text, and how many more there are."""
    shown = [str(first) if first == last else f"{first}-{last}" for first, last in ranges[:_SHOWN_RANGES]]
    return ", ".join(shown), len(ranges) - len(shown)
