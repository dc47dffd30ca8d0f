"""Requests for `bench.replay`: with ids of each kind, on a clock of their own, and mixed from many old ones."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bench.records import SPEC, BenchRecords
from bench.stamping import StampedRequest, uuid7_texts, uuid_texts
from otel_audit.otlp.encode import frame_request
from otel_audit.otlp.frame import split

__all__ = ["KINDS", "PER_REQUEST", "Source"]

KINDS = ("UUIDv7", "UUIDv4", "text")
PER_REQUEST = 1_000
_EVERY_NS = 100_000_000
_POOLED = 32


class Source:
    """An endless supply of requests."""

    def __init__(self) -> None:
        self.now_ns: int = SPEC["start_us"] * 1_000
        self.random = np.random.default_rng(SPEC["seed"])
        bodies = BenchRecords().requests(_POOLED * PER_REQUEST, PER_REQUEST)
        self._pool = [StampedRequest(body) for body in bodies]
        self._turn = 0

    def clock(self) -> int:
        """Now, in ns since 1970."""
        return self.now_ns

    def fresh(self, kind: str) -> bytes:
        """A request that nobody has sent before, a tenth of a second after the one before it."""
        self.now_ns += _EVERY_NS
        self._turn += 1
        return self._pool[self._turn % _POOLED].stamp(self.random, self.now_ns, self.ids(kind))

    def ids(self, kind: str) -> NDArray[np.uint8]:
        """As many ids as a request has, as rows of 36 ASCII codes."""
        if kind == "UUIDv7":
            return uuid7_texts(np.full(PER_REQUEST, self.now_ns // 1_000_000), self.random)
        raw = self.random.integers(0, 256, (PER_REQUEST, 16), dtype=np.uint8)
        raw[:, 6] = raw[:, 6] & 0x0F | 0x40
        raw[:, 8] = raw[:, 8] & 0x3F | 0x80
        texts = uuid_texts(raw)
        if kind == "text":
            texts[:, :6] = np.frombuffer(b"order-", dtype=np.uint8)
        return texts

    def mixed(self, bodies: list[bytes], count: int) -> list[bytes]:
        """`count` requests of records drawn from all of the given ones, in no order."""
        records: list[bytes] = []
        share = -(-count * PER_REQUEST // len(bodies))
        resource = b""
        for body in bodies:
            (scope,) = split(body, PER_REQUEST)
            of_request = list(scope.records(body))
            resource = scope.resource or b""
            records += [of_request[at] for at in self.random.choice(PER_REQUEST, share, replace=False)]
        order = self.random.permutation(len(records))[: count * PER_REQUEST].reshape(count, PER_REQUEST)
        return [frame_request(resource, [records[at] for at in of_one]) for of_one in order]
