"""Asking the Bloom filters of a Parquet file: whether a row group may hold a text. PyArrow writes them and tells where
they are, but asks none.

A split block Bloom filter as the Parquet format specifies it (BloomFilter.md): blocks of eight 32-bit words, and a
value sets one bit in each word of its block. A value that was put in is always found; one that was not, seldom.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import xxhash

__all__ = ["Filter", "filter_of", "hashes_of", "may_hold"]

Hashes = npt.NDArray[np.uint64]
_BLOCK_BYTES = 32
_SALT = np.array(
    [0x47B6137B, 0x44974D91, 0x8824AD5B, 0xA2B7289D, 0x705495C7, 0x2DF1424B, 0x9EFC4947, 0x5C6BFB31], dtype=np.uint32
)
_NUM_BYTES = 0x15
"""The Thrift header's first field: number 1, a 32-bit integer."""
_ALGORITHM_HASH_COMPRESSION = bytes.fromhex("1c1c0000 1c1c0000 1c1c0000 00")
"""The rest of the header: split blocks, xxHash, uncompressed. The format has no other values."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Where a column chunk's filter stands in the file, header included."""

    offset: int
    size: int


def filter_of(chunk: pq.ColumnChunkMetaData) -> Filter | None:
    """The filter of a column chunk, or None when it has none, or PyArrow is too old (24) to tell of it."""
    offset, size = getattr(chunk, "bloom_filter_offset", None), getattr(chunk, "bloom_filter_length", None)
    return Filter(offset, size) if offset and size else None


def hashes_of(texts: Iterable[str]) -> Hashes:
    """What the filters hold of texts."""
    return np.fromiter((xxhash.xxh64_intdigest(text.encode()) for text in texts), dtype=np.uint64)


def may_hold(handle: int, filter_: Filter, hashes: Hashes) -> npt.NDArray[np.bool_] | None:
    """Whether the column chunk may hold each text; False is certain. None: not a filter that we know, so it says
    nothing.

    Args:
        handle: the open file. Raises OSError.
    """
    words = _words(os.pread(handle, filter_.size, filter_.offset))
    if words is None:
        return None
    block = ((hashes >> np.uint64(32)) * np.uint64(len(words))) >> np.uint64(32)
    bits = np.uint32(1) << ((hashes.astype(np.uint32)[:, None] * _SALT) >> np.uint32(27))
    return np.asarray(((words[block] & bits) == bits).all(axis=1))


def _words(content: bytes) -> npt.NDArray[np.uint32] | None:
    """The words of a filter, eight to a block."""
    if len(content) < 2 or content[0] != _NUM_BYTES:
        return None
    zigzag = shift = 0
    at = 1
    while True:
        if at >= min(len(content), 6):
            return None
        zigzag |= (content[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if content[at - 1] < 0x80:
            break
    size = zigzag >> 1
    start = at + len(_ALGORITHM_HASH_COMPRESSION)
    known = content[at:start] == _ALGORITHM_HASH_COMPRESSION and not zigzag & 1
    if not known or not size or size % _BLOCK_BYTES or len(content) != start + size:
        return None
    return np.frombuffer(content, dtype="<u4", offset=start).reshape(-1, 8)
