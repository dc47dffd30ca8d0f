"""The ports an application depends on. Name these in type hints; choose an implementation at start-up.

Each docstring states durability, concurrency, idempotence and who retries.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, Protocol, runtime_checkable

from otel_audit.model.completeness import Completeness
from otel_audit.model.filters import Filter, LogPosition, Order
from otel_audit.model.held_filter import HeldFilter
from otel_audit.model.ids import Id, IdLike
from otel_audit.model.pages import Page
from otel_audit.model.receipts import ActivityRecorded, Receipt
from otel_audit.model.record import ActivityRecord, EntityRef
from otel_audit.model.streams import StreamReport

__all__ = [
    "ActivityLogReader",
    "ActivityLogRepo",
    "ActivityLogWriter",
    "AfterAppend",
    "BeforeAppend",
    "FolderInspector",
    "StreamReader",
]


@runtime_checkable
class ActivityLogWriter(Protocol):
    """Takes records. Safe to share between threads and tasks.

    Durability: `append` returning means what the receipt's state says. Idempotence: the same record again (same id,
    same content) is stored once, at any distance in time. Retries: the implementation's business, without end; a caller
    repeats only after an error whose `retryable` is True.
    """

    def append(self, record: ActivityRecord, *, timeout_s: float | None = None) -> Receipt:
        """Take one record. Waits for room up to `timeout_s`; on a running event loop it never waits.

        Raises:
            HookError, InvalidRecordError: nothing was taken, and never will be as it is.
            BacklogFullError: no room; retryable.
            ClosedError: after `close()`.
        """
        ...

    def append_many(self, records: Iterable[ActivityRecord], *, timeout_s: float | None = None) -> list[Receipt]:
        """Take all of them or none; errors as for `append`."""
        ...

    async def aappend(self, record: ActivityRecord, *, timeout_s: float | None = None) -> Receipt:
        """`append`, waiting for room without holding up the event loop."""
        ...

    def flush(self, timeout_s: float | None = None) -> None:
        """Wait until everything appended before by this writer is acknowledged; a read after it sees all of that.

        Raises:
            UndeliveredError: time ran out, or the peer refused some for good; says how many.
        """
        ...

    async def aflush(self, timeout_s: float | None = None) -> None:
        """`flush`, awaited."""
        ...

    def close(self) -> None:
        """Flush and let go of everything; a second call does nothing. Raises UndeliveredError as `flush` does."""
        ...

    async def aclose(self) -> None:
        """`close`, awaited."""
        ...


@runtime_checkable
class ActivityLogReader(Protocol):
    """Gives records back. Safe to share between threads.

    A read sees everything its collector acknowledged before the read began. Reads change nothing and may be repeated.
    Order is `(occurred_at in µs, record_id)`. Errors are of the `QueryError` and `StorageError` families.
    """

    def get_by_entity(
        self,
        entity_ref: EntityRef,
        *,
        limit: int | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        order: Order = "asc",
    ) -> list[ActivityRecord]:
        """The history of one thing; `limit=n` keeps the newest n, given oldest first unless `order="desc"`."""
        ...

    def get_by_actor(
        self,
        actor_id: IdLike,
        *,
        limit: int | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        order: Order = "asc",
    ) -> list[ActivityRecord]:
        """What one actor did."""
        ...

    def get_by_owner(
        self,
        owner_id: IdLike,
        *,
        limit: int | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        order: Order = "asc",
    ) -> list[ActivityRecord]:
        """What happened to one owner's data."""
        ...

    def get_by_action(
        self,
        action: str,
        *,
        limit: int | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        order: Order = "asc",
    ) -> list[ActivityRecord]:
        """Every use of one verb."""
        ...

    def get_by_id(self, record_id: IdLike) -> ActivityRecord | None:
        """The record with that id, or None."""
        ...

    def search(
        self,
        filter: Filter | None = None,
        *,
        limit: int = 100,
        cursor: str | None = None,
        order: Order | None = None,
        after: LogPosition | None = None,
    ) -> Page:
        """One page; stable while records arrive."""
        ...

    def iter_records(
        self, filter: Filter | None = None, *, order: Order = "asc", after: LogPosition | None = None
    ) -> Iterator[ActivityRecord]:
        """All of them, streamed."""
        ...

    def count(self, where: Filter | None = None) -> int:
        """How many match."""
        ...

    def count_by(self, field: str, filter: Filter | None = None) -> dict[Id | None, int]:
        """How many match per value of a field, most first."""
        ...


@runtime_checkable
class ActivityLogRepo(ActivityLogWriter, ActivityLogReader, Protocol):
    """Both sides in one object; what most applications hold."""


@runtime_checkable
class StreamReader(Protocol):
    """Says per producer's stream what became of the numbers it gave. Safe to share between threads.

    Durability, repeats and errors are those of `ActivityLogReader`. A producer may be sending meanwhile: what its own
    count is ahead of the archive is awaited and not missing, and a number that a later one overtook on its way (an
    otelcol sends several requests at a time) is missing until it arrives.
    """

    def stream_reports(
        self, stream_ids: Sequence[str] | None = None, *, incomplete: bool = False
    ) -> list[StreamReport]:
        """One report per stream, longest unseen first.

        Args:
            stream_ids: only these; one that the archive does not know has no report. None: all.
            incomplete: only streams with numbers missing, awaited or implausible.
        """
        ...

    def completeness(self) -> Completeness:
        """What the reports cannot show: how many records carry no number, and which rows are accepted as lost."""
        ...


@runtime_checkable
class FolderInspector(Protocol):
    """Tells what a data folder holds beside its records, as JSON values. Safe to share between threads.

    Errors are of the `QueryError` and `StorageError` families. A collector may be writing meanwhile.
    """

    def status(self) -> dict[str, Any]:
        """Rows, files, bytes, time span, quarantine, and what contradicts itself (`faults`)."""
        ...

    def quarantined(self, where: HeldFilter, *, limit: int, cursor: str | None = None) -> dict[str, Any]:
        """A page of what is held in quarantine, without its bytes, oldest first: `held` and `next_cursor`.

        Args:
            cursor: `next_cursor` of the page before.
        """
        ...

    def quarantined_record(self, sha256: str) -> dict[str, Any]:
        """One held record; `request` is the OTLP request as it came, in base64.

        Args:
            sha256: its hash, or a beginning of it that names one record.

        Raises:
            RecordNotFoundError: it names none, or several.
        """
        ...


@runtime_checkable
class BeforeAppend(Protocol):
    """A hook before anything is durable: takes a record, returns a record (the same, or a changed copy).

    Called in the appending thread, in the order given. An exception fails the append; None is an error, so that no
    hook can drop a record silently.
    """

    def before_append(self, record: ActivityRecord) -> ActivityRecord:
        """Return the record to store."""
        ...


@runtime_checkable
class AfterAppend(Protocol):
    """A hook after the append; an exception is logged and counted, and never undoes it."""

    def after_append(self, event: ActivityRecorded) -> Any:
        """Take notice."""
        ...
