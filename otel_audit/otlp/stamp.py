"""The number of a record in its producer's stream, put on after it was encoded.

A record gets its number only when it is durable, so that one which was refused leaves no gap; encoding it is the dear
part and needs no number. Protobuf does not mind in which order the fields of a message come.
"""

from __future__ import annotations

from collections.abc import Callable

from otel_audit.otlp.heads import Heads, text_attribute, varint
from otel_audit.otlp.names import WIRE

__all__ = ["Stamp", "stream_stamp"]

Stamp = Callable[[int], bytes]
"""Gives the bytes that number a record; they go behind it."""

_NUMBER = Heads(next(wire.key for wire in WIRE if wire.column == "stream_number"), text=False)


def stream_stamp(stream_id: str) -> Stamp:
    """The stamp of one stream. Numbers are 1 or above and below 2**63."""
    stream = text_attribute("stream_id", stream_id)

    def stamp(number: int) -> bytes:
        value = b"\x18" + varint(number)
        return stream + _NUMBER[len(value)] + value

    return stamp
