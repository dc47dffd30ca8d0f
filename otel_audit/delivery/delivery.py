"""`Delivery`: queue and sender together, through fork and exit.

The thread starts with the first record, so that a process which only forks workers has none. A forked child starts with
an empty queue, a stream, a connection and a thread of its own; what the parent had queued, the parent sends.
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
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit
from uuid import uuid4

import requests
from opentelemetry.sdk.resources import Resource

from otel_audit.config import Settings
from otel_audit.delivery.cause import cause
from otel_audit.delivery.endpoint import Endpoint, without_password
from otel_audit.delivery.notices import report
from otel_audit.delivery.outcome import Refusal
from otel_audit.delivery.queue import DeliveryQueue
from otel_audit.delivery.resource import EncodedResource
from otel_audit.delivery.sender import Sender, unobserved
from otel_audit.delivery.transport import Transport
from otel_audit.errors import BacklogFullError, ReaderUnavailableError, UndeliveredError
from otel_audit.model.record import ActivityRecord
from otel_audit.otlp.encode import encode_record, frame_request
from otel_audit.otlp.names import LOG_HEADER

__all__ = ["Delivery", "DeliveryStats"]

_STOP_WAIT_S = 0.2


@dataclass(frozen=True, slots=True)
class DeliveryStats:
    """Counts of records in this process, and who answers.

    Attributes:
        appended, delivered: since the start.
        waiting, waiting_bytes: not answered for yet.
        refused: refused by the peer and held.
        retries: requests sent again.
        trouble: why delivery does not get on at the moment, or "".
        state: what a delivered record has reached: "acknowledged" by our collector, "forwarded" to another OTLP peer;
            None before the first success.
        log: name of the collector's log, when it is ours.
    """

    appended: int
    delivered: int
    waiting: int
    waiting_bytes: int
    refused: int
    retries: int
    trouble: str
    state: Literal["acknowledged", "forwarded"] | None
    log: str | None


class Delivery:
    """Takes records and brings them to an OTLP endpoint. Safe to share between threads, tasks and forks.

    Durability: none beyond this process's memory. What ends the process without an interpreter exit (`os._exit`,
    SIGKILL, an unhandled SIGTERM) loses what is queued. An exit, also of a `multiprocessing` child, waits up to
    `exit_flush_s` and says what it could not deliver.

    Raises:
        ConfigError: a header or credential provider that cannot be used.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        settings: Settings,
        *,
        resource: Resource | Mapping[str, Any] | None = None,
        clock_ns: Callable[[], int] = time.time_ns,
        new_stream_id: Callable[[], str] = lambda: str(uuid4()),
    ) -> None:
        self.endpoint = endpoint
        self._settings = settings
        self._resource = EncodedResource(resource)
        self._clock_ns = clock_ns
        self._new_stream_id = new_stream_id
        self._inherited: list[Transport] = []
        self._transport = Transport(endpoint)
        self._begin()
        after_fork = weakref.WeakMethod(self._after_fork)
        os.register_at_fork(after_in_child=lambda: (method := after_fork()) and method())

    def _begin(self) -> None:
        """Everything that one process has for itself."""
        settings = self._settings
        self._queue = DeliveryQueue(
            max_records=settings.queue_max_records,
            max_bytes=settings.queue_max_bytes,
            batch_records=settings.batch_max_records,
            batch_bytes=settings.batch_max_bytes,
            batch_delay_s=settings.batch_delay_s,
        )
        self._sender = Sender(
            self._queue,
            self._transport,
            self._frame,
            retry_initial_s=settings.retry_initial_s,
            retry_max_s=settings.retry_max_s,
        )
        self._stream_id = self._new_stream_id()
        self._start_lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def _after_fork(self) -> None:
        """In a child: nothing of the parent's is usable, locks included, for another thread may have held them."""
        was_closed = self._queue.closed
        # Kept, not closed: the connection is the parent's too.
        self._inherited.append(self._transport)
        self._transport = self._transport.fresh()
        self._begin()
        if was_closed:
            self._queue.close()

    # --- records in ---

    def offer(self, records: Sequence[ActivityRecord], timeout_s: float) -> None:
        """Take records, all or none, waiting up to `timeout_s` for room (not on a running event loop).

        Raises:
            BacklogFullError, ClosedError, InvalidRecordError.
        """
        if self._thread is None:
            self._start()
        self._queue.put(lambda number: self._encode(records, number), timeout_s)

    async def aoffer(self, records: Sequence[ActivityRecord], timeout_s: float) -> None:
        """`offer`, waiting without holding up the event loop."""
        if self._thread is None:
            self._start()
        await self._queue.aput(lambda number: self._encode(records, number), timeout_s)

    def _encode(self, records: Sequence[ActivityRecord], number: int) -> list[bytes]:
        now_ns = self._clock_ns()
        return [encode_record(record, now_ns, (self._stream_id, number + at)) for at, record in enumerate(records)]

    def _frame(self, records: Sequence[bytes]) -> bytes:
        resource, schema_url = self._resource.current()
        return frame_request(resource, records, schema_url)

    def _start(self) -> None:
        with self._start_lock:
            if self._thread is not None or self._queue.closed:
                return
            atexit.register(self._at_exit)
            _at_worker_exit(self._at_exit)
            thread = threading.Thread(target=self._sender.run, name="otel-audit-sender", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:
                raise BacklogFullError(f"the sender's thread cannot be started: {error}") from error
            self._thread = thread

    # --- delivery awaited ---

    def flush(self, timeout_s: float | None = None) -> None:
        """Wait until the peer answered for everything offered before; None waits as long as it takes.

        Raises:
            UndeliveredError: time ran out, or refused records are held. After `close()` too, if it had to leave some.
        """
        self._queue.flush(timeout_s)

    async def aflush(self, timeout_s: float | None = None) -> None:
        """`flush`, awaited."""
        await self._queue.aflush(timeout_s)

    def close(self, timeout_s: float | None = None) -> None:
        """Take no more, deliver what is queued within `timeout_s` (default: the setting `exit_flush_s`), then stop.

        A second call does nothing. Raises UndeliveredError as `flush` does.
        """
        if not self._queue.close():
            return
        try:
            self._queue.flush(self._settings.exit_flush_s if timeout_s is None else timeout_s)
        finally:
            self._end()

    async def aclose(self, timeout_s: float | None = None) -> None:
        """`close`, awaited."""
        if not self._queue.close():
            return
        try:
            await self._queue.aflush(self._settings.exit_flush_s if timeout_s is None else timeout_s)
        finally:
            await asyncio.to_thread(self._end)

    def _end(self) -> None:
        self._queue.stop()
        atexit.unregister(self._at_exit)
        if self._thread is not None and self._thread is not threading.current_thread():
            # Only to leave no thread behind; one in the middle of a request ends after it, alone.
            self._thread.join(_STOP_WAIT_S)

    def _at_exit(self) -> None:
        try:
            self.close()
        except UndeliveredError as error:
            report("error", "activity records lost at exit", count=error.count, why=str(error))

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
            raise ReaderUnavailableError(f"{without_password(url)}: {cause(error)}") from error
        finally:
            transport.close()
        log = answer.headers.get(LOG_HEADER)
        if log is None and (answer.status >= 500 or answer.status == 429):
            raise ReaderUnavailableError(f"{without_password(url)}: HTTP {answer.status}")
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
        return self._queue.refusals

    def take_refused(self) -> tuple[Refusal, ...]:
        """Hand over what was refused; it is no longer held here."""
        return self._queue.take_refused()

    def retry_refused(self) -> int:
        """Send what was refused again, after the cause was mended; returns how many records."""
        return self._queue.retry_refused()

    def stats(self) -> DeliveryStats:
        """Counts at this moment."""
        state = self._queue.state()
        log, answered = self._sender.log, self._sender.answered
        return DeliveryStats(
            appended=state.appended,
            delivered=state.delivered,
            waiting=state.waiting,
            waiting_bytes=state.waiting_bytes,
            refused=state.refused,
            retries=self._sender.retries,
            trouble=self._queue.trouble,
            state="acknowledged" if log else "forwarded" if answered else None,
            log=log,
        )


def _at_worker_exit(callback: Callable[[], None]) -> None:
    """A `multiprocessing` child skips the interpreter's exit handlers; it has its own, which are empty at its start."""
    process = sys.modules.get("multiprocessing.process")
    if process is not None and process.parent_process() is not None:
        from multiprocessing.util import Finalize

        Finalize(None, callback, exitpriority=0)
