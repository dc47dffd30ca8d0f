"""`InMemoryActivityLogRepo`: the whole contract in a list, for tests and examples.

It keeps what a collector would keep: the same record again is stored once, another record under a known id is held in
`quarantined` and not in the log.
"""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right, insort
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from operator import itemgetter
from typing import Any

from otel_audit.errors import ClosedError, InvalidFilterError, InvalidRecordError, PositionBeyondEndError
from otel_audit.hooks.chain import Hook, HookChain
from otel_audit.model.completeness import Completeness
from otel_audit.model.filters import Filter, LogPosition, Order, checked_record_id
from otel_audit.model.ids import Id, IdLike
from otel_audit.model.json_values import copy_object, format_json
from otel_audit.model.reading import RecordReads, Selection
from otel_audit.model.receipts import Receipt
from otel_audit.model.record import ActivityRecord
from otel_audit.model.streams import StreamReport
from otel_audit.repos.closing import Closing

__all__ = ["InMemoryActivityLogRepo"]

_LOG = "memory0000000000"
_NOT_CONTENT = frozenset({"trace_id", "span_id", "trace_flags", "client_address", "user_agent", "session_id"})
_order_key = itemgetter(0)


class InMemoryActivityLogRepo(RecordReads, Closing):
    """An `ActivityLogRepo` that lives as long as the object.

    Every append is acknowledged at once and readable at once. Records are copied on their way in and out, so nothing
    a caller does to a `metadata` dict changes the log. Safe to share between threads.

    Args:
        hooks: run on every append, in order.

    After `close()` appending and reading raise ClosedError; `records` and `quarantined` can still be looked at.
    """

    def __init__(self, hooks: Iterable[Hook] = ()) -> None:
        self._hooks = HookChain(hooks)
        self._lock = threading.Lock()
        self._log: list[ActivityRecord] = []
        self._ordered: list[tuple[tuple[int, str], ActivityRecord]] = []
        self._index_of: dict[Id, int] = {}
        self._quarantined: list[ActivityRecord] = []
        self._closed = False

    @property
    def records(self) -> tuple[ActivityRecord, ...]:
        """Everything in the log, in the order it was appended."""
        with self._lock:
            return tuple(map(_copied, self._log))

    @property
    def quarantined(self) -> tuple[ActivityRecord, ...]:
        """Records that came under the id of another record with other content, in the order they came."""
        with self._lock:
            return tuple(map(_copied, self._quarantined))

    @property
    def after_failures(self) -> int:
        """How many calls of `after_append` hooks raised."""
        return self._hooks.after_failures

    # --- writing ---

    def append(self, record: ActivityRecord, *, timeout_s: float | None = None) -> Receipt:
        """Store one record; `timeout_s` does not matter, for there is always room.

        A conflict (same id, other content) is no error, as it is none for a collector: its receipt has no log index.

        Raises:
            HookError, InvalidRecordError, ClosedError: nothing was stored.
        """
        return self.append_many((record,), timeout_s=timeout_s)[0]

    def append_many(self, records: Iterable[ActivityRecord], *, timeout_s: float | None = None) -> list[Receipt]:
        """Store all of them or none; errors as for `append`."""
        self._check_open()
        ready = [_copied(self._hooks.before(_checked(record))) for record in records]
        with self._lock:
            self._check_open()
            receipts = [self._store(record) for record in ready]
        if self._hooks.listens:
            for record, receipt in zip(ready, receipts, strict=True):
                self._hooks.after(_copied(record), receipt)
        return receipts

    async def aappend(self, record: ActivityRecord, *, timeout_s: float | None = None) -> Receipt:
        """`append`; nothing here waits."""
        return self.append(record, timeout_s=timeout_s)

    def flush(self, timeout_s: float | None = None) -> None:
        """Nothing to wait for."""

    async def aflush(self, timeout_s: float | None = None) -> None:
        """Nothing to wait for."""

    def close(self) -> None:
        """End the use of this log; a second call does nothing."""
        self._closed = True

    async def aclose(self) -> None:
        """`close`."""
        self.close()

    def _store(self, record: ActivityRecord) -> Receipt:
        known = self._index_of.get(record.record_id)
        if known is None:
            known = self._index_of[record.record_id] = len(self._log)
            self._log.append(record)
            insort(self._ordered, (record.order_key, record), key=_order_key)
        elif _content(record) != _content(self._log[known]):
            self._quarantined.append(record)
            return Receipt(record.record_id, "acknowledged")
        return Receipt(record.record_id, "acknowledged", _LOG, known)

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError("the in-memory log is closed")

    # --- reading: what RecordReads asks for ---

    def _select(self, where: Filter, order: Order, limit: int | None, beyond: tuple[int, str] | None) -> Selection:
        with self._lock:
            self._check_open()
            rows = self._ordered
            if order == "asc":
                start = 0 if beyond is None else bisect_right(rows, beyond, key=_order_key)
                walk: Iterator[int] = iter(range(start, len(rows)))
            else:
                end = len(rows) if beyond is None else bisect_left(rows, beyond, key=_order_key)
                walk = iter(range(end - 1, -1, -1))
            hits = (rows[at][1] for at in walk if where.matches(rows[at][1]))
            return Selection([_copied(record) for record in islice(hits, limit)])

    def _select_log(
        self, where: Filter, after: LogPosition, limit: int
    ) -> tuple[Sequence[ActivityRecord], LogPosition | None]:
        if after.log not in ("", _LOG):
            raise InvalidFilterError(f"after: there is no log {after.log!r} here, only {_LOG!r}")
        with self._lock:
            self._check_open()
            if after.log_index >= len(self._log):
                raise PositionBeyondEndError(f"after: the log ends before the position {after.log_index}")
            start = max(after.log_index + 1, 0)
            hits = (at for at in range(start, len(self._log)) if where.matches(self._log[at]))
            found = list(islice(hits, limit))
            position = LogPosition(_LOG, found[-1] if found else after.log_index)
            return [_copied(self._log[at]) for at in found], position

    def get_by_id(self, record_id: IdLike) -> ActivityRecord | None:
        """The record with that id, or None."""
        with self._lock:
            self._check_open()
            at = self._index_of.get(checked_record_id(record_id))
            return None if at is None else _copied(self._log[at])

    def count(self, where: Filter | None = None) -> int:
        """How many records match."""
        with self._lock:
            self._check_open()
            return len(self._log) if where is None else sum(map(where.matches, self._log))

    def _count_by(self, field: str, where: Filter) -> dict[Id | None, int]:
        with self._lock:
            self._check_open()
            counts = Counter(_value(record, field) for record in self._log if where.matches(record))
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0] is None, str(item[0]))))

    def stream_reports(
        self, stream_ids: Sequence[str] | None = None, *, incomplete: bool = False
    ) -> list[StreamReport]:
        """None: nothing travels here, so nothing is numbered and nothing can get lost."""
        self._check_open()
        return []

    def completeness(self) -> Completeness:
        """All records, none of them numbered; see `StreamReader`."""
        count = self.count()
        return Completeness(records=count, unnumbered=count)


def _checked(record: object) -> ActivityRecord:
    if not isinstance(record, ActivityRecord):
        raise InvalidRecordError("record", f"must be an ActivityRecord, not {type(record).__name__}")
    return record


def _copied(record: ActivityRecord) -> ActivityRecord:
    """A record that shares no dict with the one given; its JSON values are checked again, for they can be changed."""
    values: dict[str, Any] = {name: getattr(record, name) for name in ActivityRecord.__slots__}
    values["metadata"] = copy_object(record.metadata, "metadata")
    if record.changes is not None:
        values["changes"] = copy_object(record.changes, "changes")
    return ActivityRecord.from_archive(values)


def _content(record: ActivityRecord) -> dict[str, Any]:
    """What makes two records under one id the same. As JSON, where 1, 1.0 and True differ."""
    values = {name: getattr(record, name) for name in ActivityRecord.__slots__ if name not in _NOT_CONTENT}
    values["metadata"] = format_json(record.metadata)
    values["changes"] = None if record.changes is None else format_json(record.changes)
    return values


def _value(record: ActivityRecord, field: str) -> Id | None:
    if field in ("entity_type", "entity_id"):
        return None if record.entity_ref is None else getattr(record.entity_ref, field)
    return getattr(record, field)  # type: ignore[no-any-return]
