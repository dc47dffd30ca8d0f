"""Waiting for a change of shared state, for threads and for asyncio tasks alike."""

from __future__ import annotations

import asyncio
import contextlib
import threading

__all__ = ["LONGEST_WAIT_S", "Change", "on_event_loop"]

LONGEST_WAIT_S = 3600.0
"""Longest single wait. A lock cannot wait for arbitrarily long times, and every waiter looks again in a loop anyway."""


class Change:
    """Something changed; look again. All methods but `arrival` are called with the lock held."""

    def __init__(self, lock: threading.RLock) -> None:
        self._lock = lock
        self._threads = threading.Condition(lock)
        self._tasks: dict[asyncio.Future[None], asyncio.AbstractEventLoop] = {}

    def announce(self) -> None:
        """Wake every waiting thread and task."""
        self._threads.notify_all()
        tasks, self._tasks = self._tasks, {}
        for future, loop in tasks.items():
            with contextlib.suppress(RuntimeError):  # its loop has ended, and the waiting task with it
                loop.call_soon_threadsafe(_finish, future)

    def wait(self, timeout_s: float) -> None:
        """Let go of the lock until the next change, at most for a time."""
        self._threads.wait(min(timeout_s, LONGEST_WAIT_S))

    def watch(self) -> asyncio.Future[None]:
        """A future of the running loop that is done at the next change; to be given to `arrival`."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        self._tasks[future] = loop
        return future

    async def arrival(self, future: asyncio.Future[None], timeout_s: float) -> None:
        """Await the change, at most for a time. Without the lock."""
        try:
            await asyncio.wait((future,), timeout=min(timeout_s, LONGEST_WAIT_S))
        finally:
            with self._lock:
                self._tasks.pop(future, None)


def on_event_loop() -> bool:
    """Whether the calling thread runs an event loop now, which must not be held up."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _finish(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
