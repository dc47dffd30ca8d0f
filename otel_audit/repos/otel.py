"""`OTelActivityLogRepo`: appends over OTLP, reads from the collector or its data folder."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from opentelemetry.sdk.resources import Resource

from otel_audit.config import Settings, load_settings, unknown_variables
from otel_audit.delivery.change import on_event_loop
from otel_audit.delivery.delivery import Delivery, DeliveryStats
from otel_audit.delivery.endpoint import resolve_endpoint
from otel_audit.delivery.notices import report
from otel_audit.delivery.outcome import Refusal
from otel_audit.errors import ClosedError, ConfigError, InvalidRecordError
from otel_audit.hooks.chain import Hook, HookChain
from otel_audit.model.completeness import Completeness
from otel_audit.model.filters import Filter, LogPosition, Order
from otel_audit.model.ids import Id, IdLike
from otel_audit.model.reading import RecordReads, Selection
from otel_audit.model.receipts import Receipt
from otel_audit.model.record import ActivityRecord
from otel_audit.model.streams import StreamReport
from otel_audit.ports import StreamReader
from otel_audit.repos.closing import Closing
from otel_audit.repos.open_reader import OpenedReader, ReaderSource, open_reader

__all__ = ["OTelActivityLogRepo"]


class OTelActivityLogRepo(RecordReads, Closing):
    """An `ActivityLogRepo` over OpenTelemetry. A context manager, plain and async; share one in a process.

    Durability: `append` returning means what `durability` says; `flush()`, or a receipt's `wait()`, waits for the peer.
    A record is sent until it is answered for, with no limit of time. A record the peer refuses for good is held and
    reported by every `flush()` until `take_refused()` or `retry_refused()`. Forks and exits: see `Delivery`.

    Args:
        endpoint: base URL of an OTLP/HTTP endpoint. Default: `OTEL_AUDIT_ENDPOINT`, the `OTEL_EXPORTER_OTLP_*`
            variables, http://127.0.0.1:4318.
        reader: where to read: a collector's URL, a data folder, or any reader. Default: `OTEL_AUDIT_READER`, else the
            collector behind the endpoint, if it is ours.
        hooks: run on every append, in order.
        durability: what an accepted record survives until a peer has it: "disk" (power loss; fsynced in the spool),
            "process" (kill -9), "memory" (nothing), or "collector": `append` itself waits for the answer.
        spool_dir: the spool's folder, with "disk" and "process"; processes may share it.
        timeout_s: how long an append waits for room (and for the answer, with "collector"), in seconds.
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
        if settings is None:
            settings = load_settings()
            for told in unknown_variables():
                report("warning", told)
        given = {"durability": durability, "timeout_s": timeout_s, "spool_dir": spool_dir and os.fspath(spool_dir)}
        settings = settings.with_arguments(**given)
        if spool_dir is not None and settings.durability not in {"disk", "process"}:
            raise ConfigError(
                f'spool_dir: durability "{settings.durability}" keeps nothing on disk; leave spool_dir out'
            )
        self._hooks = HookChain(hooks)
        self._timeout_s: float = settings.timeout_s
        self._waits = settings.durability == "collector"
        self._reader_source = settings.reader or None if reader is None else reader
        self._settings = settings
        self._reader: OpenedReader | None = None
        self._reader_lock = threading.Lock()
        self._inherited: list[OpenedReader | None] = []
        self._closed = False
        target = resolve_endpoint(
            os.environ,
            argument=endpoint,
            audit_endpoint=settings.endpoint,
            audit_source=settings.source("endpoint"),
            headers=headers,
        )
        self._delivery = Delivery(target, settings, resource=resource)
        after_fork = weakref.WeakMethod(self._after_fork)
        os.register_at_fork(after_in_child=lambda: (method := after_fork()) and method())

    def _after_fork(self) -> None:
        # Kept, not closed: its connections and threads are the parent's.
        self._inherited.append(self._reader)
        self._reader, self._reader_lock = None, threading.Lock()

    # --- writing ---

    def append(self, record: ActivityRecord, *, timeout_s: float | None = None) -> Receipt:
        """Take one record; the receipt's state is "accepted" (with durability "collector" what the peer made of it).

        Raises:
            HookError, InvalidRecordError: nothing was taken, and never will be as it is.
            BacklogFullError: no room in time (at once, on a running event loop); retryable.
            SpoolUnwritableError: the spool's disk refused it; nothing was taken; retryable.
            UndeliveredError, PeerRefusedError: with durability "collector": no answer in time, the record may still
                arrive (append the same record again: it is stored once); or a final refusal.
            ConfigError: with durability "collector" on a running event loop, which must not be held up.
            ClosedError: after `close()`.
        """
        return self._append((record,), timeout_s)[0]

    def append_many(self, records: Iterable[ActivityRecord], *, timeout_s: float | None = None) -> list[Receipt]:
        """Take all of them or none; errors as for `append`."""
        return self._append(records, timeout_s)

    async def aappend(self, record: ActivityRecord, *, timeout_s: float | None = None) -> Receipt:
        """`append`, waiting without holding up the event loop. Hooks run in the calling task."""
        timeout_s = self._timeout_s if timeout_s is None else timeout_s
        end_s = time.monotonic() + timeout_s
        ready = self._hooks.before(_checked(record))
        (receipt,) = self._receipts((ready,), await self._delivery.aoffer((ready,), timeout_s))
        if self._waits:
            receipt = await receipt.await_(_left_s(end_s))
        self._hooks.after(ready, receipt)
        return receipt

    def _append(self, records: Iterable[ActivityRecord], timeout_s: float | None) -> list[Receipt]:
        timeout_s = self._timeout_s if timeout_s is None else timeout_s
        end_s = time.monotonic() + timeout_s
        if self._waits and on_event_loop():
            raise ConfigError('durability "collector" waits for the answer; on an event loop, await aappend()')
        ready = [self._hooks.before(_checked(record)) for record in records]
        receipts = self._receipts(ready, self._delivery.offer(ready, timeout_s))
        if self._waits:
            receipts = [receipt.wait(_left_s(end_s)) for receipt in receipts]
        for record, receipt in zip(ready, receipts, strict=True):
            self._hooks.after(record, receipt)
        return receipts

    def _receipts(self, records: Sequence[ActivityRecord], first: int) -> list[Receipt]:
        fates = self._delivery.fates
        return [
            Receipt(record.record_id, "accepted", None, None, first + at if first else None, fates)
            for at, record in enumerate(records)
        ]

    def flush(self, timeout_s: float | None = None) -> None:
        """Wait until the peer answered for everything appended before; None waits as long as it takes.

        Holds up the calling thread; on an event loop, await `aflush`. With our collector as the peer, a read after it
        sees all of that.

        Raises:
            UndeliveredError: time ran out (the records are still held), or refused records are.
        """
        self._delivery.flush(timeout_s)

    async def aflush(self, timeout_s: float | None = None) -> None:
        """`flush`, awaited."""
        await self._delivery.aflush(timeout_s)

    def close(self) -> None:
        """Flush within the setting `exit_flush_s` and let go of everything; a second call does nothing.

        Raises:
            UndeliveredError: as `flush` does. What is still held then is given up with durability "memory", and
                delivered by the next process that uses the spool with "disk" and "process" (`error.kept`).
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

    def _leave(self, error: BaseException) -> None:
        try:
            self._delivery.leave(error)
        finally:
            self._close_reader()

    async def _aleave(self, error: BaseException) -> None:
        try:
            await self._delivery.aleave(error)
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

    def _select(self, where: Filter, order: Order, limit: int | None, beyond: tuple[int, str] | None) -> Selection:
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

    def stream_reports(
        self, stream_ids: Sequence[str] | None = None, *, incomplete: bool = False
    ) -> list[StreamReport]:
        """What became of the numbers of each producer's stream; see `StreamReader`."""
        return self._opened_streams().stream_reports(stream_ids, incomplete=incomplete)

    def completeness(self) -> Completeness:
        """What no report on a stream can show; see `StreamReader`."""
        return self._opened_streams().completeness()

    def _opened_streams(self) -> StreamReader:
        reader = self._opened()
        if not isinstance(reader, StreamReader):
            raise ConfigError("reader: knows nothing of streams; give a data folder or a collector's URL")
        return reader

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


def _left_s(end_s: float) -> float:
    return max(end_s - time.monotonic(), 0.0)
