"""Group commit: threads that want to write at the same time share one write and one fsync.

The first thread that comes leads: it writes what has gathered, and then tells those whose records were in it. Whoever
came meanwhile waits, and one of them leads next. So a lone thread pays no hand-over to another one, and a crowd pays
one fsync for all.

An exception may come from outside at any point (Ctrl-C in the main thread): then the thread leaves, and hands over what
it had to do. Every step of that may be done twice.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Protocol

from otel_audit.errors import SpoolUnwritableError

__all__ = ["GroupCommit", "Numbering"]


class Numbering(Protocol):
    """What is written to."""

    @property
    def last(self) -> int:
        """The number of the last item that is durable."""

    def write(self, items: Sequence[bytes]) -> int:
        """Make items durable under the numbers after `last`, all or none, and only then move `last` on."""


class _Group:
    """What one write holds; `first` is the number of its first item, 0 while none of it is durable."""

    __slots__ = ("error", "first", "tickets")

    def __init__(self) -> None:
        self.tickets: list[_Ticket] = []
        self.first = 0
        self.error: Exception | None = None


class _Ticket:
    """One caller's share; `place` is that of its first item in the group.

    `led` is the group that its thread writes for all, `heir` whoever leads after it.
    """

    __slots__ = ("gate", "group", "heir", "items", "led", "place")

    def __init__(self, items: Sequence[bytes]) -> None:
        self.items = items
        self.gate = threading.Lock()  # closed until the group is written or this ticket is to lead
        self.gate.acquire()
        self.place = 0
        self.group: _Group | None = None
        self.led: _Group | None = None
        self.heir: _Ticket | None = None

    def open(self) -> None:
        """Let its thread go on; a second time does nothing."""
        if self.gate.locked():
            self.gate.release()


class GroupCommit:
    """Brings items to a stream in the order they came, in groups; one write of it at a time."""

    def __init__(self, stream: Numbering) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._pending: list[_Ticket] = []
        self._leader: _Ticket | None = None
        self._inside: set[int] = set()

    def submit(self, items: Sequence[bytes]) -> int:
        """Returns the number of the first item once all of them are durable.

        0, and nothing is taken, when this very thread is inside this method already: a signal handler or a finalizer
        asks, and would wait for what it has interrupted.

        Args:
            items: at least one.

        Raises:
            SpoolUnwritableError: none of the group was taken.
        """
        me = threading.get_ident()
        if me in self._inside:
            return 0
        ticket = _Ticket(items)
        try:
            self._inside.add(me)
            with self._lock:
                self._pending.append(ticket)
                if self._leader is None:
                    self._leader = ticket
            if self._leader is not ticket:
                ticket.gate.acquire()
            if self._leader is ticket:
                self._lead(ticket)
        except BaseException:
            self._leave(ticket)
            raise
        finally:
            self._inside.discard(me)
        group = ticket.group
        assert group is not None
        if not group.first:
            raise SpoolUnwritableError(str(group.error)) from group.error
        return group.first + ticket.place

    def _lead(self, ticket: _Ticket) -> None:
        """Commit one group, and hand over to one of those who came meanwhile."""
        group = ticket.led = _Group()
        with self._lock:
            group.tickets, self._pending = self._pending, []
        try:
            self._commit(group)
        finally:
            self._hand_over(ticket)

    def _commit(self, group: _Group) -> None:
        items: list[bytes] = []
        for ticket in group.tickets:
            ticket.place = len(items)
            items += ticket.items
        before = self._stream.last
        try:
            self._stream.write(items)
        except Exception as error:  # noqa: BLE001 - whatever it is, everybody in the group must hear of it
            group.error = error
        finally:
            # Also after an exception from outside: it may have come when the write was done.
            if self._stream.last > before:
                group.first = before + 1

    def _hand_over(self, ticket: _Ticket) -> None:
        group = ticket.led or _Group()
        if not group.first and group.error is None:
            group.error = InterruptedError("the thread that was writing was interrupted")
        with self._lock:
            if self._leader is ticket:
                ticket.heir = self._pending[0] if self._pending else None
                self._leader = ticket.heir
        for other in group.tickets:
            other.group = group
            other.open()
        if ticket.heir is not None:
            ticket.heir.open()

    def _leave(self, ticket: _Ticket) -> None:
        """Its thread will wait no longer, and lead nobody."""
        with self._lock:
            if ticket in self._pending:
                self._pending.remove(ticket)
        if ticket.led is not None or self._leader is ticket:
            self._hand_over(ticket)
