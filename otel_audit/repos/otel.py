"""`OTelActivityLogRepo`: appends over OTLP, reads from the collector or its data folder."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from opentelemetry.sdk.resources import Resource

from otel_audit.config import Settings, load_settings
from otel_audit.delivery.delivery import Delivery, DeliveryStats
from otel_audit.delivery.endpoint import resolve_endpoint
from otel_audit.delivery.outcome import Refusal
from otel_audit.errors import ClosedError, ConfigError, InvalidRecordError
from otel_audit.hooks.chain import Hook, HookChain
from otel_audit.model.filters import Filter, LogPosition, Order
from otel_audit.model.ids import Id, IdLike
from otel_audit.model.reading import RecordReads
from otel_audit.model.receipts import Receipt
from otel_audit.model.record import ActivityRecord
from otel_audit.repos.closing import Closing
from otel_audit.repos.open_reader import OpenedReader, ReaderSource, open_reader

__all__ = ["OTelActivityLogRepo"]


class OTelActivityLogRepo(RecordReads, Closing):
    """An `ActivityLogRepo` over OpenTelemetry. A context manager, plain and async; share one in a process.

    Durability: an accepted record is in this process's memory until the peer has answered; `flush()` waits for that.
    A record is sent until it is answered for, with no limit of time. A record the peer refuses for good is held and
    reported by every `flush()` until `take_refused()` or `retry_refused()`. Forks and exits: see `Delivery`.

    Args:
        endpoint: base URL of an OTLP/HTTP endpoint. Default: `OTEL_AUDIT_ENDPOINT`, the `OTEL_EXPORTER_OTLP_*`
            variables, http://127.0.0.1:4318.
        reader: where to read: a collector's URL, a data folder, or any reader. Default: `OTEL_AUDIT_READER`, else the
            collector behind the endpoint, if it is ours.
        hooks: run on every append, in order.
        durability: "memory", the only one there is.
        spool_dir: belongs to other durabilities; refused.
        timeout_s: how long an append waits for room in the queue, in seconds.
        resource: the service the records come from. Default: the global TracerProvider's, else the OTEL_* variables'.
        headers: sent to the endpoint, besides those of the variables.
        settings: default: from the environment.

    Raises:
        ConfigError: an argument or a setting that cannot be used. Nothing is connected yet.
    """

    def __init__(
        self,
        endpoint: str | None = None,
        *,
        reader: ReaderSource | None = None,
        hooks: Iterable[Hook] = (),
        durability: str | None = None,
        spool_dir: str | os.PathLike[str] | None = None,
        timeout_s: float | None = None,
        resource: Resource | Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        settings: Settings | None = None,
    ) -> None:
        settings = load_settings() if settings is None else settings
        durability = settings.durability if durability is None else durability
        if durability != "memory":
            raise ConfigError(f"durability: {durability!r} is not available; available: memory")
        if spool_dir is not None:
            raise ConfigError('spool_dir: durability "memory" keeps nothing on disk; leave spool_dir out')
        self._hooks = HookChain(hooks)
        self._timeout_s: float = (
            settings.timeout_s if timeout_s is None else load_settings({}, timeout_s=timeout_s).timeout_s
        )
        self._reader_source = settings.reader or None if reader is None else reader
        self._settings = settings
        self._reader: OpenedReader | None = None
        self._reader_lock = threading.Lock()
        self._inherited: list[OpenedReader | None] = []
        self._closed = False
        target = resolve_endpoint(os.environ, argument=endpoint, audit_endpoint=settings.endpoint, headers=headers)
        self._delivery = Delivery(target, settings, resource=resource)
        after_fork = weakref.WeakMethod(self._after_fork)
        os.register_at_fork(after_in_child=lambda: (method := after_fork()) and method())

    def _after_fork(self) -> None:
        # Kept, not closed: its connections and threads are the parent's.
        self._inherited.append(self._reader)
        self._reader, self._reader_lock = None, threading.Lock()

    # --- writing ---

    def append(self, record: ActivityRecord, *, timeout_s: float | None = None) -> Receipt:
        """Queue one record for delivery; the receipt's state is "accepted".

        Raises:
            HookError, InvalidRecordError: nothing was taken, and never will be as it is.
            BacklogFullError: no room in time (at once, on a running event loop); retryable.
            ClosedError: after `close()`.
        """
        record = self._hooks.before(_checked(record))
        self._delivery.offer((record,), self._timeout_s if timeout_s is None else timeout_s)
        return self._accepted(record)

    def append_many(self, records: Iterable[ActivityRecord], *, timeout_s: float | None = None) -> list[Receipt]:
        """Queue all of them or none; errors as for `append`."""
        ready = [self._hooks.before(_checked(record)) for record in records]
        self._delivery.offer(ready, self._timeout_s if timeout_s is None else timeout_s)
        return [self._accepted(record) for record in ready]

    async def aappend(self, record: ActivityRecord, *, timeout_s: float | None = None) -> Receipt:
        """`append`, waiting for room without holding up the event loop. Hooks run in the calling task."""
        record = self._hooks.before(_checked(record))
        await self._delivery.aoffer((record,), self._timeout_s if timeout_s is None else timeout_s)
        return self._accepted(record)

    def _accepted(self, record: ActivityRecord) -> Receipt:
        receipt = Receipt(record.record_id, "accepted")
        self._hooks.after(record, receipt)
        return receipt

    def flush(self, timeout_s: float | None = None) -> None:
        """Wait until the peer answered for everything appended before; None waits as long as it takes.

        Holds up the calling thread; on an event loop, await `aflush`. With our collector as the peer, a read after it
        sees all of that.

        Raises:
            UndeliveredError: time ran out (the records are still queued), or refused records are held.
        """
        self._delivery.flush(timeout_s)

    async def aflush(self, timeout_s: float | None = None) -> None:
        """`flush`, awaited."""
        await self._delivery.aflush(timeout_s)

    def close(self) -> None:
        """Flush within the setting `exit_flush_s` and let go of everything; a second call does nothing.

        Raises:
            UndeliveredError: as `flush` does; what is still queued then is given up.
        """
        try:
            self._delivery.close()
        finally:
            self._close_reader()

    async def aclose(self) -> None:
        """`close`, awaited."""
        try:
            await self._delivery.aclose()
        finally:
            self._close_reader()

    # --- what became of the records ---

    @property
    def stats(self) -> DeliveryStats:
        """Counts of records appended, delivered, waiting and refused, and who answers."""
        return self._delivery.stats()

    @property
    def after_failures(self) -> int:
        """How many calls of `after_append` hooks raised."""
        return self._hooks.after_failures

    @property
    def refusals(self) -> tuple[Refusal, ...]:
        """What the peer refused for good and is held, oldest first."""
        return self._delivery.refusals

    def take_refused(self) -> tuple[Refusal, ...]:
        """Hand over what was refused; it is then the caller's, and flushes are clean again."""
        return self._delivery.take_refused()

    def retry_refused(self) -> int:
        """Send what was refused again, once its cause is mended (a token, a limit); returns how many records."""
        return self._delivery.retry_refused()

    # --- reading: what RecordReads asks for, from wherever the records can be read ---

    def _select(
        self, where: Filter, order: Order, limit: int | None, beyond: tuple[int, str] | None
    ) -> Sequence[ActivityRecord]:
        return self._opened()._select(where, order, limit, beyond)

    def _select_log(
        self, where: Filter, after: LogPosition, limit: int
    ) -> tuple[Sequence[ActivityRecord], LogPosition | None]:
        return self._opened()._select_log(where, after, limit)

    def get_by_id(self, record_id: IdLike) -> ActivityRecord | None:
        """The record with that id, or None."""
        return self._opened().get_by_id(record_id)

    def count(self, where: Filter | None = None) -> int:
        """How many records match."""
        return self._opened().count(where)

    def _count_by(self, field: str, where: Filter) -> dict[Id | None, int]:
        return self._opened()._count_by(field, where)

    def _opened(self) -> RecordReads:
        with self._reader_lock:
            if self._closed:
                raise ClosedError("the log is closed")
            if self._reader is None:
                self._reader = open_reader(self._reader_source, self._delivery, self._settings)
            return self._reader[0]

    def _close_reader(self) -> None:
        with self._reader_lock:
            self._closed = True
            opened, self._reader = self._reader, None
        if opened is not None:
            opened[1]()


def _checked(record: object) -> ActivityRecord:
    if not isinstance(record, ActivityRecord):
        raise InvalidRecordError("record", f"must be an ActivityRecord, not {type(record).__name__}")
    return record
