"""Group commit: threads that want to write at the same time share one write and one fsync.

The first thread that comes while another one writes opens a group and waits for its turn; whoever comes until then
joins it. So a lone thread pays no hand-over to another one, and a crowd pays one fsync for all. Those who joined wait
at the group's gate and pass it one by one, each letting in the next: woken all at once they would only wait again, for
the interpreter.

An exception may come from outside at any point (Ctrl-C in the main thread, a time limit that a signal handler keeps).
Then the thread leaves with it, and hands it to nobody else; if it led a group of which nothing is written, the others
begin anew. Only what the disk refuses is refused to all of a group.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Protocol

from otel_audit.errors import SpoolUnwritableError, UnwritableError

__all__ = ["GroupCommit", "Numbering"]


class Numbering(Protocol):
    """What is written to."""

    @property
    def last(self) -> int:
        """The number of the last item that is durable."""

    def write(self, items: Sequence[bytes]) -> int:
        """Make items durable under the numbers after `last`, all or none, and only then move `last` on; returns the
        number of the first. Raises UnwritableError."""


class _Group:
    """What one write holds.

    `first` is the number of its first item, 0 while none of it is known to be durable; `before` is the last number as
    its write began. Its leader holds `gate` until it is done with it, for good or ill.
    """

    __slots__ = ("before", "error", "first", "gate", "items")

    def __init__(self) -> None:
        self.items: list[bytes] = []
        self.gate = threading.Lock()
        self.first = self.before = 0
        self.error: UnwritableError | None = None


class GroupCommit:
    """Brings items to a stream in the order they came, in groups; one write of it at a time."""

    def __init__(self, stream: Numbering) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._turn = threading.Lock()
        self._open: _Group | None = None  # still taking in
        self._latest: _Group | None = None  # of which a write was last begun
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
        try:
            self._inside.add(me)
            group, place = self._enter(items)
            while not self._is_done(group):
                group, place = self._enter(items)
        finally:
            self._inside.discard(me)
        if group.error is not None:
            raise SpoolUnwritableError(str(group.error)) from group.error
        return group.first + place

    def _enter(self, items: Sequence[bytes]) -> tuple[_Group, int]:
        """Lead a group or join one, until its leader is done with it; the group, and the items' place in it."""
        mine = _Group()
        with mine.gate:
            with self._lock:
                if self._open is None:
                    self._open = mine
                group = self._open
                place = len(group.items)
                group.items += items
            if group is mine:
                with self._turn:
                    self._commit(mine)
                return mine, 0
        with group.gate:
            return group, place

    def _commit(self, group: _Group) -> None:
        """Write it. With the turn."""
        self._note_success()
        with self._lock:
            self._open = None
        group.before = self._stream.last
        self._latest = group
        try:
            group.first = self._stream.write(group.items)
        except UnwritableError as error:
            group.error = error

    def _note_success(self) -> None:
        """Whoever wrote last may have been interrupted when it was done and nobody knew. With the turn."""
        group = self._latest
        if group is not None and not group.first and self._stream.last > group.before:
            group.first = group.before + 1

    def _is_done(self, group: _Group) -> bool:
        """Whether it is written or has failed, now that its leader has left it. If neither, the leader was interrupted,
        and nobody shall join it any more."""
        if group.first or group.error is not None:
            return True
        with self._turn:
            self._note_success()
        with self._lock:
            if self._open is group:
                self._open = None
        return group.first > 0
