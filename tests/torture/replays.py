"""Old requests, kept to be sent again: as they were, or changed where a bug is planted."""

from __future__ import annotations

import random
import re

from tests.torture.http1 import Message, exchange
from tests.torture.plan import Plant

_KEPT_MEANWHILE, _KEPT_AFTERWARDS = 100, 300
_SHARE_MEANWHILE = 0.25
_ID = re.compile(rb"audit\.record\.id\x12\x26\x0a(\x24)")  # a UUID, of 36 characters
_ACTION = re.compile(rb"audit\.action\x12.\x0a(.)", re.DOTALL)
_CHANGED: dict[Plant, re.Pattern[bytes]] = {"replay-renamed": _ID, "replay-edited": _ACTION}


class _Sample:
    """So many of all that were ever offered, each with the same chance."""

    def __init__(self, rng: random.Random, most: int) -> None:
        self._rng, self._most, self._offered = rng, most, 0
        self.kept: list[Message] = []

    def offer(self, request: Message) -> None:
        self._offered += 1
        if len(self.kept) < self._most:
            self.kept.append(request)
        elif (place := self._rng.randrange(self._offered)) < self._most:
            self.kept[place] = request


class Tape:
    """Requests that the collector has acknowledged; so a replay must add nothing, and cannot heal a loss either.

    Should the collector acknowledge what it then loses, a replay would hide it. So only some are replayed during the
    run, and the others after the records were counted.

    Attributes:
        replayed: how many were sent again.
        unanswered: how many of those got no answer.
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._meanwhile, self._afterwards = _Sample(rng, _KEPT_MEANWHILE), _Sample(rng, _KEPT_AFTERWARDS)
        self.replayed = self.unanswered = 0

    def capture(self, request: Message) -> None:
        """Perhaps keep a request."""
        (self._meanwhile if self._rng.random() < _SHARE_MEANWHILE else self._afterwards).offer(request)

    async def replay(self, port: int, count: int) -> None:
        """Send some again, straight to the collector; what it answers is of no interest."""
        if self._meanwhile.kept:
            for _ in range(count):
                await self._send(port, self._rng.choice(self._meanwhile.kept))

    async def replay_all(self, port: int) -> None:
        """Send every one again, in any order."""
        requests = [*self._meanwhile.kept, *self._afterwards.kept]
        self._rng.shuffle(requests)
        for request in requests:
            await self._send(port, request)

    async def replay_changed(self, port: int, plant: Plant) -> None:
        """Where such a bug is planted, send one again with another record id, or with another action under its id."""
        value = _CHANGED.get(plant)
        if value is None:
            return
        requests = [request for request in self._afterwards.kept if value.search(request.body)]
        if requests:
            request = self._rng.choice(requests)
            await self._send(port, request.with_body(_changed(request.body, value)))

    async def _send(self, port: int, request: Message) -> None:
        self.replayed += 1
        try:
            await exchange(port, request)
        except (OSError, EOFError, TimeoutError):
            self.unanswered += 1


def _changed(body: bytes, value: re.Pattern[bytes]) -> bytes:
    """The last character of the first such value is another one; every length stays."""
    found = value.search(body)
    assert found is not None
    last = found.end() + found[1][0] - 1
    other = b"0" if body[last : last + 1] != b"0" else b"1"
    return body[:last] + other + body[last + 1 :]
