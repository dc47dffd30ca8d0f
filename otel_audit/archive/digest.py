"""A digest over rows, independent of how Parquet or Arrow happen to lay them out in memory or cut them into pieces.

It is what lets a merge or seal prove, before its inputs go, that every value of every row came through.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

__all__ = ["rows_digest"]


def rows_digest(tables: Iterable[pa.Table]) -> str:
    """Hex digest (xxh3, 128 bits) of rows in order; where they are cut into tables does not count."""
    columns: dict[str, _ColumnDigest] = {}
    for table in tables:
        for name in table.column_names:
            of_column = columns.setdefault(name, _ColumnDigest())
            for chunk in table[name].chunks:
                of_column.update(chunk)
    whole = xxhash.xxh3_128()
    for name, of_column in columns.items():
        whole.update(name.encode() + b"\0" + of_column.digest())
    return whole.hexdigest()


class _ColumnDigest:
    """Which rows have a value, how long each text is, and the values: three streams, so that a cut leaves no trace."""

    def __init__(self) -> None:
        self._valid, self._lengths, self._values = (xxhash.xxh3_128() for _ in range(3))

    def digest(self) -> bytes:
        return self._valid.digest() + self._lengths.digest() + self._values.digest()

    def update(self, values: pa.Array) -> None:
        if values.null_count:
            self._valid.update(pc.is_valid(values).cast(pa.uint8()).to_numpy(zero_copy_only=False).tobytes())
            values = values.drop_null()
        else:
            self._valid.update(np.ones(len(values), np.uint8).tobytes())
        if not len(values):
            return
        if not (pa.types.is_string(values.type) or pa.types.is_binary(values.type)):
            self._values.update(values.cast(pa.int64()).to_numpy(zero_copy_only=False).tobytes())
            return
        values = values.cast(pa.binary())
        self._lengths.update(pc.binary_length(values).to_numpy(zero_copy_only=False).tobytes())
        _, starts, data = values.buffers()
        offsets = memoryview(starts).cast("i")[values.offset : values.offset + len(values) + 1]
        if data is not None:
            self._values.update(memoryview(data)[offsets[0] : offsets[-1]])
