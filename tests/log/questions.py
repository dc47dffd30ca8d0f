"""What a reader may ask, put to the log and to the in-memory repo: both must answer the same."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from otel_audit.model.filters import COUNT_FIELDS, Filter, LogPosition, Order
from otel_audit.model.reading import RecordReads
from otel_audit.model.record import ActivityRecord, from_us
from tests.log.model import ACTIONS, ACTORS, ENTITIES, OTHER_ACTION, OWNERS, RECORDS, START_NS

_FIELDS = {"actor": "actor_id", "owner": "owner_id", "entity": "entity_ref", "action": "action"}
_KEYS: list[tuple[str, Any]] = [
    *(("actor", key) for key in ACTORS),
    *(("owner", key) for key in OWNERS),
    *(("entity", key) for key in ENTITIES),
    *(("action", key) for key in (*ACTIONS, OTHER_ACTION)),
]
_WAYS = ("list", "pages", "log order", "count", "count by", "id")
Span = tuple[datetime | None, datetime | None]


@dataclass(frozen=True)
class Question:
    """One read.

    Attributes:
        way: which kind of read.
        key: by what, and which one.
        number: the limit, and for counts and ids which field and which record.
        span: `since` and `until`.
    """

    way: str
    key: tuple[str, Any]
    number: int | None = None
    order: Order = "asc"
    span: Span = (None, None)

    def ask(self, of: RecordReads) -> Any:
        """The answer."""
        by, key = self.key
        span: dict[str, Any] = dict(zip(("since", "until"), self.span, strict=True))
        where, number = Filter(**{_FIELDS[by]: key}, **span), self.number or 5
        if self.way == "list":
            return getattr(of, f"get_by_{by}")(key, limit=self.number, order=self.order, **span)
        if self.way == "pages":
            return _pages(of, where, number, self.order)
        if self.way == "log order":
            return _log_pages(of, where, number)
        if self.way == "count":
            return of.count(where)
        if self.way == "count by":
            return of.count_by(COUNT_FIELDS[number % len(COUNT_FIELDS)], where)
        return of.get_by_id(RECORDS[7 * number % len(RECORDS)].record_id)


def everything(of: RecordReads) -> list[ActivityRecord]:
    """All records in log order."""
    return list(of.iter_records(after=LogPosition()))


def _pages(of: RecordReads, where: Filter, limit: int, order: Order) -> list[tuple[ActivityRecord, ...]]:
    page = of.search(where, limit=limit, order=order)
    pages = [page.records]
    while page.next_cursor:
        page = of.search(cursor=page.next_cursor, limit=limit)
        pages.append(page.records)
    return pages


def _log_pages(of: RecordReads, where: Filter, limit: int) -> list[tuple[int, tuple[ActivityRecord, ...]]]:
    pages, at = [], LogPosition()
    while (page := of.search(where, limit=limit, after=at)).records:
        assert page.position is not None
        at = page.position
        pages.append((at.log_index, page.records))
    return pages


def _moment(minutes: int, us: int = 0) -> datetime:
    return from_us(START_NS // 1_000) + timedelta(minutes=minutes, microseconds=us)


def questions() -> st.SearchStrategy[Question]:
    """Any question. Moments lie among those of the records, and often on one."""
    moments = st.builds(_moment, st.integers(0, 17), st.integers(0, 3))
    both: st.SearchStrategy[Span] = st.sets(moments, min_size=2, max_size=2).map(lambda two: (min(two), max(two)))
    spans = st.one_of(st.just((None, None)), st.tuples(moments, st.none()), st.tuples(st.none(), moments), both)
    numbers = st.one_of(st.none(), st.integers(1, 7))
    orders: st.SearchStrategy[Order] = st.sampled_from(["asc", "desc"])
    return st.builds(Question, st.sampled_from(_WAYS), st.sampled_from(_KEYS), numbers, orders, spans)


ALWAYS_ASKED = (
    Question("list", ("entity", ENTITIES[0]), 2, "desc", (_moment(4), None)),
    Question("pages", ("owner", OWNERS[0]), 4, "desc"),
    Question("log order", ("actor", ACTORS[1]), 5),
    Question("count by", ("action", ACTIONS[0]), 3, "asc", (None, _moment(12))),
)
