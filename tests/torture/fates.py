"""What may become of a request on its way; drawn from the seed, request by request."""

from __future__ import annotations

import random
from enum import Enum


class Fate(Enum):
    """The value is its name in the report."""

    PASS = "passed on"
    SLOW = "passed on late"
    TWICE = "sent twice"
    RESET = "connection reset in the middle of the request"
    CUT = "half of the request passed on"
    ANSWER_LOST = "committed, then the connection reset"
    ANSWER_CUT = "committed, then the answer cut off"
    ANSWER_LATE = "committed, then the answer too late"
    ANSWER_REPLACED = "committed, then answered 502"
    BUSY = "answered 503"
    BUSY_AFTER = "answered 503 with Retry-After"
    MANY = "answered 429"
    MANY_AFTER = "answered 429 with Retry-After"
    BAD_GATEWAY = "answered 502"
    GATEWAY_TIMEOUT = "answered 504"
    LIE = "planted: answered 200 by the proxy itself"


REFUSALS = (
    Fate.BUSY, Fate.BUSY_AFTER, Fate.MANY, Fate.MANY_AFTER, Fate.BAD_GATEWAY, Fate.GATEWAY_TIMEOUT, Fate.RESET,
)  # fmt: skip
_TROUBLE = (
    *REFUSALS, Fate.SLOW, Fate.TWICE, Fate.TWICE, Fate.CUT,
    Fate.ANSWER_LOST, Fate.ANSWER_LOST, Fate.ANSWER_CUT, Fate.ANSWER_LATE, Fate.ANSWER_REPLACED,
)  # fmt: skip
_LIES = 0.1


class Weather:
    """How likely trouble is at the moment.

    Attributes:
        trouble: the share of requests that meet any.
        outage: nothing gets through at all.
    """

    def __init__(self, rng: random.Random, *, lies: bool) -> None:
        self._rng, self._lies = rng, lies
        self.trouble, self.outage = 0.0, False

    def draw(self) -> Fate:
        """The fate of the next request."""
        if self.outage:
            return self._rng.choice(REFUSALS)
        if self._lies and self._rng.random() < _LIES:
            return Fate.LIE
        return self._rng.choice(_TROUBLE) if self._rng.random() < self.trouble else Fate.PASS
