"""One LogRecord into one row: promoted attributes into their columns, everything else into `attributes`.

This is the collector's hot path. A text attribute that fills a column, which is what nearly all are, is dealt with in
`fill_row` itself; whatever is odd about an attribute sends it to `_Leftovers`. `attributes` keeps, as typed JSON, all
that the columns do not give back exactly: keys without a column, an alias that was used, an int where a column has its
text, JSON text for a map, a map with bytes or NaN, a UUID in upper case; and, under `otel_audit.raw.`, a
record's own fields that do not fit.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

from google.protobuf.message import DecodeError
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from otel_audit.model.ids import MAX_ID_CHARS, UUID_CHARS, canonical_id
from otel_audit.model.json_values import format_json, parse_json
from otel_audit.otlp.columns import SLOT
from otel_audit.otlp.names import AUDIT_PREFIX, BY_KEY, RAW_PREFIX, WIRE, WireName
from otel_audit.otlp.parsing import parse_again
from otel_audit.otlp.values import UnacceptableError, format_object, format_plain_map, format_typed, json_kind, quote

__all__ = [
    "MAX_MESSAGE_BYTES",
    "RAW_DROPPED",
    "RAW_OBSERVED",
    "RAW_SPAN_ID",
    "RAW_TIME",
    "RAW_TRACE_ID",
    "audit_attributes",
    "fill_row",
    "may_be_audit",
]

RAW_TIME = RAW_PREFIX + "time_unix_nano"
RAW_OBSERVED = RAW_PREFIX + "observed_time_unix_nano"
RAW_DROPPED = RAW_PREFIX + "dropped_attributes_count"
RAW_TRACE_ID = RAW_PREFIX + "trace_id"
RAW_SPAN_ID = RAW_PREFIX + "span_id"

MAX_MESSAGE_BYTES = 8 << 20
"""Of one record, Resource or scope: what protobuf may be asked to parse. Our own limits on a record keep it below."""
_MAX_ACTION_CHARS = 256
_I64_MAX = 2**63 - 1
_NO_TRACE, _NO_SPAN = bytes(16), bytes(8)
_text_slot = {wire.key: SLOT[wire.column] for wire in WIRE if wire.kind in ("id", "text")}.get
_ID_SLOTS = frozenset(SLOT[wire.column] for wire in WIRE if wire.kind == "id")
_map_slot = {wire.key: SLOT[wire.column] for wire in WIRE if wire.kind == "json"}.get
_AUDIT_PREFIX_BYTES = AUDIT_PREFIX.encode()
_ALIASED = tuple((wire, alias) for wire in WIRE for alias in wire.aliases)
_ALIASES = frozenset(alias for _, alias in _ALIASED)
_SHORT_CHARS = 256
_MOST_CHARS = {wire.column: MAX_ID_CHARS for wire in WIRE if wire.kind == "id"} | {"entity_type": _SHORT_CHARS}
"""What can be asked for: a longer text would be kept, and found by nobody."""
_WANTED = {"id": "stringValue", "text": "stringValue", "json": "kvlistValue", "int": "intValue"}
_UNSET: Any = object()
"""Stands in a row for a promoted attribute that was sent without a value, until the row is done."""

_STREAM_NUMBER = SLOT["stream_number"]
_NUMBER_KEY = next(wire.key for wire in WIRE if wire.column == "stream_number")
_RECORD_ID, _ACTOR_ID, _ACTION = SLOT["record_id"], SLOT["actor_id"], SLOT["action"]
_TIME, _OBSERVED = SLOT["time_unix_nano"], SLOT["observed_time_unix_nano"]
_TRACE_ID, _SPAN_ID, _TRACE_FLAGS = SLOT["trace_id"], SLOT["span_id"], SLOT["trace_flags"]
_SEVERITY_NUMBER, _SEVERITY_TEXT = SLOT["severity_number"], SLOT["severity_text"]
_EVENT_NAME, _BODY, _ATTRIBUTES = SLOT["event_name"], SLOT["body"], SLOT["attributes"]


def may_be_audit(raw: bytes) -> bool:
    """Whether some attribute of a serialized LogRecord may be of the audit model, as far as can be told unparsed."""
    return _AUDIT_PREFIX_BYTES in raw


def audit_attributes(raw: bytes) -> Sequence[KeyValue] | None:
    """The attributes of a serialized LogRecord, if any of them is of the audit model; None: the record is none of ours.

    There are none to give where the record cannot be parsed; its bytes can still tell that no key begins like ours.
    """
    if not may_be_audit(raw):
        return None
    if len(raw) > MAX_MESSAGE_BYTES:
        return ()
    try:
        attributes = _parse(raw).attributes
    except DecodeError:
        return ()
    return attributes if any(attribute.key.startswith(AUDIT_PREFIX) for attribute in attributes) else None


def fill_row(raw: bytes, row: list[Any]) -> None:
    """Put the values of a serialized LogRecord into a row of `columns.ROW`; slots of what it lacks stay as they are.

    Raises:
        UnacceptableError: the record is no valid activity; the reason is meant for a person. The row is void.
    """
    if len(raw) > MAX_MESSAGE_BYTES:
        raise UnacceptableError(f"it takes {len(raw)} bytes; {MAX_MESSAGE_BYTES} are allowed")
    try:
        record = _parse(raw)
    except DecodeError as error:
        raise UnacceptableError(_why_unparsable(str(error))) from None

    leftovers: _Leftovers | None = None
    for attribute in record.attributes:
        key = attribute.key
        value = attribute.value
        if attribute.key_strindex:
            raise UnacceptableError("a key is given by reference (key_strindex)")
        # A text that is not empty needs no question about its kind, which costs as much as all else here.
        if text := value.string_value:
            if (
                (slot := _text_slot(key)) is not None
                and row[slot] is None
                and (size := len(text)) <= _SHORT_CHARS
                and (size != UUID_CHARS or slot not in _ID_SLOTS or canonical_id(text) == text)
            ):
                row[slot] = text
                continue
        elif (slot := _map_slot(key)) is not None and row[slot] is None and value.HasField("kvlist_value"):
            shown, exact = format_plain_map(value.kvlist_value.values)
            if exact:
                row[slot] = shown
                continue
        leftovers = leftovers or _Leftovers(row)
        leftovers.take(attribute, key, value)
    if (time_ns := record.time_unix_nano) > _I64_MAX:
        leftovers = leftovers or _Leftovers(row)
        leftovers.keep_raw(RAW_TIME, f'{{"intValue":"{time_ns}"}}')
        time_ns = 0
    row[_TIME] = time_ns
    if (observed_ns := record.observed_time_unix_nano) > _I64_MAX:
        leftovers = leftovers or _Leftovers(row)
        leftovers.keep_raw(RAW_OBSERVED, f'{{"intValue":"{observed_ns}"}}')
        observed_ns = 0
    row[_OBSERVED] = observed_ns
    if trace_id := record.trace_id:
        if len(trace_id) == 16 and trace_id != _NO_TRACE:
            row[_TRACE_ID] = trace_id.hex()
        else:
            leftovers = leftovers or _Leftovers(row)
            leftovers.keep_raw(RAW_TRACE_ID, _typed_bytes(trace_id))
    if span_id := record.span_id:
        if len(span_id) == 8 and span_id != _NO_SPAN:
            row[_SPAN_ID] = span_id.hex()
        else:
            leftovers = leftovers or _Leftovers(row)
            leftovers.keep_raw(RAW_SPAN_ID, _typed_bytes(span_id))
    row[_TRACE_FLAGS] = record.flags or None
    row[_EVENT_NAME] = record.event_name or None
    row[_SEVERITY_NUMBER] = record.severity_number or None
    row[_SEVERITY_TEXT] = record.severity_text or None
    if record.HasField("body"):
        row[_BODY] = format_typed(record.body)
    if dropped := record.dropped_attributes_count:
        leftovers = leftovers or _Leftovers(row)
        leftovers.keep_raw(RAW_DROPPED, f'{{"intValue":"{dropped}"}}')
    if leftovers is not None:
        row[_ATTRIBUTES] = leftovers.finish()
    _check_required(row)


def _parse(raw: bytes) -> LogRecord:
    try:
        return LogRecord.FromString(raw)
    except DecodeError:
        return parse_again(LogRecord, raw)


def _why_unparsable(said: str) -> str:
    """Protobuf's words for a person; other implementations of it have others."""
    if "UTF-8" in said:
        return "a text in it is not UTF-8"
    if "Depth" in said or "recursion" in said.lower():
        return "it is nested too deep"
    if "corrupt" in said:
        return "it is damaged: no serialized LogRecord"
    return "it cannot be parsed: damaged, not UTF-8, or nested too deep"


def _typed_bytes(content: bytes) -> str:
    return f'{{"bytesValue":"{base64.b64encode(content).decode()}"}}'


def _check_required(row: list[Any]) -> None:
    record_id, actor_id, action = row[_RECORD_ID], row[_ACTOR_ID], row[_ACTION]
    if not (record_id and actor_id and action):
        missing = [wire.key for wire in WIRE if wire.required and not row[SLOT[wire.column]]]
        raise UnacceptableError(f"{', '.join(missing)} missing or empty")
    if len(record_id) > MAX_ID_CHARS or len(actor_id) > MAX_ID_CHARS or len(action) > _MAX_ACTION_CHARS:
        raise UnacceptableError(
            f"an id of more than {MAX_ID_CHARS} characters, or an action of more than {_MAX_ACTION_CHARS}"
        )
    if (number := row[_STREAM_NUMBER]) is not None and number < 1:
        raise UnacceptableError(f"the attribute {_NUMBER_KEY!r} is {number}; a stream's numbers begin at 1")


class _Leftovers:
    """What the columns of one row do not hold, by key, as typed JSON."""

    __slots__ = ("_aliased", "_row", "_typed", "_unset")

    def __init__(self, row: list[Any]) -> None:
        self._row = row
        self._typed: dict[str, str] = {}
        self._aliased: dict[str, AnyValue] = {}
        self._unset: list[int] = []

    def take(self, attribute: KeyValue, key: str, value: AnyValue) -> None:
        """Take an attribute that is no plain text for an empty column."""
        wire = BY_KEY.get(key)
        if key in self._typed or (wire is not None and key == wire.key and self._row[SLOT[wire.column]] is not None):
            raise UnacceptableError(f"the attribute {key!r:.100} stands twice")
        if key.startswith(RAW_PREFIX):
            raise UnacceptableError(f"the attribute {key!r:.100}: the prefix {RAW_PREFIX} is reserved")
        sent = attribute.HasField("value")
        if key in _ALIASES:
            self._aliased[key] = value
        elif wire is not None and not self._promote(wire, key, value):
            return
        self._typed[key] = format_typed(value) if sent else "null"

    def keep_raw(self, key: str, typed: str) -> None:
        """Keep a field of the record itself."""
        self._typed[key] = typed

    def finish(self) -> str | None:
        """Settle aliases and return the column `attributes`."""
        for wire, alias in _ALIASED:
            if alias in self._aliased:
                self._settle_alias(wire, alias, self._aliased[alias])
        for slot in self._unset:
            if self._row[slot] is _UNSET:
                self._row[slot] = None
        if not self._typed:
            return None
        return format_object({key: f"{quote(key)}:{typed}" for key, typed in self._typed.items()})

    def _settle_alias(self, wire: WireName, alias: str, value: AnyValue) -> None:
        slot = SLOT[wire.column]
        main = self._row[slot]
        if main is None or main is _UNSET:
            self._promote(wire, alias, value)
        elif wire.key not in self._typed:
            # Both were sent. Were their texts equal, a reader of the row could not tell that from the alias alone.
            self._typed[wire.key] = f'{{"stringValue":{quote(main)}}}'

    def _promote(self, wire: WireName, key: str, value: AnyValue) -> bool:
        """Fill a column from its attribute; True when the typed value must be kept beside it."""
        slot = SLOT[wire.column]
        kind = value.WhichOneof("value")
        if kind is None:
            self._unset.append(slot)
            self._row[slot] = _UNSET
            return True
        if kind == "string_value" and wire.column in _MOST_CHARS:
            return self._promote_name(wire, key, value.string_value)
        if kind == "string_value" and wire.kind == "text":
            self._row[slot] = value.string_value
            return False
        if kind == "int_value" and wire.kind == "id":
            self._row[slot] = str(value.int_value)
            return True
        if kind == "int_value" and wire.kind == "int":
            self._row[slot] = value.int_value
            return False
        if kind == "kvlist_value" and wire.kind == "json":
            self._row[slot], exact = format_plain_map(value.kvlist_value.values)
            return not exact
        if kind == "string_value" and wire.kind == "json":
            self._row[slot] = _json_object(key, value.string_value)
            return True
        raise UnacceptableError(f"the attribute {key!r} is of the kind {json_kind(kind)}, not {_WANTED[wire.kind]}")

    def _promote_name(self, wire: WireName, key: str, text: str) -> bool:
        """The same for what names somebody or something. An empty one, where it may be left out, names nothing."""
        if len(text) > _MOST_CHARS[wire.column]:
            raise UnacceptableError(
                f"the attribute {key!r} has {len(text)} characters; {_MOST_CHARS[wire.column]} are allowed"
            )
        if not text and not wire.required:
            return True
        self._row[SLOT[wire.column]] = name = canonical_id(text) if wire.kind == "id" else text
        return name != text


def _json_object(key: str, text: str) -> str:
    try:
        value = parse_json(text)
    except ValueError as error:
        raise UnacceptableError(f"the attribute {key!r} is text, but no JSON: {error}") from None
    if not isinstance(value, dict):
        raise UnacceptableError(f"the attribute {key!r} is JSON, but no object")
    return format_json(value)
