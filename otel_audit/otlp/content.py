"""What makes two records the same: 128 bits of the id, and 64 of a digest over the content.

Both are functions of archive columns alone, so that the index of known ids can be rebuilt from the archive; decoding
calls them on the columns it has just built. The content is the domain's fields as sent, without the id: how a value was
spelled (an int for an id, a UUID in upper case, JSON text for a map, an alias) does not count, for another hop may
spell it otherwise.

The bytes digested are a bit mask of the columns that are not null and then their texts, joined by NUL. Where a text has
a NUL in it, or a column does not hold all that was sent, they are a JSON object instead; the two cannot be taken for
each other, because one begins with a digit and the other with a brace. A column that is added later, as the last of its
kind in the table of wire names, changes no digest of a record without it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from otel_audit.model.ids import Id, parse_id
from otel_audit.model.json_values import format_json
from otel_audit.otlp.names import RAW_PREFIX, WIRE

__all__ = ["DIGESTED", "KEYS_VERSION", "digests", "id_keys", "keys_and_digests"]

_CANONICAL_UUID = r"\A[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\z"
_CONTENT = ("time_unix_nano", *(wire.column for wire in WIRE if wire.content and wire.column != "record_id"))
DIGESTED = ("record_id", *_CONTENT, "attributes")
"""The columns that `keys_and_digests` looks at."""
KEYS_VERSION = 4
"""Of keys and digests together. An index that was made with another one is made anew."""
_ORIGINALS = tuple(wire.key for wire in WIRE if wire.content and wire.kind == "json")
_RAW_TIME = RAW_PREFIX + "time_unix_nano"
_MAY_HAVE_ORIGINAL = re.compile("|".join(f'"{re.escape(key)}":' for key in (*_ORIGINALS, _RAW_TIME)))
_FEW_ROWS = 100
"""Up to here the fixed cost of calls into Arrow (0.6 ms a batch) is more than they save."""


def keys_and_digests(table: pa.Table) -> tuple[list[bytes], list[int]]:
    """For each row of an archive table: the 16 bytes that stand for its id, and the digest of its content.

    Args:
        table: with the columns `DIGESTED`; others do not matter.
    """
    keys: list[bytes] = []
    found: list[int] = []
    for batch in table.to_batches():
        keys.extend(id_keys(batch.column("record_id")).to_pylist())
        found.extend(digests(batch).to_pylist())
    return keys, found


def id_keys(record_ids: pa.Array) -> pa.Array:
    """The 16 bytes of a UUID; of any other id a hash, which no two ids share in practice."""
    texts = record_ids.to_pylist()
    if len(texts) > _FEW_ROWS and pc.all(pc.match_substring_regex(record_ids, _CANONICAL_UUID)).as_py():
        joined = bytes.fromhex("".join(texts).replace("-", ""))
    else:
        joined = b"".join([_id_key(parse_id(text)) for text in texts])
    return pa.Array.from_buffers(pa.binary(16), len(texts), [None, pa.py_buffer(joined)])


def _id_key(value: Id) -> bytes:
    if isinstance(value, UUID):
        return value.bytes
    hashed = bytearray(blake2b(value.encode(), digest_size=16, person=b"record-id").digest())
    hashed[6] &= 0x0F  # no version: one in 64 would look like a UUIDv7 of some time, and leave the index by it
    return bytes(hashed)


def digests(batch: pa.RecordBatch) -> pa.Array:
    """The content digest of each row, as unsigned 64-bit integers."""
    columns = [batch.column(name).cast(pa.string()) for name in _CONTENT]
    attributes = batch.column("attributes")
    if len(attributes) > _FEW_ROWS:
        contents = _contents(columns, attributes)
    else:
        rows = zip(*(column.to_pylist() for column in columns), strict=True)
        contents = [_content(texts, shown) for texts, shown in zip(rows, attributes.to_pylist(), strict=True)]
    hashed = b"".join([blake2b(content, digest_size=8).digest() for content in contents])
    return pa.Array.from_buffers(pa.uint64(), len(contents), [None, pa.py_buffer(hashed)])


def _content(texts: Sequence[str | None], attributes: str | None) -> bytes:
    """What is digested of one row."""
    originals = _originals(attributes) if attributes is not None and _MAY_HAVE_ORIGINAL.search(attributes) else {}
    present = [text for text in texts if text is not None]
    if originals or any("\0" in text for text in present):
        named = {name: text for name, text in zip(_CONTENT, texts, strict=True) if text is not None}
        return format_json(named | originals).encode()
    mask = sum(1 << bit for bit, text in enumerate(texts) if text is not None)
    return "\0".join([str(mask), *present]).encode()


def _contents(columns: list[pa.Array], attributes: pa.Array) -> list[bytes]:
    """`_content` of every row, most of it in native code (with the keys 2.5 us a row instead of 8)."""
    mask = np.zeros(len(attributes), np.int64)
    present = np.zeros(len(attributes), np.int64)
    for bit, column in enumerate(columns):
        valid = np.asarray(column.is_valid()).astype(np.int64)
        mask |= valid << bit
        present += valid
    masks = pa.Array.from_buffers(pa.int64(), len(mask), [None, pa.py_buffer(mask)]).cast(pa.string())
    joined = pc.binary_join_element_wise(masks, *columns, "\0", null_handling="skip")
    contents: list[bytes] = joined.cast(pa.binary()).to_pylist()
    odd = pc.not_equal(pc.count_substring(joined, "\0"), pa.array(present, pa.int64()))
    if attributes.null_count < len(attributes):
        odd = pc.or_(odd, pc.fill_null(pc.match_substring_regex(attributes, _MAY_HAVE_ORIGINAL.pattern), False))
    for at in np.flatnonzero(np.asarray(odd)).tolist():
        contents[at] = _content([column[at].as_py() for column in columns], attributes[at].as_py())
    return contents


def _originals(attributes: str) -> dict[str, Any]:
    """The typed originals that add something to their columns: a map that JSON cannot hold, a time beyond 64 bits."""
    typed = json.loads(attributes)
    return {
        key: _valued(typed[key])
        for key in (*_ORIGINALS, _RAW_TIME)
        if key in typed and (key == _RAW_TIME or _inexact(typed[key]))
    }


def _inexact(typed: Any) -> bool:
    if not typed:
        return False
    if "bytesValue" in typed or isinstance(typed.get("doubleValue"), str):
        return True
    items = typed.get("arrayValue", {}).get("values", [])
    entries = typed.get("kvlistValue", {}).get("values", [])
    return any(map(_inexact, items)) or any(_inexact(entry.get("value")) for entry in entries)


def _valued(typed: dict[str, Any]) -> dict[str, Any]:
    """The same with an empty value wherever one is missing, as another hop may write it."""
    if "arrayValue" in typed:
        return {"arrayValue": [_valued(item) for item in typed["arrayValue"]["values"]]}
    if "kvlistValue" in typed:
        entries = typed["kvlistValue"]["values"]
        return {"kvlistValue": [[entry["key"], _valued(entry.get("value", {}))] for entry in entries]}
    return typed
