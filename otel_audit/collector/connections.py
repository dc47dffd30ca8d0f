"""Who may stay connected: room for real senders, whatever others leave open.

A connection waits (between requests, or for a head that is not complete), or it is at work. The rules:
- there are at most so many; for one more, one that waits is closed: the longest, but first of all one that never had a
  request. A sender finds that out before its next request and connects again, so connections that nobody uses cannot
  keep anybody out;
- then, one whose body comes too slowly (`pace`) gives way;
- where all are at work, a newcomer is served its health pages and told 503 with Retry-After for the rest;
- a head must be complete within a time of its first byte, and small; an idle connection ends after a while;
- a peer that does not take its answer, or does not go when told to, is cut off.

The server library has only the last half of the third. Its own limit answers everybody 503 as soon as there are too
many connections, also those that were being served.
"""

from __future__ import annotations

import resource
from asyncio import Transport
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from otel_audit.collector.answers import Scope
from otel_audit.collector.guard import LATER, is_our_fault
from otel_audit.collector.http1 import RequestStream
from otel_audit.collector.pace import Pace

__all__ = ["KEEP_ALIVE_S", "Connection", "Limits", "is_surplus", "most_connections", "sweep"]

KEEP_ALIVE_S = 75
_MOST = 512
_STALLED_S = 60.0
_CLOSING_S = 10.0
_SURPLUS = "otel_audit.surplus"


@dataclass(frozen=True, slots=True)
class Limits:
    """What a connection is held to.

    Attributes:
        most: connections at a time.
        head_s: from the first byte of a head to its last.
        closed: called with the reason when one is closed by these rules.
        refused: called with a reason, a peer and what is wrong when what came is no request.
    """

    most: int
    head_s: float
    closed: Callable[[str], object]
    refused: Callable[[str, str, str], object]


def most_connections() -> int:
    """How many connections there is room for: files need handles as well, and a commit must never lack one."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MOST if soft == resource.RLIM_INFINITY else max(1, min(_MOST, soft // 2))


def is_surplus(scope: Scope) -> bool:
    """Whether a request came over a connection for which there is no room."""
    return bool(scope.get("state", {}).get(_SURPLUS))


class Connection(RequestStream):
    """One connection. `since`: when it began to wait, to send a head, to close, or not to take its answer."""

    def __init__(self, limits: Limits, config: Any, server_state: Any, app_state: Any, _loop: Any = None) -> None:
        super().__init__(limits.closed, config, server_state, app_state)
        self._limits = limits
        self._surplus = False
        self._stalled = False
        self._told_to_close = False
        self._unsent = 0
        self.since = self.loop.time()
        self.pace = Pace(self.since)

    @property
    def waits(self) -> bool:
        """No request is under way, and it is not closing."""
        at_work = self.cycle is not None and not self.cycle.response_complete
        return not (at_work or self.transport.is_closing())

    def connection_made(self, transport: Transport) -> None:
        """As the library; makes room, or marks this one as too many."""
        super().connection_made(transport)
        self._make_room()

    def _make_room(self) -> None:
        self._surplus = False
        if len(self.connections) <= self._limits.most:
            return
        others = [one for one in self.connections if one is not self and not one.transport.is_closing()]
        if len(others) < self._limits.most:
            return
        # Of those that wait, first the ones that never had a request: whoever has sent something will send again.
        longest = min(
            (one for one in others if one.waits), key=lambda one: (one.cycle is not None, one.since), default=None
        )
        slowest = min((one for one in others if one.is_slow), key=lambda one: one.pace.due, default=None)
        if longest is not None:
            longest.end("room")
        elif slowest is not None:
            slowest.transport.write(LATER)
            slowest.end("room")
        else:
            self._surplus = True

    @property
    def is_slow(self) -> bool:
        """Its body comes too slowly, and nothing of an answer is out."""
        return self.in_body and not self.cycle.response_started and self.pace.is_slow(self.loop.time())

    def on_message_begin(self) -> None:
        """The first byte of a head is there."""
        super().on_message_begin()
        self.since = self.loop.time()

    def begin_request(self) -> None:
        """The head is complete."""
        if self._surplus:
            self._make_room()
        self.pace = Pace(self.loop.time())
        self.scope["state"][_SURPLUS] = self._surplus
        super().begin_request()

    def on_body(self, body: bytes) -> None:
        """A piece of a body."""
        self.pace.came(len(body), self.loop.time())
        super().on_body(body)

    def on_response_complete(self) -> None:
        """The wait for the next request begins."""
        self.since = self.loop.time()
        super().on_response_complete()

    def pause_writing(self) -> None:
        """The peer does not take its answer as fast as it is made."""
        self._stalled, self.since = True, self.loop.time()
        super().pause_writing()

    def resume_writing(self) -> None:
        """It does again."""
        self._stalled = False
        super().resume_writing()

    def refuse_malformed(self, reason: str, why: str) -> None:
        """Say what it is that came, unless it was we who failed."""
        if is_our_fault():
            self._limits.closed("failed")
            try:
                self.transport.write(LATER)
            finally:
                self.transport.close()
        else:
            self._limits.refused(reason, self.client[0] if self.client else "", why)
            super().refuse_malformed(reason, why)

    def end(self, reason: str) -> None:
        """Close without a word: whoever was about to send a request sends it again over a new connection."""
        self._limits.closed(reason)
        self.transport.close()

    def check(self, now: float) -> None:
        """Hold it to its times. A peer that takes its answer, however slowly, is given more."""
        unsent = self.transport.get_write_buffer_size()
        if unsent < self._unsent:
            self.since = now
        self._unsent = unsent
        waited = now - self.since
        if self.transport.is_closing():
            if not self._told_to_close:
                self._told_to_close, self.since = True, now
            elif waited > _CLOSING_S:
                # What was written for the peer cannot go out, and the library would wait for that without end.
                self.transport.abort()
        elif self._stalled and waited > _STALLED_S:
            self._limits.closed("stalled")
            self.transport.abort()
        elif self.waits and waited > (self._limits.head_s if self.in_head else KEEP_ALIVE_S):
            self.end("slow_head" if self.in_head else "idle")


def sweep(connections: Iterable[Connection], now: float) -> None:
    """Hold every connection to its times."""
    for connection in tuple(connections):
        connection.check(now)
