"""Markers: what a producer tells about its stream, as a LogRecord that is no activity. Both directions.

A marker names its stream, the state of it, and the highest number given so far. It has no record id, so that no reader
of another make can take it for an activity; the collector tells it by its attributes alone, because not every hop keeps
an event name.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from struct import Struct
from typing import Any

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from otel_audit.errors import InvalidRecordError
from otel_audit.model.ids import MAX_ID_CHARS
from otel_audit.otlp.heads import Heads, text_attribute, varint
from otel_audit.otlp.names import (
    SCHEMA_VERSION,
    SEQUENCE_END,
    SEVERITY_INFO,
    STREAM_EVENT,
    STREAM_LAST_NUMBER,
    STREAM_STATE,
    STREAM_STATES,
    WIRE,
    StreamState,
)
from otel_audit.otlp.values import UnacceptableError, json_kind

__all__ = ["Marker", "encode_marker", "read_marker", "stream_place"]

_KEYS = {wire.column: wire.key for wire in WIRE}
_STREAM_ID, _STREAM_NUMBER = _KEYS["stream_id"], _KEYS["stream_number"]
_OF_ACTIVITIES = frozenset(wire.key for wire in WIRE if wire.required)
_OF_MARKERS = frozenset((_STREAM_ID, STREAM_STATE, STREAM_LAST_NUMBER, SEQUENCE_END))
_times = Struct("<BQBQ").pack
_state_heads = Heads(STREAM_STATE)
_number_heads = Heads(STREAM_LAST_NUMBER, text=False)
_end_heads = Heads(SEQUENCE_END, text=False)
_EVENT = STREAM_EVENT.encode()
_FIXED = (
    bytes((0x10, SEVERITY_INFO))
    + text_attribute("schema_version", SCHEMA_VERSION)
    + b"\x62"
    + varint(len(_EVENT))
    + _EVENT
)
_TRUE = b"\x10\x01"


@dataclass(frozen=True, slots=True)
class Marker:
    """What a marker says, and who sent it.

    Attributes:
        last_number: the highest number given so far; 0 for none.
        service_name, service_instance_id: of its Resource.
        received_from: the peer.
    """

    stream_id: str
    state: StreamState
    last_number: int
    service_name: str | None
    service_instance_id: str | None
    received_from: str


def encode_marker(stream_id: str, state: StreamState, last_number: int, observed_ns: int) -> bytes:
    """One serialized OTLP LogRecord.

    Args:
        stream_id: not empty, and at most 512 characters.
        last_number: the highest number given so far, 0 for none; below 2**63.
        observed_ns: now, in ns since 1970.

    Raises:
        InvalidRecordError: a value that the collector would refuse.
    """
    if not 0 < len(stream_id) <= MAX_ID_CHARS or not 0 <= last_number < 2**63:
        raise InvalidRecordError("stream", f"{stream_id!r:.100} with the number {last_number} has no marker")
    try:
        stream = text_attribute("stream_id", stream_id)
    except UnicodeEncodeError:
        raise InvalidRecordError("stream", f"{stream_id!r:.100} holds a lone surrogate") from None
    encoded = state.encode()
    number = b"\x18" + varint(last_number)
    parts = [_times(0x09, observed_ns, 0x59, observed_ns), _FIXED, stream]
    parts += [_state_heads[len(encoded)], encoded, _number_heads[len(number)], number]
    if state == "closed":
        parts += [_end_heads[len(_TRUE)], _TRUE]
    return b"".join(parts)


def read_marker(attributes: Iterable[KeyValue]) -> tuple[str, StreamState, int] | None:
    """Stream, state and highest number, when a record with these attributes is a marker.

    Raises:
        UnacceptableError: it is one, but an attribute is missing, doubled or of another type, or the state unknown.
    """
    told: dict[str, AnyValue] = {}
    doubled = ""
    for attribute in attributes:
        key = attribute.key
        if key in _OF_ACTIVITIES:
            return None
        if key in _OF_MARKERS:
            doubled = doubled or (key if key in told else "")
            told[key] = attribute.value
    if STREAM_STATE not in told:
        return None
    if doubled:
        raise UnacceptableError(f"a marker: the attribute {doubled!r} stands twice")
    stream_id = _told(told, _STREAM_ID, "string_value")
    state = _told(told, STREAM_STATE, "string_value")
    last_number = _told(told, STREAM_LAST_NUMBER, "int_value")
    if SEQUENCE_END in told:
        _told(told, SEQUENCE_END, "bool_value")
    if not 0 < len(stream_id) <= MAX_ID_CHARS:
        raise UnacceptableError(f"a marker: a stream's id has 1 to {MAX_ID_CHARS} characters")
    if state not in STREAM_STATES:
        raise UnacceptableError(f"a marker: a stream's state is one of {', '.join(STREAM_STATES)}, not {state!r:.100}")
    if last_number < 0:
        raise UnacceptableError(f"a marker: the highest number cannot be {last_number}")
    return stream_id, state, last_number


def _told(told: dict[str, AnyValue], key: str, kind: str) -> Any:
    value = told.get(key)
    if value is None or value.WhichOneof("value") != kind:
        raise UnacceptableError(f"a marker: the attribute {key!r} is missing, or not of the kind {json_kind(kind)}")
    return getattr(value, kind)


def stream_place(attributes: Iterable[KeyValue]) -> tuple[str, int] | None:
    """A record's stream and its number there, where it brings both, once each, and they can be such."""
    ids: list[str] = []
    numbers: list[int] = []
    for attribute in attributes:
        if attribute.key == _STREAM_ID and attribute.value.string_value:
            ids.append(attribute.value.string_value)
        elif attribute.key == _STREAM_NUMBER and attribute.value.HasField("int_value"):
            numbers.append(attribute.value.int_value)
    return (ids[0], numbers[0]) if len(ids) == len(numbers) == 1 and numbers[0] >= 1 else None
