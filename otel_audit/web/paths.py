"""Ids out of a URL path, exactly as they were percent-encoded.

A server hands over the path decoded, where an encoded slash in a name looks like a separator, and an id's last line
feed is lost to `$` in a pattern. So names are taken from the raw path, of which the route only says where they begin.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, unquote, unquote_to_bytes

from otel_audit.errors import InvalidFilterError

__all__ = ["one_line", "path_names"]


def one_line(scope: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of an ASGI scope whose path a router's patterns can match: `.` matches no line feed.

    Every character keeps its place.
    """
    return {**scope, "path": scope["path"].replace("\n", "\ufffd")}


def path_names(scope: Mapping[str, Any], parameters: Sequence[str]) -> tuple[str, ...]:
    """The values of the route's last path parameters, with which the path ends.

    The last name may hold plain slashes; the ones before it only encoded ones.

    Raises:
        InvalidFilterError: a name is missing, or its bytes are not UTF-8.
    """
    length = len("/".join(str(scope["path_params"][name]) for name in parameters))
    decoded: str = scope["path"][len(scope["path"]) - length :]
    raw = _raw_tail(scope, decoded)
    parts = raw.split("/", len(parameters) - 1)
    if len(parts) < len(parameters) or not all(parts):
        raise InvalidFilterError("the path must not have an empty name in it")
    try:
        return tuple(unquote_to_bytes(part).decode() for part in parts)
    except UnicodeDecodeError:
        raise InvalidFilterError("the path must be percent-encoded UTF-8") from None


def _raw_tail(scope: Mapping[str, Any], decoded: str) -> str:
    """The end of the raw path that decodes to `decoded`; without a raw path (ASGI makes it optional), its encoding."""
    raw: bytes | None = scope.get("raw_path")
    if raw:
        segments = raw.partition(b"?")[0].decode("latin-1").split("/")
        for start in range(len(segments)):
            tail = "/".join(segments[start:])
            if unquote(tail) == decoded:
                return tail
    return quote(decoded, safe="/")
