"""Fresh records at the price of a memory copy: requests that were encoded once get new ids, times and traces.

A load generator shares the machine with what it measures, and must leave it nearly all of the CPU. Encoding a record
costs some 10 us; writing other bytes over the places where its id, time and trace stand costs a fraction of one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from otel_audit.otlp.frame import split

__all__ = ["StampedRequest", "uuid7_texts", "uuid_texts"]

_ID_HEAD = b"audit.record.id\x12\x26\x0a\x24"  # the key; then a value of 38 bytes that is a text of 36
_TIME_TAG, _TRACE_TAG = 0x09, 0x4A
_EMITTED_AFTER_NS = 40_000
_TRACE_BYTES = 28  # two tags, two lengths, 16 bytes of trace and 8 of span
_DASHES = (8, 13, 18, 23)
_HEX = np.frombuffer(b"0123456789abcdef", dtype=np.uint8)


class StampedRequest:
    """One ExportLogsServiceRequest, whose records become other records with every `stamp`."""

    def __init__(self, body: bytes) -> None:
        """A request made by `BenchRecords`, with one ScopeLogs."""
        (scope,) = split(body, 1_000_000)
        self._body = np.frombuffer(bytearray(body), dtype=np.uint8)
        starts, ends = np.array(scope.bounds, dtype=np.int64).reshape(-1, 2).T
        ids = [body.index(_ID_HEAD, start, end) + len(_ID_HEAD) for start, end in zip(starts, ends, strict=True)]
        assert (self._body[starts] == _TIME_TAG).all(), "a record begins with its time"
        assert (self._body[ends - _TRACE_BYTES] == _TRACE_TAG).all(), "a record ends with its trace and span"
        self._ids = np.array(ids)[:, None] + np.arange(36)
        self._times = starts[:, None] + np.arange(1, 9)
        self._observed = starts[:, None] + np.arange(10, 18)
        self._traces = (ends - _TRACE_BYTES)[:, None] + np.r_[2:18, 20:28]
        self.records = len(starts)

    def stamp(self, random: np.random.Generator, at_ns: int, ids: NDArray[np.uint8] | None = None) -> bytes:
        """The body with new ids, traces, and times that end at `at_ns`, 1 µs apart.

        Args:
            ids: rows of 36 ASCII codes; UUIDv7 of those times where they are not given.
        """
        count = self.records
        times = (at_ns // 1_000 - np.arange(count - 1, -1, -1)) * 1_000
        self._body[self._times] = times.astype("<u8").view(np.uint8).reshape(count, 8)
        self._body[self._observed] = (times + _EMITTED_AFTER_NS).astype("<u8").view(np.uint8).reshape(count, 8)
        self._body[self._ids] = uuid7_texts(times // 1_000_000, random) if ids is None else ids
        self._body[self._traces] = random.integers(0, 256, (count, 24), dtype=np.uint8)
        return self._body.tobytes()


def uuid7_texts(ms: NDArray[np.int64], random: np.random.Generator) -> NDArray[np.uint8]:
    """UUIDv7 texts for times in ms, as rows of 36 ASCII codes."""
    raw = random.integers(0, 256, (len(ms), 16), dtype=np.uint8)
    raw[:, :6] = ms.astype(">u8").view(np.uint8).reshape(-1, 8)[:, 2:]
    raw[:, 6] = raw[:, 6] & 0x0F | 0x70
    raw[:, 8] = raw[:, 8] & 0x3F | 0x80
    return uuid_texts(raw)


def uuid_texts(raw: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Canonical texts of UUIDs given as rows of 16 bytes, as rows of 36 ASCII codes."""
    digits = np.empty((len(raw), 32), dtype=np.uint8)
    digits[:, 0::2] = _HEX[raw >> 4]
    digits[:, 1::2] = _HEX[raw & 0x0F]
    texts = np.full((len(raw), 36), ord("-"), dtype=np.uint8)
    texts[:, [at for at in range(36) if at not in _DASHES]] = digits
    return texts
