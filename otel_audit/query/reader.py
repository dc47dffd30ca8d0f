"""`DuckDBReader`: the reader port over a data folder, beside a running collector or without one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

from otel_audit.archive.extent import own_log
from otel_audit.config import Settings, load_settings
from otel_audit.errors import InvalidFilterError, NoLogError, PositionBeyondEndError
from otel_audit.model.completeness import Completeness
from otel_audit.model.filters import Filter, LogPosition, Order, checked_record_id
from otel_audit.model.ids import Id, IdLike, format_id, parse_id
from otel_audit.model.reading import RecordReads, Selection
from otel_audit.model.record import ActivityRecord
from otel_audit.model.streams import StreamReport
from otel_audit.query.catalog import Catalog, Snapshot
from otel_audit.query.conditions import condition_parameters, never_matches, span_of
from otel_audit.query.engine import Engine
from otel_audit.query.moving import over_moving_files
from otel_audit.query.rows import fitting, order_key, records_from_rows
from otel_audit.query.search import FIRST_ROWS, GROWTH, Search, rows_fitting
from otel_audit.query.streams import FOLDER, StreamReads

__all__ = ["DuckDBReader"]

_ID_FIELDS = frozenset({"actor_id", "owner_id", "entity_id", "tenant_id"})

Row = tuple[Any, ...]
T = TypeVar("T")


class DuckDBReader(RecordReads):
    """Reads hot and sealed files together. Safe to share between threads; a context manager.

    Every read lists the folder first, so it sees all that was acknowledged before it began. A file that is merged or
    sealed away under a read makes the read start again, unseen by the caller.

    Args:
        data_dir: the folder a collector writes; nothing in it is changed and no lock is taken.
        settings: `query_threads`, `query_memory_bytes` and `read_answer_bytes`; default from the environment.

    Raises:
        NoLogError: no such folder, or one that holds something else.
        ArchiveFaultError, StorageError: from every read, when files contradict each other or cannot be read.
        ReaderUnavailableError: from every read; retryable.
        ClosedError: after `close()`.
    """

    def __init__(self, data_dir: Path | str, settings: Settings | None = None) -> None:
        self._root = root = Path(data_dir)
        if not root.is_dir():
            raise NoLogError(f"{root} is not a folder")
        settings = settings or load_settings()
        self._most_bytes: int = settings.read_answer_bytes
        self._engine = Engine(root, settings, logs=[root / FOLDER])
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

    def _select(self, where: Filter, order: Order, limit: int | None, beyond: tuple[int, str] | None) -> Selection:
        def ask(snapshot: Snapshot) -> Selection:
            return Search(self._engine, snapshot, where, order, self._most_bytes).select(limit, beyond)

        return self._read(ask)

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
        log = self._log_of(snapshot, after)
        if after.log_index >= (end := snapshot.ends.get(log, 0)) and after.log_index >= 0:
            raise PositionBeyondEndError(f"after: log {log!r} ends at {end - 1}, before the position {after.log_index}")
        start = LogPosition(log, after.log_index) if log else None
        files = [file for file in snapshot.files if file.log == log and file.last > after.log_index]
        if not files or never_matches(where):
            return (), start
        end = files[-1].last
        most = min(limit, rows_fitting(files, self._most_bytes))
        first, step = max(after.log_index + 1, files[0].first), max(FIRST_ROWS, most)
        found: list[Row] = []
        while first <= end and len(found) < most:
            last = min(first + step - 1, end)
            paths = [file.path for file in files if file.first <= last and file.last >= first]
            parameters = condition_parameters(where, paths, first, last) | {"most": most - len(found)}
            found += self._engine.rows("log_order", parameters)
            first, step = last + 1, step * GROWTH
        found = found[: max(1, fitting(found, self._most_bytes))]
        return records_from_rows(found), LogPosition(log, found[-1][2]) if found else start

    def _read(self, ask: Callable[[Snapshot], T]) -> T:
        return over_moving_files(self._engine, self._catalog.snapshot, ask, self._catalog.forget_listing)

    def _log_of(self, snapshot: Snapshot, after: LogPosition) -> str:
        """Raises InvalidFilterError: no such log here, or several and none named."""
        if after.log in snapshot.logs:
            return after.log
        own = own_log(self._root)
        if after.log:
            if after.log == own:
                return own  # a log has its name before its first row: one can begin to follow it then
            known = ", ".join(sorted({*snapshot.logs, own} - {""})) or "none"
            raise InvalidFilterError(f"after: there is no log {after.log!r} here; there is {known}")
        if len(snapshot.logs) > 1:
            raise InvalidFilterError(f"after: name one of the logs {', '.join(snapshot.logs)}; each has its own order")
        return snapshot.logs[0] if snapshot.logs else own
