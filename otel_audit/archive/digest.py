"""A digest over rows, independent of how Parquet or Arrow happen to lay them out in memory.

It is what lets a merge or seal prove, before its inputs go, that every value of every row came through.
"""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc
import xxhash

__all__ = ["rows_digest"]


def rows_digest(tables: Iterable[pa.Table]) -> str:
    """Hex digest (xxh3, 128 bits) of rows in order.

    Args:
        tables: the rows in pieces; where the pieces are cut is part of the digest, so cut both sides alike.
    """
    digest = xxhash.xxh3_128()
    for table in tables:
        digest.update(f"{table.num_rows}".encode())
        for name in table.column_names:
            _update(digest, table[name])
    return digest.hexdigest()


def _update(digest: xxhash.xxh3_128, column: pa.ChunkedArray) -> None:
    values = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
    if isinstance(values, pa.ChunkedArray):
        values = pa.concat_arrays(values.chunks) if values.num_chunks else pa.array([], column.type)
    if values.null_count == len(values):
        digest.update(b"null")
        return
    if values.null_count:
        digest.update(pc.is_valid(values).cast(pa.uint8()).to_numpy(zero_copy_only=False).tobytes())
    if pa.types.is_string(values.type) or pa.types.is_binary(values.type):
        values = values.cast(pa.binary()).fill_null(b"")
        lengths = pc.binary_length(values).to_numpy(zero_copy_only=False)
        digest.update(lengths.tobytes())
        start = values.buffers()[1]
        offsets = memoryview(start).cast("i")[values.offset : values.offset + len(values) + 1]
        data = values.buffers()[2]
        if data is not None:
            digest.update(memoryview(data)[offsets[0] : offsets[-1]])
    else:
        numbers = values.cast(pa.int64()).fill_null(0)
        digest.update(numbers.to_numpy(zero_copy_only=False).tobytes())
