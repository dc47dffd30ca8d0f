"""Files with one byte changed, as a disk may give them back."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def places(size: int, count: int, seed: int = 1) -> list[int]:
    """Where to flip: the ends of the file, its last eight bytes, and others drawn evenly from the whole of it."""
    drawn = random.Random(seed)
    spread = [at * size // count + drawn.randrange(max(1, size // count)) for at in range(count)]
    return sorted({0, *range(size - 8, size), *(min(at, size - 1) for at in spread)})


@contextmanager
def flipped(path: Path, at: int, mask: int = 0x10) -> Iterator[None]:
    """The file with one byte changed, and as it was afterwards, if it is still there."""
    content = path.read_bytes()
    changed = bytearray(content)
    changed[at] ^= mask
    _put(path, bytes(changed))
    try:
        yield
    finally:
        if path.exists():
            _put(path, content)


def _put(path: Path, content: bytes) -> None:
    path.chmod(0o640)
    path.write_bytes(content)
    path.chmod(0o440)
