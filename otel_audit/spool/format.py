"""A spool file: a header, then entries, each with its own checksum. Pure: bytes in, entries out.

    entry   = mark (4 bytes) kind (1) length (4) number (8) CRC-32 (4) payload (length bytes); little-endian
    file    = HEADER entry, then entries of the other kinds
    HEADER  payload: length (4), JSON facts, serialized OTLP Resource
    RECORD  payload: serialized OTLP LogRecord; `number` is its number in the stream
    MARKER  payload: serialized OTLP LogRecord about the stream; `number` is the highest number given so far
    CLOSED  the same, and the stream's end: its process closed it

The checksum covers kind, length, number and payload. The mark is no valid UTF-8, so text cannot hold it: after damage,
reading goes on at the next mark whose entry is sound.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from struct import Struct
from zlib import crc32

from otel_audit.errors import SpoolFileError

__all__ = ["HEAD_BYTES", "Damage", "Entry", "Header", "Kind", "format_entry", "format_header", "parse_header", "scan"]

FORMAT_VERSION = 1
_MARK = b"\xf5\xf9sp"
_HEAD = Struct("<4sBIQI")
_SUMMED = Struct("<BIQ")
_LENGTH = Struct("<I")
HEAD_BYTES = _HEAD.size
MAX_PAYLOAD_BYTES = 64 << 20
"""More than a record may have; a length beyond it is damage."""


class Kind(IntEnum):
    """What an entry holds."""

    HEADER = 0
    RECORD = 1
    MARKER = 2
    CLOSED = 3


@dataclass(frozen=True, slots=True)
class Entry:
    """One sound entry; `start` and `end` are its place in the bytes that were scanned."""

    kind: int
    number: int
    payload: bytes
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Damage:
    """Bytes that are no sound entry. `at_end`: nothing sound follows, as after a write that was cut short."""

    start: int
    end: int
    at_end: bool


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says of itself.

    Attributes:
        stream_id: the producer's stream.
        first: the number of its first record. Records with this number or above in earlier files of the stream are
            void: their write failed, their `append` raised, and the numbers were given to others.
        endpoint: where the records are to go, without credentials.
        resource, schema_url: which service they come from, as OTLP has it.
        reason: in a file of refused records, the peer's answer.
        rejected: in such a file, how many of the records the peer refused.
        identity: a keyed hash of what its process authenticates with; "" in files of an earlier release.
    """

    stream_id: str
    first: int
    endpoint: str
    resource: bytes
    schema_url: str = ""
    reason: str = ""
    rejected: int = 0
    identity: str = ""


def format_entry(kind: int, number: int, payload: bytes) -> bytes:
    """One entry."""
    length = len(payload)
    return _HEAD.pack(_MARK, kind, length, number, crc32(payload, crc32(_SUMMED.pack(kind, length, number)))) + payload


def format_header(header: Header) -> bytes:
    """The entry that a file begins with."""
    facts = {
        "format_version": FORMAT_VERSION,
        "stream_id": header.stream_id,
        "first": header.first,
        "endpoint": header.endpoint,
        "schema_url": header.schema_url,
        "reason": header.reason,
        "rejected": header.rejected,
        "identity": header.identity,
    }
    encoded = json.dumps(facts, separators=(",", ":")).encode()
    return format_entry(Kind.HEADER, 0, _LENGTH.pack(len(encoded)) + encoded + header.resource)


def parse_header(content: bytes) -> tuple[Header, int]:
    """The header of a file and where its entries begin.

    Args:
        content: the file, at least to the end of its first entry.

    Raises:
        SpoolFileError: not a spool file, a damaged header, or one of a later format.
    """
    entry = _entry(content, 0, len(content))
    if entry is None or entry.kind != Kind.HEADER:
        raise SpoolFileError("it does not begin like a spool file")
    try:
        (size,) = _LENGTH.unpack_from(entry.payload)
        facts = json.loads(entry.payload[_LENGTH.size : _LENGTH.size + size])
        if facts["format_version"] > FORMAT_VERSION:
            raise SpoolFileError(f"format {facts['format_version']}; this release reads up to {FORMAT_VERSION}")
        header = Header(
            stream_id=str(facts["stream_id"]),
            first=int(facts["first"]),
            endpoint=str(facts["endpoint"]),
            resource=entry.payload[_LENGTH.size + size :],
            schema_url=str(facts["schema_url"]),
            reason=str(facts["reason"]),
            rejected=int(facts["rejected"]),
            identity=str(facts.get("identity", "")),
        )
    except SpoolFileError:
        raise
    except Exception as error:  # noqa: BLE001 - JSON of any shape whatever, under a checksum that fits
        raise SpoolFileError(f"its header cannot be read: {error!r}") from None
    return header, entry.end


def scan(content: bytes, start: int = 0) -> Iterator[Entry | Damage]:
    """Everything between `start` and the end, in order and without a gap. Raises nothing, whatever the bytes."""
    at, end = start, len(content)
    while at < end:
        entry = _entry(content, at, end)
        if entry is not None:
            yield entry
            at = entry.end
            continue
        sound = _next_sound(content, at + 1, end)
        yield Damage(at, sound, at_end=sound == end)
        at = sound


def _next_sound(content: bytes, at: int, end: int) -> int:
    while (at := content.find(_MARK, at)) >= 0:
        if _entry(content, at, end) is not None:
            return at
        at += 1
    return end


def _entry(content: bytes, at: int, end: int) -> Entry | None:
    """The entry that begins at a place, if it is whole and sound."""
    body = at + HEAD_BYTES
    if body > end:
        return None
    mark, kind, length, number, checksum = _HEAD.unpack_from(content, at)
    stop = body + length
    if mark != _MARK or length > MAX_PAYLOAD_BYTES or stop > end:
        return None
    payload = content[body:stop]
    if crc32(payload, crc32(_SUMMED.pack(kind, length, number))) != checksum:
        return None
    return Entry(kind, number, payload, at, stop)


def entry_bytes(head: bytes) -> int | None:
    """How long the entry is that begins with these bytes, by its own account; None when they are no entry's head."""
    if len(head) < HEAD_BYTES:
        return None
    mark, _, length, _, _ = _HEAD.unpack_from(head)
    return HEAD_BYTES + length if mark == _MARK and length <= MAX_PAYLOAD_BYTES else None
