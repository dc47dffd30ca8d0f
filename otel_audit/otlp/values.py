"""OTLP's AnyValue in JSON, two ways, both canonical text.

*Typed* is the JSON of the OTLP specification: `{"intValue":"5"}`, `{"bytesValue":"AQ=="}`. It gives every value back
exactly; the archive keeps in it what no column holds. *Plain* is what an application would write: `5`. It cannot hold
bytes, NaN or infinities, and says so. In both, the entries of a map stand in the order of their keys, because that
order means nothing in OTLP.

Text is written directly, without building Python objects first: this runs once for each value of each record.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable
from json.encoder import encode_basestring as quote
from typing import Any, NoReturn

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from otel_audit.errors import ArchiveFaultError
from otel_audit.model.json_values import MAX_DEPTH

__all__ = [
    "UnacceptableError",
    "any_value",
    "format_object",
    "format_plain_map",
    "format_typed",
    "json_kind",
    "parse_typed",
    "quote",
]


class UnacceptableError(Exception):
    """Why one record cannot stand in the archive; does not leave this room."""


def format_object(members: dict[str, str]) -> str:
    """A canonical JSON object from {key: the member's text, `"key":value`} (RFC 8785 §3.2.3)."""
    text = "{" + ",".join([members[key] for key in sorted(members)]) + "}"
    # Python sorts by code point, the RFC by UTF-16 unit; they differ only above U+FFFF.
    if not text.isascii() and any(character > "\uffff" for character in text):
        in_order = sorted(members, key=lambda key: key.encode("utf-16-be"))
        return "{" + ",".join([members[key] for key in in_order]) + "}"
    return text


def format_typed(value: AnyValue, levels: int = 0) -> str:
    """The typed JSON of a value; `{}` when it has no kind. `levels`: lists and maps around it.

    Raises:
        UnacceptableError: more than 32 levels, a key twice in one map, a key given by reference.
    """
    kind = value.WhichOneof("value")
    if kind == "string_value":
        return f'{{"stringValue":{quote(value.string_value)}}}'
    if kind == "int_value":
        return f'{{"intValue":"{value.int_value}"}}'
    if kind == "bool_value":
        return '{"boolValue":true}' if value.bool_value else '{"boolValue":false}'
    if kind == "double_value":
        return f'{{"doubleValue":{_typed_double(value.double_value)}}}'
    if kind == "bytes_value":
        return f'{{"bytesValue":"{base64.b64encode(value.bytes_value).decode()}"}}'
    if kind == "array_value":
        levels = _deeper(levels)
        items = ",".join([format_typed(item, levels) for item in value.array_value.values])
        return f'{{"arrayValue":{{"values":[{items}]}}}}'
    if kind == "kvlist_value":
        return f'{{"kvlistValue":{{"values":[{_typed_entries(value.kvlist_value.values, _deeper(levels))}]}}}}'
    if kind == "string_value_strindex":
        return f'{{"stringValueStrindex":{value.string_value_strindex}}}'
    return "{}"


def _typed_entries(entries: Iterable[KeyValue], levels: int) -> str:
    members: dict[str, str] = {}
    for entry in entries:
        key = entry.key
        if key in members or entry.key_strindex:
            _refuse_key(entry)
        shown = f',"value":{format_typed(entry.value, levels)}' if entry.HasField("value") else ""
        members[key] = f'{{"key":{quote(key)}{shown}}}'
    return format_object(members)[1:-1]


def format_plain_map(entries: Iterable[KeyValue], levels: int = 0) -> tuple[str, bool]:
    """A map as a plain JSON object, and whether that holds it exactly (but for the order of keys).

    What JSON cannot hold is shown as well as it can: bytes as base64 text, NaN and infinities as null.

    Raises:
        UnacceptableError: as `format_typed`; also for a text given by reference.
    """
    levels = _deeper(levels)
    exact = True
    members: dict[str, str] = {}
    for entry in entries:
        key = entry.key
        value = entry.value
        if key in members or entry.key_strindex:
            _refuse_key(entry)
        if text := value.string_value:
            members[key] = f"{quote(key)}:{quote(text)}"
        elif number := value.int_value:
            members[key] = f"{quote(key)}:{number}"
        else:
            shown, same = _plain(value, levels)
            members[key] = f"{quote(key)}:{shown}"
            # A missing value and an empty one are both null.
            exact = exact and same and (shown != "null" or entry.HasField("value"))
    return format_object(members), exact


def _plain(value: AnyValue, levels: int) -> tuple[str, bool]:
    kind = value.WhichOneof("value")
    if kind == "string_value":
        return quote(value.string_value), True
    if kind == "int_value":
        return str(value.int_value), True
    if kind == "bool_value":
        return ("true" if value.bool_value else "false"), True
    if kind == "double_value":
        number = value.double_value
        return (repr(number), True) if math.isfinite(number) else ("null", False)
    if kind is None:
        return "null", True
    if kind == "kvlist_value":
        return format_plain_map(value.kvlist_value.values, levels)
    if kind == "array_value":
        levels = _deeper(levels)
        items = [_plain(item, levels) for item in value.array_value.values]
        return f"[{','.join([shown for shown, _ in items])}]", all(same for _, same in items)
    if kind == "bytes_value":
        return f'"{base64.b64encode(value.bytes_value).decode()}"', False
    raise UnacceptableError("a text is given by reference (string_value_strindex)")


def _deeper(levels: int) -> int:
    if levels >= MAX_DEPTH:
        raise UnacceptableError(f"a value is more than {MAX_DEPTH} levels deep")
    return levels + 1


def _refuse_key(entry: KeyValue) -> NoReturn:
    if entry.key_strindex:
        raise UnacceptableError("a key is given by reference (key_strindex)")
    raise UnacceptableError(f"the key {entry.key!r:.100} stands twice in one map")


def _typed_double(number: float) -> str:
    if math.isfinite(number):
        return repr(number)
    if math.isnan(number):
        return '"NaN"'
    return '"Infinity"' if number > 0 else '"-Infinity"'


def parse_typed(typed: Any) -> AnyValue:
    """The value of typed JSON that was parsed already; the inverse of `format_typed`.

    Raises:
        ArchiveFaultError: not what `format_typed` writes.
    """
    try:
        return _parse_typed(typed)
    except (TypeError, ValueError, KeyError, AttributeError, RecursionError) as error:
        raise ArchiveFaultError(f"not a typed OTLP value: {typed!r:.200} ({error})") from None


def _parse_typed(typed: dict[str, Any]) -> AnyValue:
    value = AnyValue()
    for kind, content in typed.items():
        if kind == "stringValue":
            value.string_value = content
        elif kind == "intValue":
            value.int_value = int(content)
        elif kind == "boolValue":
            value.bool_value = content
        elif kind == "doubleValue":
            value.double_value = float(content)
        elif kind == "bytesValue":
            value.bytes_value = base64.b64decode(content, validate=True)
        elif kind == "arrayValue":
            value.array_value.SetInParent()
            value.array_value.values.extend([_parse_typed(item) for item in content["values"]])
        elif kind == "kvlistValue":
            value.kvlist_value.SetInParent()
            for entry in content["values"]:
                added = value.kvlist_value.values.add(key=entry["key"])
                if "value" in entry:
                    added.value.CopyFrom(_parse_typed(entry["value"]))
        elif kind == "stringValueStrindex":
            value.string_value_strindex = content
        else:
            raise ValueError(f"no such kind: {kind!r:.50}")
    return value


def any_value(plain: Any) -> AnyValue:
    """The AnyValue of a plain JSON value; the inverse of `format_plain_map` where that was exact.

    Raises:
        ArchiveFaultError: not a JSON value, or an integer beyond 64 bits.
    """
    value = AnyValue()
    try:
        _fill(value, plain)
    except (TypeError, ValueError, RecursionError) as error:
        raise ArchiveFaultError(f"not a JSON value that OTLP can hold: {plain!r:.200} ({error})") from None
    return value


def _fill(value: AnyValue, plain: Any) -> None:
    if isinstance(plain, str):
        value.string_value = plain
    elif isinstance(plain, bool):
        value.bool_value = plain
    elif isinstance(plain, int):
        value.int_value = plain
    elif isinstance(plain, float):
        value.double_value = plain
    elif isinstance(plain, list):
        value.array_value.SetInParent()
        for item in plain:
            _fill(value.array_value.values.add(), item)
    elif isinstance(plain, dict):
        value.kvlist_value.SetInParent()
        for key, item in plain.items():
            added = value.kvlist_value.values.add(key=key)
            added.value.SetInParent()
            _fill(added.value, item)
    elif plain is not None:
        raise TypeError(type(plain).__name__)


def json_kind(field: str) -> str:
    """The name in OTLP's JSON of a kind of AnyValue: what its sender knows it by."""
    return field.removesuffix("_value") + "Value"
