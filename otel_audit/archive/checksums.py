"""Two digests that a file carries over its own bytes, so that a flipped one is no answer.

`data_digest` is over everything before the Parquet footer (pages, Bloom filters, page indexes), `footer_digest` over
the footer (statistics, offsets, our own facts) with its own digits taken as zeros. Both are xxh3 of 128 bits, which
tells damage and not malice, and stand in our entry of the footer's key-value metadata. So whoever opens a file can
check what it says of itself at the price of the footer alone, and whoever copies or proves it can check every byte.

The page checksums that Parquet knows are written as well, for readers of other make. They cover neither the footer nor
the Bloom filters and indexes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import xxhash

from otel_audit.errors import ArchiveFaultError

__all__ = ["TAIL_BYTES", "UNSTAMPED", "check_footer", "footer_start", "hasher", "stamp"]

UNSTAMPED = {"data_digest": "0" * 32, "footer_digest": "0" * 32}
"""What stands in the footer's facts until the bytes are there to be digested."""
TAIL_BYTES = 8
"""A Parquet file ends with the length of its footer and a magic number, four bytes each."""
_MAGIC = b"PAR1"
_DIGITS = 32
_ZEROS = b"0" * _DIGITS

hasher = xxhash.xxh3_128


def stamp(content: pa.Buffer) -> None:
    """Put the digests into a whole file in memory, whose facts hold `UNSTAMPED`."""
    raw = np.frombuffer(content, np.uint8)
    start = footer_start(bytes(raw[-TAIL_BYTES:]), len(raw))
    footer = bytearray(raw[start:].tobytes())
    data = _place(footer, "data_digest")
    footer[data : data + _DIGITS] = hasher(memoryview(content)[:start]).hexdigest().encode()
    own = _place(footer, "footer_digest")
    footer[own : own + _DIGITS] = hasher(footer).hexdigest().encode()
    raw[start:] = np.frombuffer(footer, np.uint8)


def footer_start(tail: bytes, size: int) -> int:
    """Where the footer of a file begins, by its last eight bytes. Raises ValueError where it is no Parquet file."""
    length = int.from_bytes(tail[:4], "little")
    if tail[4:] != _MAGIC or length + TAIL_BYTES > size:
        raise ValueError("it does not end as a Parquet file does")
    return size - TAIL_BYTES - length


def check_footer(footer: bytes, path: Path) -> bytes | None:
    """The digest (hex) that the bytes before this footer must have; None for a file of a release that kept none.

    Args:
        footer: from where it begins to the end of the file.

    Raises:
        ArchiveFaultError: a byte of it is not what was written.
    """
    data, own = _place(footer, "data_digest"), _place(footer, "footer_digest")
    if data < 0 and own < 0:
        return None
    # One without the other: its name was damaged.
    whole = min(data, own) >= 0 and footer[own : own + _DIGITS] == (
        hasher(footer[:own] + _ZEROS + footer[own + _DIGITS :]).hexdigest().encode()
    )
    if not whole:
        raise ArchiveFaultError(f"{path}: damaged: its footer is not what was written")
    return bytes(footer[data : data + _DIGITS])


def _place(footer: bytes | bytearray, name: str) -> int:
    """Where a digest's digits begin, or -1. The last of that name: what records hold can stand in the statistics of
    their columns, and those come before our facts."""
    key = f'"{name}":"'.encode()
    at = footer.rfind(key)
    return at if at < 0 else at + len(key)
