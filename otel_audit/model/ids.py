"""Ids: one rule for what equals what, and the time an id carries.

A `UUID`, or text that is one with its hyphens (8-4-4-4-12 hexadecimal digits, in either case: RFC 9562 §4), is a `UUID`
everywhere; an `int` becomes decimal text; any other text stays text. So an id that went through Parquet compares equal
to the one that went in, and the case in which a hop spells a UUID makes no second id. Braces, `urn:uuid:` and text
without hyphens are left alone: where the hyphens are missing, 32 hexadecimal digits may as well be a hash.
"""

from __future__ import annotations

import os
import re
import threading
from uuid import UUID

from uuid_utils import reseed_rng
from uuid_utils.compat import uuid7

from otel_audit.errors import InvalidRecordError
from otel_audit.model.text import checked_text

__all__ = [
    "MAX_ID_CHARS",
    "UUID_CHARS",
    "Id",
    "IdLike",
    "canonical_id",
    "format_id",
    "id_time_ms",
    "new_record_id",
    "parse_id",
    "to_id",
]

Id = UUID | str
IdLike = UUID | str | int
MAX_ID_CHARS = 512
UUID_CHARS = 36
_seeded = threading.local()  # its `pid`: the process in which this thread's random numbers were seeded
_UUID = re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}")


def new_record_id() -> UUID:
    """A fresh UUIDv7 (RFC 9562 §5.7), increasing within the process; every process draws its own.

    A server that forks its workers in C runs no Python code, no `os.register_at_fork` either, and copies the state of
    the random numbers: so the process is compared at every id. By thread, because the numbers have a state for each.
    """
    if getattr(_seeded, "pid", None) != (pid := os.getpid()):
        reseed_rng()
        _seeded.pid = pid
    return uuid7()


def format_id(value: Id) -> str:
    """The text of an id, as it stands on the wire and in the archive."""
    return str(value)


def parse_id(text: str) -> Id:
    """The id that a text stands for; the inverse of `format_id`. Any text is an id, so nothing is raised."""
    return UUID(text) if len(text) == UUID_CHARS and _UUID.fullmatch(text) else text


def canonical_id(text: str) -> str:
    """The one text of the id that a text stands for: what `format_id` gives, without making a UUID of it."""
    if len(text) == UUID_CHARS and (lower := text.lower()) != text and _UUID.fullmatch(text):
        return lower
    return text


def to_id(value: IdLike, field: str) -> Id:
    """Normalise what a caller gave as an id.

    Raises:
        InvalidRecordError: another type, empty, over 512 characters, or text that UTF-8 cannot hold.
    """
    if type(value) is UUID:
        return value
    if isinstance(value, UUID):
        return UUID(int=value.int)  # a driver's subclass
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise InvalidRecordError(field, f"must be a UUID, str or int, not {type(value).__name__}")
    if isinstance(value, int):
        if not -(2**63) <= value < 2**64:
            raise InvalidRecordError(field, "an integer id must fit in 64 bits")
        return str(int(value))
    return parse_id(checked_text(value, field, MAX_ID_CHARS))


def id_time_ms(value: Id) -> int | None:
    """Milliseconds since 1970 that a UUIDv7 carries (RFC 9562 §5.7), or None for an id without a time."""
    if isinstance(value, UUID) and value.version == 7:
        return value.int >> 80
    return None
