"""Markers of this moment: what an outbox or an errand tells about a stream."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from otel_audit.otlp.markers import encode_marker
from otel_audit.otlp.names import StreamState

__all__ = ["Mark", "marking"]

Mark = Callable[[str, str, int], bytes]
"""Makes a marker: stream, state, highest number given."""


def marking(clock_ns: Callable[[], int]) -> Mark:
    """What makes markers by a clock, in ns since 1970."""

    def mark(stream_id: str, state: str, last_number: int) -> bytes:
        return encode_marker(stream_id, cast(StreamState, state), last_number, clock_ns())

    return mark
