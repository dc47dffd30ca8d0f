"""Headers of OTLP fields, built once for each attribute and length of value.

Most of a record's bytes are the same in every record: the tags, the attribute names, and the four nested lengths, which
follow from the length of the value alone. These tables keep them, so that encoding a text attribute is one look-up and
two appends. They fill as they are used and are bounded; what is longer, or comes when a table is full, is built anew
each time.
"""

from __future__ import annotations

from otel_audit.otlp.names import WIRE

__all__ = ["Heads", "MapHeads", "Names", "text_attribute", "varint"]

_KEPT_LENGTHS = 256
_KEPT_NAMES = 512
_KEYS = {wire.column: wire.key for wire in WIRE}


def varint(value: int) -> bytes:
    if value < 0x80:
        return _ONE_BYTE[value]
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


_ONE_BYTE = tuple(bytes((value,)) for value in range(0x80))


class Heads(dict[int, bytes]):
    """By the length of what follows: all bytes of a KeyValue that stand before it.

    What follows is the text of a string value, or (`text=False`) the whole content of an AnyValue.
    """

    __slots__ = ("_key", "_tag", "_text")

    def __init__(self, key: str, *, tag: bytes = b"\x32", text: bool = True) -> None:
        super().__init__()
        encoded = key.encode()
        self._key = b"\x0a" + varint(len(encoded)) + encoded
        self._tag = tag
        self._text = text

    def __missing__(self, length: int) -> bytes:
        value_head = b"\x0a" + varint(length) if self._text else b""
        value_length = varint(len(value_head) + length)
        size = len(self._key) + 1 + len(value_length) + len(value_head) + length
        head = b"%b%b%b\x12%b%b" % (self._tag, varint(size), self._key, value_length, value_head)
        if length < _KEPT_LENGTHS:
            self[length] = head
        return head


class MapHeads(dict[str, tuple[Heads, Heads]]):
    """By the key of a map's entry: the heads of its text values, and of all others."""

    __slots__ = ()

    def __missing__(self, key: str) -> tuple[Heads, Heads]:
        heads = (Heads(key, tag=b"\x0a"), Heads(key, tag=b"\x0a", text=False))
        if len(self) < _KEPT_NAMES and len(key) < _KEPT_LENGTHS:
            self[key] = heads
        return heads


class Names(dict[tuple[str | None, str], bytes]):
    """By entity type and action: the attributes of both, and the event name made of them, as a LogRecord's fields."""

    __slots__ = ()

    def __missing__(self, names: tuple[str | None, str]) -> bytes:
        entity_type, action = names
        event_name = (action if entity_type is None else f"{entity_type}.{action}").lower().encode()
        fields = text_attribute("action", action) + b"\x62" + varint(len(event_name)) + event_name
        if entity_type is not None:
            fields += text_attribute("entity_type", entity_type)
        if len(self) < _KEPT_NAMES and len(fields) < 4 * _KEPT_LENGTHS:
            self[names] = fields
        return fields


def text_attribute(column: str, text: str) -> bytes:
    encoded = text.encode()
    return Heads(_KEYS[column])[len(encoded)] + encoded
