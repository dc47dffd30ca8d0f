"""What a request may cost, counted in its bytes before any of them is parsed.

Decoding costs Python time for each value, and a value can take two bytes: 60 KB of gzip may hold 30 million of them.
But small values cannot hide: each has a tag or a length below 32, and each element of JSON text has a comma. Where
values are large, their bytes bound their number. A control character in a text, which takes six in JSON, is such a
byte as well. So the number of these bytes, in *units* (a comma is three, for elements of JSON text cost more), bounds
what decoding costs in time and in text: 3 million units take about a second. A record of 750 bytes with 14 attributes
has about 80.
"""

from __future__ import annotations

import numpy as np

__all__ = ["MAX_RECORD_UNITS", "count_units", "is_dense", "most_units"]

_UNITS_PER_RECORD = 32
_LEAST_UNITS = 16 << 20
"""A request may always have so many: the densest record that can be appended has a quarter of it."""
MAX_RECORD_UNITS = 1 << 20
"""Of a record in a request that holds too many in all: from here on it is to blame, and set aside."""
_CHUNK_BYTES = 1 << 20
_SPACE, _COMMA = 32, 44
_UNITS_PER_COMMA = 3


def most_units(max_records: int) -> int:
    """How many a request may have that may have so many records."""
    return max(_LEAST_UNITS, _UNITS_PER_RECORD * max_records)


def is_dense(data: bytes, units: int) -> bool:
    """Whether some bytes have more units than that; counted only if they can have so many."""
    return len(data) * _UNITS_PER_COMMA > units and count_units(data) > units


def count_units(data: bytes) -> int:
    """The units in some bytes; 0.2 ns a byte."""
    units = 0
    for start in range(0, len(data), _CHUNK_BYTES):
        part = np.frombuffer(data, np.uint8, min(_CHUNK_BYTES, len(data) - start), start)
        units += int(np.count_nonzero(part < _SPACE)) + _UNITS_PER_COMMA * int(np.count_nonzero(part == _COMMA))
    return units
