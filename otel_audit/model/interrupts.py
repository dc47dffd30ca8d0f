"""Ending a read from outside: whoever started it gives it a scope, and a storage that can stop says so to it.

The scope is a context variable, so it follows the read into a worker thread and needs no parameter on the way.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["ReadScope", "check_read", "interruptible"]

_scope: ContextVar[ReadScope | None] = ContextVar("otel_audit.read_scope", default=None)


class ReadScope:
    """One read, as the one who may end it sees it. Safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._interrupts: list[Callable[[], object]] = []
        self._error: Exception | None = None

    @property
    def error(self) -> Exception | None:
        """What the read ends with; None while it may go on."""
        return self._error

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Reads within this, and in threads that are started from it with its context, belong to the scope."""
        token = _scope.set(self)
        try:
            yield
        finally:
            _scope.reset(token)

    def end(self, error: Exception) -> None:
        """End the read with an error. To be repeated until the read has ended: a statement that was only about to
        begin may not notice; the first error counts."""
        with self._lock:
            self._error = self._error or error
            # Under the lock, so that nobody's next statement is interrupted in the place of one that has just ended.
            for interrupt in self._interrupts:
                interrupt()

    @contextmanager
    def _interruptible(self, interrupt: Callable[[], object]) -> Iterator[None]:
        with self._lock:
            self._interrupts.append(interrupt)
        try:
            yield
        finally:
            with self._lock:
                self._interrupts.remove(interrupt)


def check_read() -> None:
    """Raises what the read was ended with, if it was."""
    scope = _scope.get()
    if scope is not None and scope.error is not None:
        raise scope.error


@contextmanager
def interruptible(interrupt: Callable[[], object]) -> Iterator[None]:
    """While this is entered, the end of the read around it calls `interrupt`, from another thread.

    Raises:
        Exception: what the read was ended with, in place of the error by which the interrupted work ended.
    """
    scope = _scope.get()
    if scope is None:
        yield
        return
    check_read()
    try:
        with scope._interruptible(interrupt):
            yield
    finally:
        check_read()
