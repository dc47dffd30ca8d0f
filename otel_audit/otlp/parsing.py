"""Protobuf's word that bytes cannot be parsed, made sure of: it says the same where there is no memory to do it in.

A record that was refused for that reason would be held in quarantine, and its sender told that all is well.
"""

from __future__ import annotations

import mmap
from typing import TypeVar

from google.protobuf.message import DecodeError, Message

__all__ = ["parse_again"]

_GROWTH = 32
"""What is built from a message can take 26 times its bytes."""
_SPARE_BYTES = 1 << 20
_M = TypeVar("_M", bound=Message)


def parse_again(kind: type[_M], raw: bytes) -> _M:
    """Parse once more what could not be parsed, now that there is room for it.

    Raises:
        DecodeError: it is the bytes.
        MemoryError: there is no room.
    """
    try:
        mmap.mmap(-1, _GROWTH * len(raw) + _SPARE_BYTES).close()  # asks for the room without touching it
    except OSError as error:
        raise MemoryError(f"no room to parse {len(raw)} bytes in") from error
    try:
        return kind.FromString(raw)
    except DecodeError as error:
        if "alloc" in str(error):
            raise MemoryError(str(error)) from error
        raise
