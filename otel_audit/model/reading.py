"""The reads that every repo offers, derived from five primitives that each storage supplies.

So ordering, limits, cursors and the async twins mean the same everywhere; a storage decides only how to find rows.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from otel_audit.errors import InvalidCursorError, InvalidFilterError
from otel_audit.model.filters import (
    COUNT_FIELDS,
    MAX_PAGE,
    Filter,
    LogPosition,
    Order,
    checked_limit,
    checked_order,
)
from otel_audit.model.ids import Id, IdLike
from otel_audit.model.pages import Cursor, Page, format_cursor, parse_cursor
from otel_audit.model.record import ActivityRecord, EntityRef

__all__ = ["RecordReads", "Selection"]

_STREAM_ROWS = 5_000


class Selection(NamedTuple):
    """Records in the order asked for; `cut`: fewer than asked for although others match, for they would take too much
    room at once."""

    records: Sequence[ActivityRecord]
    cut: bool = False


class RecordReads(ABC):
    """Everything of the reader port except how rows are found."""

    # --- what a storage supplies ---

    @abstractmethod
    def _select(self, where: Filter, order: Order, limit: int | None, beyond: tuple[int, str] | None) -> Selection:
        """The first `limit` matching records in `order` (None: all), strictly past the order key `beyond`.

        Where so many would be too much to hold at once, fewer, but at least one, and `cut`.
        """

    @abstractmethod
    def _select_log(
        self, where: Filter, after: LogPosition, limit: int
    ) -> tuple[Sequence[ActivityRecord], LogPosition | None]:
        """The first `limit` matching records after a place in the log, and the place of the last of them.

        Fewer, but at least one, where so many would be too much to hold at once. With none, the place asked for by its
        log's full name, or None where there is no log yet.
        """

    @abstractmethod
    def get_by_id(self, record_id: IdLike) -> ActivityRecord | None:
        """The record with that id, or None."""

    @abstractmethod
    def count(self, where: Filter | None = None) -> int:
        """How many records match."""

    @abstractmethod
    def _count_by(self, field: str, where: Filter) -> dict[Id | None, int]:
        """Matching records per value of one field, most first."""

    # --- what a caller uses ---

    def get_by_entity(
        self,
        entity_ref: EntityRef,
        *,
        limit: int | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        order: Order = "asc",
    ) -> list[ActivityRecord]:
        """The history of one thing. `limit=n` keeps the newest n; they come oldest first unless `order="desc"`."""
        return self._newest("entity_ref", Filter(entity_ref=entity_ref, since=since, until=until), limit, order)

    def get_by_actor(
        self,
        actor_id: IdLike,
        *,
        limit: int | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        order: Order = "asc",
    ) -> list[ActivityRecord]:
        """What one actor did; see `get_by_entity` for limit and order."""
        return self._newest("actor_id", Filter(actor_id=actor_id, since=since, until=until), limit, order)  # type: ignore[arg-type]

    def get_by_owner(
        self,
        owner_id: IdLike,
        *,
        limit: int | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        order: Order = "asc",
    ) -> list[ActivityRecord]:
        """What happened to one owner's data; see `get_by_entity` for limit and order."""
        return self._newest("owner_id", Filter(owner_id=owner_id, since=since, until=until), limit, order)  # type: ignore[arg-type]

    def get_by_action(
        self,
        action: str,
        *,
        limit: int | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        order: Order = "asc",
    ) -> list[ActivityRecord]:
        """Every use of one verb; see `get_by_entity` for limit and order."""
        return self._newest("action", Filter(action=action, since=since, until=until), limit, order)

    def _newest(self, field: str, where: Filter, limit: int | None, order: Order) -> list[ActivityRecord]:
        if getattr(where, field) is None:
            # In a filter None means "any"; here a caller's missing id must not open everybody's records.
            raise InvalidFilterError(f"{field}: must be given; search() reads without it")
        checked_limit(limit)
        order = checked_order(order)
        if limit is None:
            return list(self._all(where, order, None))
        newest = list(self._all(where, "desc", limit))
        return newest if order == "desc" else newest[::-1]

    def _all(self, where: Filter, order: Order, limit: int | None) -> Iterator[ActivityRecord]:
        beyond: tuple[int, str] | None = None
        while True:
            found, cut = self._select(where, order, limit, beyond)
            yield from found
            limit = None if limit is None else limit - len(found)
            if not cut or limit == 0:
                return
            beyond = found[-1].order_key

    def search(
        self,
        filter: Filter | None = None,
        *,
        limit: int = 100,
        cursor: str | None = None,
        order: Order | None = None,
        after: LogPosition | None = None,
    ) -> Page:
        """One page of the records that match: at most `limit`, and fewer where they would take too much room.

        Pages walk in `order` (default "desc": newest first). With `cursor` the filter and order are the cursor's own;
        giving others is an error. With `after` the page is in log order, the order of commit, so that reading on from
        `page.position` never misses a record, however late or backdated it arrived.

        Raises:
            InvalidFilterError, InvalidCursorError.
        """
        if checked_limit(limit, MAX_PAGE) is None:
            raise InvalidFilterError(f"limit: must be a whole number from 1 to {MAX_PAGE}, not None")
        if after is not None:
            if cursor is not None or order is not None:
                raise InvalidFilterError("after: reads in log order, which takes neither cursor nor order")
            found, position = self._select_log(filter or Filter(), after, limit)
            return Page(tuple(found), position=position or after)
        at = Cursor(filter or Filter(), checked_order(order or "desc"), (0, ""))
        beyond = None
        if cursor is not None:
            parsed = parse_cursor(cursor)
            if filter is not None and filter != parsed.filter:
                raise InvalidCursorError("the cursor was made with another filter")
            if order is not None and order != parsed.order:
                raise InvalidCursorError("the cursor was made with another order")
            at, beyond = parsed, parsed.key
        found, cut = self._select(at.filter, at.order, limit + 1, beyond)
        records = tuple(found[:limit])
        more = cut or len(found) > limit
        return Page(records, format_cursor(Cursor(at.filter, at.order, records[-1].order_key)) if more else None)

    def iter_records(
        self, filter: Filter | None = None, *, order: Order = "asc", after: LogPosition | None = None
    ) -> Iterator[ActivityRecord]:
        """All matching records, a few thousand in memory at a time; `after` as in `search`."""
        where, order = filter or Filter(), checked_order(order)
        if after is not None:
            return self._iter_log(where, after)
        return self._iter_ordered(where, order)

    def _iter_ordered(self, where: Filter, order: Order) -> Iterator[ActivityRecord]:
        beyond: tuple[int, str] | None = None
        while True:
            found, cut = self._select(where, order, _STREAM_ROWS, beyond)
            yield from found
            if not cut and len(found) < _STREAM_ROWS:
                return
            beyond = found[-1].order_key

    def _iter_log(self, where: Filter, after: LogPosition) -> Iterator[ActivityRecord]:
        while True:
            found, position = self._select_log(where, after, _STREAM_ROWS)
            yield from found
            if not found or position is None:
                return
            after = position

    def count_by(self, field: str, filter: Filter | None = None) -> dict[Id | None, int]:
        """How many matching records there are per value of `field`, most first.

        Args:
            field: one of `COUNT_FIELDS`.
        """
        if field not in COUNT_FIELDS:
            raise InvalidFilterError(f"field: must be one of {', '.join(COUNT_FIELDS)}, not {field!r}")
        return self._count_by(field, filter or Filter())

    # --- the same, awaited: a worker thread does the work, the event loop goes on ---

    async def aget_by_entity(self, entity_ref: EntityRef, **options: Any) -> list[ActivityRecord]:
        """`get_by_entity`, awaited."""
        return await asyncio.to_thread(self.get_by_entity, entity_ref, **options)

    async def aget_by_actor(self, actor_id: IdLike, **options: Any) -> list[ActivityRecord]:
        """`get_by_actor`, awaited."""
        return await asyncio.to_thread(self.get_by_actor, actor_id, **options)

    async def aget_by_owner(self, owner_id: IdLike, **options: Any) -> list[ActivityRecord]:
        """`get_by_owner`, awaited."""
        return await asyncio.to_thread(self.get_by_owner, owner_id, **options)

    async def aget_by_action(self, action: str, **options: Any) -> list[ActivityRecord]:
        """`get_by_action`, awaited."""
        return await asyncio.to_thread(self.get_by_action, action, **options)

    async def aget_by_id(self, record_id: IdLike) -> ActivityRecord | None:
        """`get_by_id`, awaited."""
        return await asyncio.to_thread(self.get_by_id, record_id)

    async def asearch(self, filter: Filter | None = None, **options: Any) -> Page:
        """`search`, awaited."""
        return await asyncio.to_thread(self.search, filter, **options)

    async def acount(self, where: Filter | None = None) -> int:
        """`count`, awaited."""
        return await asyncio.to_thread(self.count, where)

    async def acount_by(self, field: str, filter: Filter | None = None) -> dict[Id | None, int]:
        """`count_by`, awaited."""
        return await asyncio.to_thread(self.count_by, field, filter)

    async def aiter_records(self, filter: Filter | None = None, **options: Any) -> AsyncIterator[ActivityRecord]:
        """`iter_records`, awaited a batch at a time."""
        records = self.iter_records(filter, **options)
        take: Callable[[], list[ActivityRecord]] = lambda: [r for _, r in zip(range(_STREAM_ROWS), records)]  # noqa: E731, B905
        while batch := await asyncio.to_thread(take):
            for record in batch:
                yield record
