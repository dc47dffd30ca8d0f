"""JSON values: copied with their rules checked, and written in one canonical form.

Canonical JSON is RFC 8785 with two differences, so that a value comes back with the type it had: integers keep all
their digits, and a float always shows a point or an exponent, in its shortest round-trip form (`1.0`, `1e+16`, `-0.0`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

from otel_audit.errors import InvalidRecordError

__all__ = ["MAX_DEPTH", "MAX_JSON_BYTES", "Json", "copy_object", "format_json", "parse_json", "walk_size"]

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]

MAX_DEPTH = 32
"""Levels of lists and objects that a value may have; a scalar has none."""
MAX_JSON_BYTES = 1 << 20
"""What one `metadata` or `changes` may take, in bytes of canonical JSON (counted from below while copying)."""
MAX_KEY_CHARS = 512

_INT64_MIN, _INT64_MAX = -(2**63), 2**63 - 1
_encode = json.JSONEncoder(
    ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False, check_circular=False
).encode


def copy_object(value: object, field: str) -> dict[str, Any]:
    """A deep copy of a JSON object, as plain dicts, lists and scalars.

    Subclasses of str, int and float (enums, numpy floats) become the plain value they equal. Nothing else is coerced.

    Raises:
        InvalidRecordError: what OTLP cannot hold exactly: NaN and infinities, integers beyond 64 bits, bytes, sets,
            tuples, other objects, keys that are no text, lone surrogates, cycles or more than 32 levels, over 1 MiB.
    """
    if not isinstance(value, dict):
        raise InvalidRecordError(field, f"must be a dict, not {type(value).__name__}")
    try:
        return _copy_dict(value, 0, _Budget(field))
    except _RefusedValueError as refused:
        raise InvalidRecordError(field + "".join(reversed(refused.path)), refused.rule) from None


class _Budget:
    """Bytes still allowed; a cycle or a wide value runs out of depth or budget before it runs out of memory."""

    __slots__ = ("field", "left")

    def __init__(self, field: str) -> None:
        self.field = field
        self.left = MAX_JSON_BYTES

    def take(self, count: int) -> None:
        self.left -= count
        if self.left < 0:
            raise InvalidRecordError(self.field, f"must be at most {MAX_JSON_BYTES} bytes of JSON")


class _RefusedValueError(Exception):
    """A rule is broken somewhere inside; each level adds its step on the way out, so that good values pay for none."""

    def __init__(self, rule: str, *path: str) -> None:
        self.rule = rule
        self.path = list(path)


def _copy(value: Any, depth: int, budget: _Budget) -> Any:
    kind = type(value)
    if kind is str:
        budget.take(len(value) + 2)
        return value if value.isascii() else _utf8(value)
    if value is None or kind is bool:
        budget.take(4)
        return value
    if isinstance(value, int):
        budget.take(1)
        if not _INT64_MIN <= value <= _INT64_MAX:
            raise _RefusedValueError("an integer must fit in 64 bits; send a larger one as text")
        return value if kind is int else int(value)
    if isinstance(value, float):
        budget.take(3)
        if not math.isfinite(value):
            raise _RefusedValueError("NaN and infinities are not JSON; leave the key out or send text")
        return value if kind is float else float(value)
    if isinstance(value, dict):
        return _copy_dict(value, depth, budget)
    if isinstance(value, list):
        return _copy_list(value, depth, budget)
    if isinstance(value, str):
        return _copy(str.__str__(value), depth, budget)
    raise _RefusedValueError(f"a {kind.__name__} is not a JSON value; {_HINTS.get(kind.__name__, 'convert it')}")


def _copy_dict(value: dict[Any, Any], depth: int, budget: _Budget) -> dict[str, Any]:
    _check_depth(depth)
    copied = {}
    budget.take(2 + 4 * len(value))
    for key, item in value.items():
        plain = key if type(key) is str and len(key) <= MAX_KEY_CHARS and key.isascii() else _checked_key(key)
        budget.take(len(plain))
        try:
            copied[plain] = _copy(item, depth + 1, budget)
        except _RefusedValueError as refused:
            refused.path.append(f".{plain}")
            raise
    return copied


def _copy_list(value: list[Any], depth: int, budget: _Budget) -> list[Any]:
    _check_depth(depth)
    copied = []
    budget.take(2 + len(value))
    for item in value:
        try:
            copied.append(_copy(item, depth + 1, budget))
        except _RefusedValueError as refused:
            refused.path.append(f"[{len(copied)}]")
            raise
    return copied


def _check_depth(depth: int) -> None:
    if depth >= MAX_DEPTH:
        raise _RefusedValueError(f"must be at most {MAX_DEPTH} levels deep (or it contains itself)")


def _checked_key(key: object) -> str:
    if not isinstance(key, str):
        raise _RefusedValueError(f"keys must be text, not {type(key).__name__} ({key!r:.40})")
    if len(key) > MAX_KEY_CHARS:
        raise _RefusedValueError(f"keys must be at most {MAX_KEY_CHARS} characters, not {len(key)}", " key")
    return _utf8(str.__str__(key), " key")


def _utf8(text: str, *path: str) -> str:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise _RefusedValueError(f"holds a lone surrogate at character {error.start}", *path) from None
    return text


_HINTS = {
    "UUID": "use str(value)",
    "datetime": "use value.isoformat()",
    "Decimal": "use str(value)",
    "bytes": "use base64 text",
    "set": "use a sorted list",
    "tuple": "use a list",
}


def format_json(value: Any) -> str:
    """The canonical JSON of a value that `copy_object` or `parse_json` gave."""
    text = _encode(value)
    # Python sorts keys by code point, RFC 8785 §3.2.3 by UTF-16 unit; they differ only above U+FFFF.
    if not text.isascii() and any(character > "\uffff" for character in text):
        return _encode_utf16_order(value)
    return text


def _encode_utf16_order(value: Any) -> str:
    if isinstance(value, dict):
        keys = sorted(value, key=lambda key: key.encode("utf-16-be", "surrogatepass"))
        return "{" + ",".join(f"{_encode(key)}:{_encode_utf16_order(value[key])}" for key in keys) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_encode_utf16_order, value)) + "]"
    return _encode(value)


def parse_json(text: str | bytes) -> Any:
    """Strict JSON (RFC 8259): doubled keys, `NaN`, `Infinity`, numbers that overflow and lone surrogates are errors.

    Raises:
        ValueError: with the reason. Also for more than 32 levels, so that nothing here can exhaust the stack.
    """
    try:
        value = _decoder.decode(text if isinstance(text, str) else text.decode("utf-8"))
    except RecursionError:
        raise ValueError(f"more than {MAX_DEPTH} levels deep") from None
    for scalar, depth in _walk(value, 0):
        if depth > MAX_DEPTH:
            raise ValueError(f"more than {MAX_DEPTH} levels deep")
        if isinstance(scalar, str) and not scalar.isascii():
            scalar.encode("utf-8")  # UnicodeEncodeError is a ValueError
    return value


def walk_size(value: Any) -> tuple[int, int]:
    """(levels, bytes of canonical JSON) of a value."""
    return max(depth for _, depth in _walk(value, 0)), len(format_json(value).encode())


def _walk(value: Any, depth: int) -> Iterator[tuple[Any, int]]:
    pending = [(value, depth)]
    while pending:
        item, level = pending.pop()
        if isinstance(item, dict):
            yield None, level + 1
            for key, child in item.items():
                yield key, level
                pending.append((child, level + 1))
        elif isinstance(item, list):
            yield None, level + 1
            pending.extend((child, level + 1) for child in item)
        else:
            yield item, level


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return result


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is beyond a double")
    return value


def _int64(text: str) -> int:
    if len(text) > 20 or not _INT64_MIN <= (value := int(text)) <= _INT64_MAX:
        raise ValueError(f"{text:.30} does not fit in 64 bits")
    return value


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")


_decoder = json.JSONDecoder(
    object_pairs_hook=_unique, parse_float=_finite, parse_int=_int64, parse_constant=_no_constant
)
