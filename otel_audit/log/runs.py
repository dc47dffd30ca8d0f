"""One sorted run of the index on disk: ids, content digests and a filter, mapped into memory.

Layout: one JSON line (counts and a checksum), padded to 64 bytes; `rows` ids of 16 bytes, sorted as bytes; `rows`
digests of 8 bytes; the filter's bits. A run can always be made again from the log, so a damaged one is no loss.
"""

from __future__ import annotations

import json
import mmap
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import xxhash

from otel_audit.errors import StorageError

__all__ = ["Digests", "Ids", "Run", "format_run", "ids_of", "load_run", "make_run"]

Ids = npt.NDArray[np.bytes_]
Digests = npt.NDArray[np.uint64]
_ALIGN = 64
_FILTER_BITS = 16
_PROBES = 5


def ids_of(raw: bytes | memoryview) -> Ids:
    """An array of 16-byte ids over raw bytes. They compare like unsigned 128-bit numbers, high byte first."""
    return np.frombuffer(raw, dtype="S16")


@dataclass(frozen=True, slots=True)
class Run:
    """A run in memory or mapped from a file."""

    ids: Ids
    digests: Digests
    filter: npt.NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.ids)

    def find(self, ids: Ids) -> npt.NDArray[np.int64]:
        """The place of each id in this run, or -1."""
        places = np.full(len(ids), -1, dtype=np.int64)
        if not len(self.ids) or not len(ids):
            return places
        maybe = np.flatnonzero((ids >= self.ids[0]) & (ids <= self.ids[-1]))
        maybe = maybe[_probe(self.filter, ids[maybe])]
        if len(maybe):
            at = np.searchsorted(self.ids, ids[maybe])
            hit = self.ids[np.minimum(at, len(self.ids) - 1)] == ids[maybe]
            places[maybe[hit]] = at[hit]
        return places


def _words(ids: Ids) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    pairs = np.ascontiguousarray(ids).view(np.uint64).reshape(-1, 2)
    # The low half is random in every kind of id; mixing in the high half costs nothing and helps odd ones.
    mixed = (pairs[:, 1] ^ (pairs[:, 0] * np.uint64(0x9E3779B97F4A7C15))) * np.uint64(0xD6E8FEB86659FD93)
    return mixed ^ (mixed >> np.uint64(32)), (mixed >> np.uint64(17)) | np.uint64(1)


def _bits(ids: Ids, size: int) -> npt.NDArray[np.uint64]:
    first, step = _words(ids)
    return np.stack([(first + np.uint64(k) * step) % np.uint64(size) for k in range(_PROBES)])


def _probe(filter_: npt.NDArray[np.uint8], ids: Ids) -> npt.NDArray[np.bool_]:
    bits = _bits(ids, len(filter_) * 8)
    return np.asarray(np.all(filter_[bits >> np.uint64(3)] & (1 << (bits & np.uint64(7))).astype(np.uint8), axis=0))


def make_run(ids: Ids, digests: Digests) -> Run:
    """A run of ids that are already sorted and unique."""
    filter_ = np.zeros(max(64, -(-len(ids) * _FILTER_BITS // 64) * 8), dtype=np.uint8)
    bits = _bits(ids, len(filter_) * 8)
    np.bitwise_or.at(filter_, (bits >> np.uint64(3)).ravel(), (1 << (bits & np.uint64(7))).astype(np.uint8).ravel())
    return Run(ids, digests, filter_)


def format_run(run: Run) -> bytes:
    """The bytes of a run file; `load_run` is the inverse."""
    body = run.ids.tobytes() + run.digests.tobytes() + run.filter.tobytes()
    facts = {"rows": len(run), "filter_bytes": len(run.filter), "checksum": xxhash.xxh3_64_hexdigest(body)}
    head = json.dumps(facts).encode() + b"\n"
    return head.ljust(-(-len(head) // _ALIGN) * _ALIGN) + body


def load_run(path: Path) -> Run:
    """Map a run file into memory and check it.

    Raises:
        StorageError: missing, truncated or damaged; rebuild the index.
    """
    try:
        with open(path, "rb") as file:
            raw = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except (OSError, ValueError) as error:
        raise StorageError(f"{path}: cannot be read: {error}") from error
    head, _, _ = bytes(raw[:4096]).partition(b"\n")
    try:
        facts = json.loads(head)
        rows, filter_bytes, checksum = int(facts["rows"]), int(facts["filter_bytes"]), facts["checksum"]
    except (ValueError, KeyError, TypeError) as error:
        raise StorageError(f"{path}: not a run: {error}") from None
    start = -(-(len(head) + 1) // _ALIGN) * _ALIGN
    body = raw[start:]
    if len(body) != rows * 24 + filter_bytes or xxhash.xxh3_64_hexdigest(body) != checksum:
        raise StorageError(f"{path}: damaged")
    return Run(
        np.frombuffer(body[: rows * 16], dtype="S16"),
        np.frombuffer(body[rows * 16 : rows * 24], dtype=np.uint64),
        np.frombuffer(body[rows * 24 :], dtype=np.uint8),
    )
