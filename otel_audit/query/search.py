"""One ordered search over one snapshot: few statements, and never more rows at once than fit."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import duckdb

from otel_audit.model.filters import Filter, Order
from otel_audit.model.reading import Selection
from otel_audit.query.catalog import FileFacts, Snapshot
from otel_audit.query.conditions import condition_parameters, never_matches, selective, span_of
from otel_audit.query.engine import Engine
from otel_audit.query.plan import Part, Walk
from otel_audit.query.rows import fitting, order_key, records_from_rows, row_bytes

__all__ = ["FIRST_ROWS", "GROWTH", "Search", "rows_fitting"]

FIRST_ROWS = 65_536
"""Rows looked at first: one or two row groups, so that a busy key's newest records cost one small statement."""
_FIRST_FILES = 64
"""Small files: to open one costs more than to read it."""
GROWTH = 16
"""A further statement costs about as much as passing over a million rows by Bloom filters, so there should be few."""
_MOST_PLACES = 1_000
"""Above this many wanted records, whole rows are read at once: places first would read most row groups twice."""

Row = tuple[Any, ...]


def rows_fitting(files: Iterable[FileFacts], most_bytes: int) -> int:
    """How many rows of these files take about so many bytes, going by their largest; at least one."""
    return max(1, most_bytes // max((file.row_bytes for file in files), default=1))


class Search:
    """One ordered search over one snapshot."""

    def __init__(self, engine: Engine, snapshot: Snapshot, where: Filter, order: Order, most_bytes: int) -> None:
        self._engine = engine
        self._where = where
        self._descending = order == "desc"
        self._statement = "newest" if self._descending else "oldest"
        self._logs = len(snapshot.logs)
        self._in_order = snapshot.by_newest if self._descending else snapshot.by_oldest
        self._most_bytes = most_bytes

    def select(self, limit: int | None, beyond: tuple[int, str] | None) -> Selection:
        """The records that come first past a place in the order, each once: `limit` of them, or as many as fit in
        about `most_bytes`; all of them for None."""
        self._go_beyond(beyond)
        if not self._files:
            return Selection([])
        if limit is None:
            rows = self._rows(Part([f.path for f in self._files], None, None, 0), None, places=False)
            return Selection(records_from_rows(self._distinct(rows)))
        found: list[Row] = []
        room, fits = self._most_bytes, rows_fitting(self._files, self._most_bytes)
        while True:
            step = min(limit - len(found), fits)
            try:
                rows = self._step(step)
            except duckdb.OutOfMemoryException:
                if step == 1:
                    raise
                fits = max(1, step // GROWTH)  # rows are much larger than their file tells
                continue
            taken = max(fitting(rows, room), 0 if found else min(1, len(rows)))
            found += rows[:taken]
            if len(found) == limit or taken == len(rows) < step:
                return Selection(records_from_rows(found))
            room -= sum(map(row_bytes, rows[:taken]))
            if taken < len(rows) or room <= 0:
                return Selection(records_from_rows(found), cut=True)
            self._go_beyond(order_key(found[-1]))

    def _go_beyond(self, key: tuple[int, str] | None) -> None:
        span = span_of(self._where).beyond(key, self._descending)
        self._beyond = {
            "beyond_us": None if key is None else span.clamped(key[0]),
            "beyond_id": None if key is None else key[1],
        }
        self._files: list[FileFacts] = [] if never_matches(self._where) else span.prune(self._in_order)

    def _step(self, limit: int) -> list[Row]:
        """The first whole rows past the place."""
        # Indexes name rows only within one log.
        places = limit <= _MOST_PLACES and self._logs == 1 and not selective(self._where)
        found = self._search(limit, places)
        return self._complete(found) if places else found

    def _search(self, limit: int, places: bool) -> list[Row]:
        walk = Walk(self._files, self._descending)
        found: list[Row] = []
        rows, files = 0, 0
        part = walk.take(max(FIRST_ROWS, 2 * limit), _FIRST_FILES)
        while True:
            found = self._first(found + self._rows(part, limit, places), limit)
            rows, files = rows + part.rows, files + len(part.files)
            if walk.edge_us is None:
                return found
            if len(found) == limit:
                last_us = found[-1][0]
                if walk.settles(last_us):
                    return found
                part = walk.take_reaching(last_us)
                continue
            # A key that was met is expected to go on as often; twice the rows that asks for, to be done in one more.
            growth = 1 + 2 * (limit - len(found)) // len(found) if found else GROWTH
            part = walk.rest() if rows * growth * 2 >= walk.rows_left else walk.take(rows * growth, files * growth)

    def _rows(self, part: Part, limit: int | None, places: bool) -> list[Row]:
        # A record stands at most once in a log, so this many rows hold enough different ones.
        most = (1 << 60) if limit is None else limit * self._logs
        name = f"{self._statement}_places" if places else self._statement
        parameters = condition_parameters(self._where, part.files, part.first, part.last)
        return self._engine.rows(name, parameters | self._beyond | {"most": most})

    def _first(self, rows: list[Row], limit: int) -> list[Row]:
        rows.sort(key=order_key, reverse=self._descending)
        return self._distinct(rows)[:limit]

    def _distinct(self, rows: list[Row]) -> list[Row]:
        """Each record id once: its first row in the order asked for."""
        firsts: dict[str, Row] = {}
        for row in rows:
            firsts.setdefault(row[1], row)
        return list(firsts.values())

    def _complete(self, places: list[Row]) -> list[Row]:
        """The whole rows of places, in the same order."""
        if not places:
            return []
        indexes = sorted(row[2] for row in places)
        files = [file.path for file in self._files if any(file.first <= index <= file.last for index in indexes)]
        rows = self._engine.rows(
            "records_at",
            {"files": files, "indexes": indexes, "first_index": indexes[0], "last_index": indexes[-1]},
        )
        whole = {row[2]: row for row in rows}
        return [whole[place[2]] for place in places]
