"""`Delivery`: outbox and sender together, through fork and exit.

The thread starts with the first record, so that a process which only forks workers has none. A forked child starts with
an empty outbox, a stream, a connection and a thread of its own; what the parent had taken, the parent sends.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import requests
from opentelemetry.sdk.resources import Resource

from otel_audit.config import Settings
from otel_audit.delivery.cause import cause
from otel_audit.delivery.ending import INTERRUPTED_S, exit_patience, leave_wait_s, say_left, say_waiting
from otel_audit.delivery.endpoint import Endpoint
from otel_audit.delivery.fates import Fates
from otel_audit.delivery.making import OutboxMaker
from otel_audit.delivery.meters import METERS
from otel_audit.delivery.notices import report
from otel_audit.delivery.outbox import Outbox
from otel_audit.delivery.outcome import Refusal
from otel_audit.delivery.patience import Patience
from otel_audit.delivery.resource import EncodedResource
from otel_audit.delivery.sender import Sender, unobserved
from otel_audit.delivery.stats import DeliveryStats, gather
from otel_audit.delivery.transport import Transport
from otel_audit.disk import Disk
from otel_audit.errors import BacklogFullError, ReaderUnavailableError, UndeliveredError
from otel_audit.model.printing import public_url
from otel_audit.model.record import ActivityRecord
from otel_audit.otlp.encode import encode_record
from otel_audit.otlp.names import LOG_HEADER

__all__ = ["Delivery", "DeliveryStats"]

_STOP_WAIT_S = 0.2


class Delivery:
    """Takes records and brings them to an OTLP endpoint. Safe to share between threads, tasks and forks.

    Durability `memory`: what ends the process without an interpreter exit (`os._exit`, SIGKILL, an unhandled SIGTERM)
    loses what is queued. `process` and `disk`: the next process that uses the spool delivers it. An exit, also of a
    `multiprocessing` child, waits up to `exit_flush_s` and says what it could not deliver.

    Raises:
        ConfigError: a header, a credential provider or a spool that cannot be used.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        settings: Settings,
        *,
        resource: Resource | Mapping[str, Any] | None = None,
        clock_ns: Callable[[], int] = time.time_ns,
        new_stream_id: Callable[[], str] = lambda: str(uuid4()),
        disk: Disk | None = None,
    ) -> None:
        self.endpoint = endpoint
        self._settings = settings
        self._resource = EncodedResource(resource)
        self._clock_ns = clock_ns
        self._make_outbox = OutboxMaker(settings, endpoint, self._resource, clock_ns, new_stream_id, disk or Disk())
        self._inherited: list[Transport] = []
        self._turns: dict[int, threading.RLock] = {}
        self._transport = Transport(endpoint)
        self._begin()
        after_fork = weakref.WeakMethod(self._after_fork)
        os.register_at_fork(after_in_child=lambda: (method := after_fork()) and method())
        # Handlers run in turn, the newest first: those that the application registers from now on may still append.
        atexit.register(self._at_exit)
        METERS.watch(self)

    def _begin(self, *, closed: bool = False) -> None:
        """Everything that one process has for itself."""
        retry_initial_s, retry_max_s = self._settings.retry_initial_s, self._settings.retry_max_s
        self._outbox = self._make_outbox()
        if closed:
            self._outbox.close()
        self.fates = Fates(self._outbox)
        self._sender = Sender(self._outbox, self._transport, retry_initial_s=retry_initial_s, retry_max_s=retry_max_s)
        self._start_lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._pid = os.getpid()  # last: from here on other threads use all of it

    @property
    def _mine(self) -> Outbox:
        """This process's outbox. A fork in C, as a server's may be, runs no Python code: it is noticed here."""
        if self._pid != (pid := os.getpid()):
            # By one of the threads that are here first. A lock of the parent's may be held for ever, so they agree on
            # one of their own. Reentrant: a signal handler may append.
            with self._turns.setdefault(pid, threading.RLock()):
                if self._pid != pid:
                    self._after_fork()
        return self._outbox

    def _after_fork(self) -> None:
        """In a child: nothing of the parent's is usable, locks included, for another thread may have held them."""
        was_closed = self._outbox.closed
        # The child's copies only: the parent's stream must not stay locked when the parent ends before the child.
        self._outbox.abandon()
        # Kept, not closed: the connection is the parent's too.
        self._inherited.append(self._transport)
        self._transport = self._transport.fresh()
        self._begin(closed=was_closed)

    # --- records in ---

    def offer(self, records: Sequence[ActivityRecord], timeout_s: float) -> int:
        """Take records, all or none, waiting up to `timeout_s` for room (not on a running event loop).

        Returns the number of the first in this process's stream; 0 if they went into a stream apart.

        Raises:
            BacklogFullError, ClosedError, SpoolUnwritableError, InvalidRecordError.
        """
        outbox = self._mine
        if self._thread is None:
            self._start()
        return outbox.put(self._encode(records), timeout_s)

    async def aoffer(self, records: Sequence[ActivityRecord], timeout_s: float) -> int:
        """`offer`, waiting without holding up the event loop."""
        outbox = self._mine
        if self._thread is None:
            self._start()
        return await outbox.aput(self._encode(records), timeout_s)

    def _encode(self, records: Sequence[ActivityRecord]) -> list[bytes]:
        now_ns = self._clock_ns()
        return [encode_record(record, now_ns) for record in records]

    def _start(self) -> None:
        """One caller starts the thread. The others need not wait for that, and one must not: a signal handler that
        appends while this very thread is in here."""
        if not self._start_lock.acquire(blocking=False):
            return
        try:
            if self._thread is not None or self._outbox.closed:
                return
            self._thread = threading.Thread(target=self._sender.run, name="otel-audit-sender", daemon=True)
            try:
                self._thread.start()
            except RuntimeError as error:  # a limit is reached, or the interpreter shuts down
                self._thread = None
                if not self._outbox.kept:
                    raise BacklogFullError(f"the sender's thread cannot be started: {error}") from error
                # The spool keeps its promise without one. A later append tries again; else another process delivers.
                if not self._outbox.trouble:
                    report(
                        "warning", "records wait in the spool: the sender's thread cannot be started", why=str(error)
                    )
                self._outbox.trouble = f"the sender's thread cannot be started: {error}"
                return
            self._outbox.trouble = ""
            _at_worker_exit(self._at_exit)
        finally:
            self._start_lock.release()

    # --- delivery awaited ---

    def flush(self, timeout_s: float | None = None) -> None:
        """Wait until the peer answered for everything offered before; None waits as long as it takes.

        Raises:
            UndeliveredError: time ran out, or refused records are held. After `close()` too, if it had to leave some.
        """
        self._mine.flush(Patience(timeout_s, say=self._say_waiting))

    async def aflush(self, timeout_s: float | None = None) -> None:
        """`flush`, awaited."""
        await self._mine.aflush(Patience(timeout_s, say=self._say_waiting))

    def close(self, timeout_s: float | None = None) -> None:
        """Take no more, deliver what is queued within `timeout_s`, then stop.

        By default that is the setting `exit_flush_s`; where nobody set it and a spool has the records, it ends after a
        second without progress. A second call does nothing. Raises UndeliveredError as `flush` does.
        """
        if not self._mine.close():
            return
        try:
            self._outbox.flush(self._exit_patience(timeout_s), to_the_end=True)
        finally:
            self._end()

    async def aclose(self, timeout_s: float | None = None) -> None:
        """`close`, awaited."""
        if not self._mine.close():
            return
        try:
            await self._outbox.aflush(self._exit_patience(timeout_s), to_the_end=True)
        finally:
            await asyncio.to_thread(self._end)

    def leave(self, error: BaseException) -> None:
        """`close` while an exception passes: raises nothing, and says what is left.

        An interrupt wants to leave at once; so does any exception where what waits is in a spool and the peer is away.
        """
        try:
            self.close(leave_wait_s(error, self._outbox))
        except UndeliveredError as left:
            say_left(left)

    async def aleave(self, error: BaseException) -> None:
        """`leave`, awaited."""
        try:
            await self.aclose(leave_wait_s(error, self._outbox))
        except UndeliveredError as left:
            say_left(left)

    def _exit_patience(self, timeout_s: float | None) -> Patience:
        if self._thread is None:
            return Patience(0.0)  # nobody sends
        return exit_patience(timeout_s, self._settings, self._outbox, self._say_waiting)

    def _say_waiting(self) -> None:
        say_waiting(self.shown_endpoint, self._outbox)

    def _end(self) -> None:
        self._outbox.stop()
        atexit.unregister(self._at_exit)
        if self._thread is None:
            self._outbox.let_go()
        elif self._thread is not threading.current_thread():
            # Only to leave no thread behind; one in the middle of a request ends after it, alone.
            self._thread.join(_STOP_WAIT_S)
        METERS.retire(self)

    def _at_exit(self) -> None:
        try:
            # An interrupt that nobody caught ends the interpreter: whoever sent it does not want to wait.
            self.close(INTERRUPTED_S if getattr(sys, "last_type", None) is KeyboardInterrupt else None)
        except UndeliveredError as error:
            say_left(error)
        except KeyboardInterrupt:
            try:
                self._outbox.flush(0.0)
            except UndeliveredError as error:
                say_left(error)

    # --- the same server, for reading ---

    def probe(self, url: str) -> str | None:
        """Name of the collector's log, if one of ours answers at a URL of the endpoint's server; else None.

        Raises:
            ReaderUnavailableError: no answer, or one that says "not now".
        """
        transport = self._transport.fresh()
        try:
            with unobserved():
                answer = transport.get(url)
        except Exception as error:  # whatever stands between us and an answer, a credential provider's errors included
            raise ReaderUnavailableError(f"{public_url(url)}: {cause(error)}") from error
        finally:
            transport.close()
        log = answer.headers.get(LOG_HEADER)
        if log is None and (answer.status >= 500 or answer.status == 429):
            raise ReaderUnavailableError(f"{public_url(url)}: HTTP {answer.status}")
        return log

    def access(self, url: str) -> tuple[requests.Session, dict[str, str]] | None:
        """A new session and the headers for a URL of the endpoint's own server; None for any other server."""
        theirs, ours = urlsplit(url), urlsplit(self.endpoint.url)
        if (theirs.scheme.lower(), theirs.netloc.lower()) != (ours.scheme.lower(), ours.netloc.lower()):
            return None
        return self._transport.open_session(), self._transport.headers

    # --- what became of them ---

    @property
    def refusals(self) -> tuple[Refusal, ...]:
        """What the peer refused and is held."""
        return self._mine.refusals()

    def take_refused(self) -> tuple[Refusal, ...]:
        """Hand over what was refused; it is no longer held here."""
        return self._mine.take_refused()

    def retry_refused(self) -> int:
        """Send what was refused again, after the cause was mended; returns how many records."""
        return self._mine.retry_refused()

    def stats(self) -> DeliveryStats:
        """Counts at this moment."""
        return gather(self._mine.state(), self._sender, self._outbox.trouble, self._clock_ns())

    @property
    def shown_endpoint(self) -> str:
        """Where records go, without a password."""
        return self.endpoint.shown_url

    @property
    def spool(self) -> str:
        """The spool's folder, or ""."""
        return self._outbox.kept


def _at_worker_exit(callback: Callable[[], None]) -> None:
    """A `multiprocessing` child skips the interpreter's exit handlers; it has its own, which are empty at its start."""
    process = sys.modules.get("multiprocessing.process")
    if process is not None and process.parent_process() is not None:
        from multiprocessing.util import Finalize

        Finalize(None, callback, exitpriority=0)
