"""Checks that every text field shares."""

from __future__ import annotations

from otel_audit.errors import InvalidRecordError

__all__ = ["checked_text"]


def checked_text(value: object, field: str, max_chars: int) -> str:
    """`value` as a plain `str`, or an error that names the field and the rule it breaks.

    Raises:
        InvalidRecordError: not text, empty, longer than `max_chars`, or holding a lone surrogate (UTF-8 has no bytes
            for one, RFC 3629 §3).
    """
    if type(value) is not str:
        if not isinstance(value, str):
            raise InvalidRecordError(field, f"must be text, not {type(value).__name__}")
        value = str.__str__(value)  # the text of a str enum, where str() would give its name
    if not value:
        raise InvalidRecordError(field, "must not be empty")
    if len(value) > max_chars:
        raise InvalidRecordError(field, f"must be at most {max_chars} characters, not {len(value)}")
    if not value.isascii():
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as error:
            raise InvalidRecordError(field, f"holds a lone surrogate at character {error.start}") from None
    return value
