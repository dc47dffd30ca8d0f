"""`DuckDBReader`: the reader port over a data folder, beside a running collector or without one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

from otel_audit.config import Settings, load_settings
from otel_audit.errors import InvalidFilterError, NotADataFolderError
from otel_audit.model.completeness import Completeness
from otel_audit.model.filters import Filter, LogPosition, Order, checked_record_id
from otel_audit.model.ids import Id, IdLike, format_id, parse_id
from otel_audit.model.reading import RecordReads
from otel_audit.model.record import ActivityRecord
from otel_audit.model.streams import StreamReport
from otel_audit.query.catalog import Catalog, FileFacts, Snapshot
from otel_audit.query.conditions import condition_parameters, never_matches, selective, span_of
from otel_audit.query.engine import Engine
from otel_audit.query.moving import over_moving_files
from otel_audit.query.plan import Part, Walk
from otel_audit.query.rows import order_key, records_from_rows
from otel_audit.query.streams import FOLDER, StreamReads

__all__ = ["DuckDBReader"]

_FIRST_ROWS = 65_536
"""Rows looked at first: one or two row groups, so that a busy key's newest records cost one small statement."""
_FIRST_FILES = 64
"""Small files: to open one costs more than to read it."""
_GROWTH = 16
"""A further statement costs about as much as passing over a million rows by Bloom filters, so there should be few."""
_MOST_PLACES = 1_000
"""Above this many wanted records, whole rows are read at once: places first would read most row groups twice."""
_ID_FIELDS = frozenset({"actor_id", "owner_id", "entity_id", "tenant_id"})

Row = tuple[Any, ...]
T = TypeVar("T")


class DuckDBReader(RecordReads):
    """Reads hot and sealed files together. Safe to share between threads; a context manager.

    Every read lists the folder first, so it sees all that was acknowledged before it began. A file that is merged or
    sealed away under a read makes the read start again, unseen by the caller.

    Args:
        data_dir: the folder a collector writes; nothing in it is changed and no lock is taken.
        settings: `query_threads` and `query_memory_bytes`; default from the environment.

    Raises:
        NotADataFolderError: no such folder, or one that holds something else.
        ArchiveFaultError, StorageError: from every read, when files contradict each other or cannot be read.
        ReaderUnavailableError: from every read; retryable.
        ClosedError: after `close()`.
    """

    def __init__(self, data_dir: Path | str, settings: Settings | None = None) -> None:
        root = Path(data_dir)
        if not root.is_dir():
            raise NotADataFolderError(f"{root} is not a folder")
        self._engine = Engine(root, settings or load_settings(), logs=[root / FOLDER])
        self._catalog = Catalog(root)
        self._streams = StreamReads(root, self._engine, self._catalog)

    def close(self) -> None:
        """Let go of DuckDB's memory. A second call does nothing."""
        self._engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    # --- what RecordReads asks for ---

    def _select(
        self, where: Filter, order: Order, limit: int | None, beyond: tuple[int, str] | None
    ) -> Sequence[ActivityRecord]:
        return self._read(lambda snapshot: _Search(self._engine, snapshot, where, order, limit, beyond).records())

    def _select_log(
        self, where: Filter, after: LogPosition, limit: int
    ) -> tuple[Sequence[ActivityRecord], LogPosition | None]:
        return self._read(lambda snapshot: self._in_log_order(snapshot, where, after, limit))

    def get_by_id(self, record_id: IdLike) -> ActivityRecord | None:
        """The record with that id, or None."""
        text = format_id(checked_record_id(record_id))

        def ask(snapshot: Snapshot) -> ActivityRecord | None:
            files = [f.path for f in snapshot.files if f.id_span is None or f.id_span[0] <= text <= f.id_span[1]]
            rows = self._engine.rows("record_by_id", {"files": files, "record_id": text}) if files else []
            return records_from_rows([min(rows, key=order_key)])[0] if rows else None

        return self._read(ask)

    def count(self, where: Filter | None = None) -> int:
        """How many records match."""

        def ask(snapshot: Snapshot) -> int:
            if where in (None, Filter()) and len(snapshot.logs) < 2:
                return snapshot.rows
            rows = self._aggregate("count", snapshot, where or Filter(), {})
            return int(rows[0][0]) if rows else 0

        return self._read(ask)

    def _count_by(self, field: str, where: Filter) -> dict[Id | None, int]:
        def ask(snapshot: Snapshot) -> dict[Id | None, int]:
            rows = self._aggregate("count_by", snapshot, where, {"field": field})
            if field in _ID_FIELDS:
                return {None if value is None else parse_id(value): count for value, count in rows}
            return dict(rows)

        return self._read(ask)

    def stream_reports(
        self, stream_ids: Sequence[str] | None = None, *, incomplete: bool = False
    ) -> list[StreamReport]:
        """What became of the numbers of each producer's stream; see `StreamReader`."""
        return self._streams.reports(stream_ids, incomplete)

    def completeness(self) -> Completeness:
        """What no report on a stream can show; see `StreamReader`."""

        def ask(snapshot: Snapshot) -> Completeness:
            files = [file.path for file in snapshot.files]
            ((records, unnumbered),) = self._engine.rows("unnumbered", {"files": files}) if files else ((0, 0),)
            return Completeness(records=records, unnumbered=unnumbered, lost=snapshot.lost)

        return self._read(ask)

    # --- how ---

    def _aggregate(self, name: str, snapshot: Snapshot, where: Filter, more: dict[str, Any]) -> list[Row]:
        files = [file.path for file in span_of(where).prune(snapshot.files)]
        if not files or never_matches(where):
            return []
        if len(snapshot.logs) > 1:
            name += "_across_logs"
        return self._engine.rows(name, condition_parameters(where, files) | more)

    def _in_log_order(
        self, snapshot: Snapshot, where: Filter, after: LogPosition, limit: int
    ) -> tuple[Sequence[ActivityRecord], LogPosition | None]:
        log = _log_of(snapshot, after)
        files = [file for file in snapshot.files if file.log == log and file.last > after.log_index]
        if not files or never_matches(where):
            return (), None
        end = files[-1].last
        first, step = max(after.log_index + 1, files[0].first), max(_FIRST_ROWS, limit)
        found: list[Row] = []
        while first <= end and len(found) < limit:
            last = min(first + step - 1, end)
            paths = [file.path for file in files if file.first <= last and file.last >= first]
            parameters = condition_parameters(where, paths, first, last) | {"most": limit - len(found)}
            found += self._engine.rows("log_order", parameters)
            first, step = last + 1, step * _GROWTH
        return records_from_rows(found), LogPosition(log, found[-1][2]) if found else None

    def _read(self, ask: Callable[[Snapshot], T]) -> T:
        return over_moving_files(self._engine, self._catalog.snapshot, ask, self._catalog.forget_listing)


class _Search:
    """One ordered search over one snapshot."""

    def __init__(
        self,
        engine: Engine,
        snapshot: Snapshot,
        where: Filter,
        order: Order,
        limit: int | None,
        beyond: tuple[int, str] | None,
    ) -> None:
        self._engine = engine
        self._where = where
        self._limit = limit
        self._descending = order == "desc"
        self._statement = "newest" if self._descending else "oldest"
        self._logs = len(snapshot.logs)
        self._span = span_of(where).beyond(beyond, self._descending)
        self._beyond = {"beyond_us": None if beyond is None else self._span.clamped(beyond[0]),
                        "beyond_id": None if beyond is None else beyond[1]}  # fmt: skip
        in_order = snapshot.by_newest if self._descending else snapshot.by_oldest
        self._files: list[FileFacts] = [] if never_matches(where) else self._span.prune(in_order)
        # Indexes name rows only within one log.
        self._places_first = limit is not None and limit <= _MOST_PLACES and self._logs == 1 and not selective(where)

    def records(self) -> list[ActivityRecord]:
        """The answer, each record once."""
        if not self._files:
            return []
        if self._limit is None:
            return records_from_rows(
                self._distinct(self._rows(Part([f.path for f in self._files], None, None, 0), None))
            )
        found = self._search(self._limit)
        return records_from_rows(self._complete(found) if self._places_first else found)

    def _search(self, limit: int) -> list[Row]:
        walk = Walk(self._files, self._descending)
        found: list[Row] = []
        rows, files = 0, 0
        part = walk.take(max(_FIRST_ROWS, 2 * limit), _FIRST_FILES)
        while True:
            found = self._first(found + self._rows(part, limit), limit)
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
            growth = 1 + 2 * (limit - len(found)) // len(found) if found else _GROWTH
            part = walk.rest() if rows * growth * 2 >= walk.rows_left else walk.take(rows * growth, files * growth)

    def _rows(self, part: Part, limit: int | None) -> list[Row]:
        # A record stands at most once in a log, so this many rows hold enough different ones.
        most = (1 << 60) if limit is None else limit * self._logs
        name = f"{self._statement}_places" if self._places_first else self._statement
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


def _log_of(snapshot: Snapshot, after: LogPosition) -> str:
    """Raises InvalidFilterError: no such log here, or several and none named."""
    if after.log in snapshot.logs:
        return after.log
    if after.log:
        known = ", ".join(snapshot.logs) or "none"
        raise InvalidFilterError(f"after: there is no log {after.log!r} here; there is {known}")
    if len(snapshot.logs) > 1:
        raise InvalidFilterError(f"after: name one of the logs {', '.join(snapshot.logs)}; each has its own order")
    return snapshot.logs[0] if snapshot.logs else ""
