"""Pages, and the opaque cursor between two of them.

A cursor holds the filter, the order and the last record's order key (a keyset, not an offset), so it stays right while
records arrive: nothing on an earlier page comes again and nothing between two pages is skipped.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

from otel_audit.errors import InvalidCursorError, InvalidFilterError
from otel_audit.model.filters import Filter, LogPosition, Order, checked_order
from otel_audit.model.json_values import format_json, parse_json
from otel_audit.model.record import ActivityRecord, from_us

__all__ = ["Cursor", "Page", "format_cursor", "parse_cursor"]

_VERSION = 1
_MAX_CURSOR_CHARS = 1 << 20
"""A filter of many long texts makes a long cursor, and must still be answered; beyond this nobody has made it."""


@dataclass(frozen=True, slots=True)
class Page:
    """Some records, in the order asked for.

    Attributes:
        records: at most `limit` of them.
        next_cursor: what to pass for the following page; None on the last one, and for reads in log order.
        position: for reads in log order (`after=`), the place of the last record; pass it as the next `after`.
    """

    records: tuple[ActivityRecord, ...]
    next_cursor: str | None = None
    position: LogPosition | None = None


@dataclass(frozen=True, slots=True)
class Cursor:
    """What an opaque cursor stands for."""

    filter: Filter
    order: Order
    key: tuple[int, str]


def format_cursor(cursor: Cursor) -> str:
    """URL-safe text of a cursor."""
    body: dict[str, Any] = {"v": _VERSION, "o": cursor.order, "f": cursor.filter.to_json(), "k": list(cursor.key)}
    return base64.urlsafe_b64encode(format_json(body).encode()).decode().rstrip("=")


def parse_cursor(text: str) -> Cursor:
    """The inverse of `format_cursor`.

    Raises:
        InvalidCursorError: anything else.
    """
    try:
        if len(text) > _MAX_CURSOR_CHARS:
            raise ValueError("too long")
        raw = base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
        body = parse_json(raw)
        if not isinstance(body, dict) or body.get("v") != _VERSION:
            raise ValueError("another version")
        us, record_id = body["k"]
        if type(us) is not int or type(record_id) is not str or not isinstance(body["f"], dict):
            raise ValueError("wrong key")
        from_us(us)  # a moment that no datetime holds must not reach a storage
        return Cursor(Filter.from_json(body["f"]), checked_order(body["o"]), (us, record_id))
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, InvalidFilterError) as error:
        raise InvalidCursorError(f"not a cursor of this log: {error}") from None
