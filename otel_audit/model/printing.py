"""What others wrote, and URLs, as they may be shown: in messages, on a terminal, in metric labels, on disk.

Two functions, used wherever text of a peer, a record or a setting leaves the program. Both may be applied twice.
"""

from __future__ import annotations

import re

__all__ = ["printable", "public_url"]

# C0, DEL, C1, line and paragraph separators, and the characters that turn text round (Trojan Source).
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_SHORT = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}

_URL = re.compile(r"(?P<scheme>(?:[A-Za-z][A-Za-z0-9+.-]*:)?//)?(?P<authority>[^/?#\\]*)(?P<rest>.*)", re.DOTALL)


def printable(text: str) -> str:
    """Text that changes nothing but itself on a terminal: every control character becomes its escape."""
    return _UNPRINTABLE.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    return _SHORT.get(match[0]) or (f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}")


def public_url(url: str) -> str:
    """A URL without what may be secret in it: user, password, query and fragment. Takes any text, valid or not."""
    match = _URL.fullmatch(url)
    assert match is not None  # every part of the pattern may be empty
    scheme, authority, rest = match["scheme"] or "", match["authority"].rpartition("@")[2], match["rest"]
    _, colon, port = authority.rpartition(":")
    if colon and not (port.isdigit() or port.endswith("]")) and "@" in rest:
        # No port, so a password that was not percent-encoded: what follows its `@` is the host.
        authority, rest = "", rest.rpartition("@")[2]
    return printable(scheme + authority + re.split("[?#]", rest, maxsplit=1)[0])
