"""`LocalActivityLogRepo`: one process appends straight into a data folder, without a network or a collector."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from otel_audit.config import Settings, load_settings, unknown_variables
from otel_audit.delivery.notices import report
from otel_audit.delivery.resource import EncodedResource
from otel_audit.errors import InvalidRecordError, MissingExtraError
from otel_audit.hooks.chain import Hook, HookChain
from otel_audit.model.completeness import Completeness
from otel_audit.model.filters import Filter, LogPosition, Order
from otel_audit.model.ids import Id, IdLike
from otel_audit.model.reading import RecordReads, Selection
from otel_audit.model.receipts import Receipt
from otel_audit.model.record import ActivityRecord
from otel_audit.model.streams import StreamReport
from otel_audit.otlp.encode import encode_record, frame_request
from otel_audit.repos.closing import Closing

if TYPE_CHECKING:
    from otel_audit.log.engine import Committed
    from otel_audit.otlp.decode import Decoded

__all__ = ["LocalActivityLogRepo"]

_RECEIVED_FROM = "local"


class LocalActivityLogRepo(RecordReads, Closing):
    """An `ActivityLogRepo` that owns a data folder: what a collector does, in this process.

    Durability: an append returns when its record is in an fsynced file of the folder ("acknowledged"), so it survives
    kill -9 and power loss; it can be read at once. Appends of several threads and tasks are committed together. A
    record under a known id with other content is no error, as it is none for a collector: it is held in the folder's
    quarantine, and its receipt has no log index. Safe to share between threads; a context manager, plain and async.
    Not for use in a forked child.

    Args:
        data_dir: the folder; made when it does not exist. Another process can read it meanwhile, but not own it.
        hooks: run on every append, in order.
        settings: the collector's and the reader's; default from the environment.
        clock: nanoseconds since 1970.
        resource: attributes of the service the records come from. Default: the global TracerProvider's, else the OTEL_*
            variables'.

    Raises:
        FolderLockedError: another process, or another repo in this one, owns the folder.
        NotADataFolderError, NewerFormatError, ArchiveFaultError, UnwritableError: nothing was changed.
        MissingExtraError: DuckDB or the log engine's packages are not installed.
    """

    def __init__(
        self,
        data_dir: Path | str,
        *,
        hooks: Iterable[Hook] = (),
        settings: Settings | None = None,
        clock: Callable[[], int] = time.time_ns,
        resource: Mapping[str, Any] | None = None,
    ) -> None:
        try:
            from otel_audit.log.engine import ActivityLog
            from otel_audit.otlp.decode import decode_logs
            from otel_audit.query.reader import DuckDBReader
        except ModuleNotFoundError as error:
            # A module of ours that is missing is a broken installation, and no extra helps.
            if (error.name or "").partition(".")[0] == "otel_audit":
                raise
            raise MissingExtraError("LocalActivityLogRepo", "query,collector") from error
        if settings is None:
            settings = load_settings()
            for told in unknown_variables():
                report("warning", told)
        self._hooks = HookChain(hooks)
        self._clock = clock
        self._resource = EncodedResource(resource)
        self._decode = decode_logs
        self._log = ActivityLog.open(Path(data_dir), settings, clock)
        try:
            self._reader = DuckDBReader(Path(data_dir), settings)
        except BaseException:
            self._log.close()
            raise

    @property
    def log_name(self) -> str:
        """The name of the folder's log."""
        return self._log.name

    @property
    def after_failures(self) -> int:
        """How many calls of `after_append` hooks raised."""
        return self._hooks.after_failures

    # --- writing ---

    def append(self, record: ActivityRecord, *, timeout_s: float | None = None) -> Receipt:
        """Store one record and wait for the disk: some milliseconds, also on a running event loop (await `aappend`
        there). There is no queue that could be full, and giving up on a commit under way would leave the record's
        fate unknown, so `timeout_s` does not matter.

        Raises:
            HookError, InvalidRecordError: nothing was stored, and never will be as it is.
            UnwritableError, OverloadedError: the disk or the quarantine has no room; retryable, and a repeat does no
                harm.
            ArchiveFaultError: the folder contradicts itself.
            ClosedError: after `close()`.
        """
        return self.append_many((record,), timeout_s=timeout_s)[0]

    def append_many(self, records: Iterable[ActivityRecord], *, timeout_s: float | None = None) -> list[Receipt]:
        """Store all of them or none, in one commit; errors as for `append`.

        Where some of them were in the log before, no receipt has a log index.
        """
        ready = self._prepared(records)
        if not ready:
            return []
        return self._done(ready, self._log.submit(self._decoded(ready)).result())

    async def aappend(self, record: ActivityRecord, *, timeout_s: float | None = None) -> Receipt:
        """`append`, awaited. Hooks run in the calling task. Cancelling the wait does not undo the append."""
        ready = self._prepared((record,))
        # Shielded: cancelling must not reach into the engine, which answers every request it was handed.
        committed = await asyncio.shield(asyncio.wrap_future(self._log.submit(self._decoded(ready))))
        return self._done(ready, committed)[0]

    def flush(self, timeout_s: float | None = None) -> None:
        """Nothing to wait for: what `append` returned for is acknowledged."""

    async def aflush(self, timeout_s: float | None = None) -> None:
        """Nothing to wait for."""

    def close(self) -> None:
        """Commit what is under way and let go of the folder; a second call does nothing."""
        self._log.close()
        self._reader.close()

    async def aclose(self) -> None:
        """`close`, awaited."""
        await asyncio.to_thread(self.close)

    def _prepared(self, records: Iterable[ActivityRecord]) -> list[ActivityRecord]:
        return [self._hooks.before(_checked(record)) for record in records]

    def _decoded(self, ready: Sequence[ActivityRecord]) -> Decoded:
        """The records as the engine takes them: through the wire format, so that they are what a collector would have
        got. Raises InvalidRecordError for one that a collector would hold in quarantine."""
        now = self._clock()
        resource, schema_url = self._resource.current()
        body = frame_request(resource, [encode_record(record, now) for record in ready], schema_url)
        decoded = self._decode(body, received_from=_RECEIVED_FROM, arrival_ns=now, max_records=len(ready))
        if decoded.rejected:
            raise InvalidRecordError("record", decoded.rejected[0].reason)
        return decoded

    def _done(self, ready: Sequence[ActivityRecord], committed: Committed) -> list[Receipt]:
        receipts = [Receipt(record.record_id, "acknowledged") for record in ready]
        if committed.first is not None and committed.committed == len(ready):
            receipts = [
                Receipt(record.record_id, "acknowledged", committed.log, committed.first + at)
                for at, record in enumerate(ready)
            ]
        for record, receipt in zip(ready, receipts, strict=True):
            self._hooks.after(record, receipt)
        return receipts

    # --- reading: what RecordReads asks for, from the same folder ---

    def _select(self, where: Filter, order: Order, limit: int | None, beyond: tuple[int, str] | None) -> Selection:
        return self._reader._select(where, order, limit, beyond)

    def _select_log(
        self, where: Filter, after: LogPosition, limit: int
    ) -> tuple[Sequence[ActivityRecord], LogPosition | None]:
        return self._reader._select_log(where, after, limit)

    def get_by_id(self, record_id: IdLike) -> ActivityRecord | None:
        """The record with that id, or None."""
        return self._reader.get_by_id(record_id)

    def count(self, where: Filter | None = None) -> int:
        """How many records match."""
        return self._reader.count(where)

    def _count_by(self, field: str, where: Filter) -> dict[Id | None, int]:
        return self._reader._count_by(field, where)

    def stream_reports(
        self, stream_ids: Sequence[str] | None = None, *, incomplete: bool = False
    ) -> list[StreamReport]:
        """What became of the numbers of each stream that the folder knows of; this repo's own records have none."""
        return self._reader.stream_reports(stream_ids, incomplete=incomplete)

    def completeness(self) -> Completeness:
        """See `StreamReader`."""
        return self._reader.completeness()


def _checked(record: object) -> ActivityRecord:
    if not isinstance(record, ActivityRecord):
        raise InvalidRecordError("record", f"must be an ActivityRecord, not {type(record).__name__}")
    return record
