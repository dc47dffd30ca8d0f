"""Moments as people write them on a command line."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from otel_audit.errors import InvalidFilterError

__all__ = ["parse_moment"]

_AGO = re.compile(r"([0-9]{1,9})([smhdw])")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def parse_moment(text: str, now: datetime, name: str) -> datetime:
    """An aware moment: a date (its beginning in UTC), an RFC 3339 time with its offset, or how long ago (`7d`).

    Raises:
        InvalidFilterError: anything else; `name` is the flag to blame.
    """
    try:
        if ago := _AGO.fullmatch(text):
            return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        moment = datetime.fromisoformat(text)
        if _DATE.fullmatch(text):
            return moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise InvalidFilterError(f"{name}: {text!r} is no moment; write 2026-11-24, a time with Z, or 7d") from None
    if moment.utcoffset() is None:
        raise InvalidFilterError(f"{name}: {text!r} has no offset; add Z for UTC")
    return moment
