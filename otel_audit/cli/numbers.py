"""Counts, numbers and streams as the commands write them."""

from __future__ import annotations

from otel_audit.model.ranges import Ranges

__all__ = ["plural_s", "shown_ranges", "stream_text"]

_SHOWN_RANGES = 5
_STREAM_CHARS = 13
"""Of a UUIDv7: the millisecond in which the stream began."""


def plural_s(count: int) -> str:
    """The letter behind a noun that is counted."""
    return "" if count == 1 else "s"


def shown_ranges(ranges: Ranges) -> tuple[str, int]:
    """The first few ranges as text, and how many more there are."""
    shown = [str(first) if first == last else f"{first}-{last}" for first, last in ranges[:_SHOWN_RANGES]]
    return ", ".join(shown), len(ranges) - len(shown)


def stream_text(stream_id: str) -> str:
    """The beginning of a stream's id, which `--stream` takes for the whole."""
    return stream_id[:_STREAM_CHARS]
