"""DuckDB as the reader uses it: in memory, read only in effect, one cursor for each read under way.

No error of DuckDB's own leaves this module.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb

from otel_audit.archive.columns import COLUMNS, STREAM_COLUMNS, Column
from otel_audit.archive.listing import linked_folders
from otel_audit.config import Settings
from otel_audit.errors import (
    ArchiveFaultError,
    ClosedError,
    OtelAuditError,
    QueryError,
    ReaderUnavailableError,
    StorageError,
)
from otel_audit.model.interrupts import interruptible
from otel_audit.query.rows import RECORD_COLUMNS
from otel_audit.query.scratch import Scratch
from otel_audit.query.statements import script, statement

__all__ = ["Engine", "columns_map", "connect", "translated"]

_STREAM_NAMES = (
    *("stream_id", "stream_number", "kind", "first_number", "last_number", "service_name", "recorded_at"),
    "settled_reason",
)
_STREAM_READ = tuple({c.field_id: c for c in (*COLUMNS, *STREAM_COLUMNS) if c.name in _STREAM_NAMES}.values())
"""What completeness is read from: activities and notes about streams share some of their columns."""
_DAMAGED = (duckdb.IOException, duckdb.SerializationException, duckdb.InvalidInputException, duckdb.ConversionException)


def columns_map(columns: tuple[Column, ...]) -> str:
    """The `schema` argument of read_parquet: columns found by field id, null where an older file lacks one."""
    entries = (f"{c.field_id}: {{name: '{c.name}', type: '{c.sql}', default_value: NULL}}" for c in columns)
    return f"MAP {{{', '.join(entries)}}}"


def connect(settings: Settings, scratch: Scratch) -> duckdb.DuckDBPyConnection:
    """An empty in-memory database that neither loads extensions nor fetches anything.

    Args:
        scratch: where it puts what does not fit in memory; to be closed after the database.

    Raises:
        ReaderUnavailableError: DuckDB does not start.
    """
    try:
        return duckdb.connect(
            config={
                "threads": settings.query_threads,
                "memory_limit": f"{settings.query_memory_bytes // 1024}KiB",
                "temp_directory": str(scratch.path),
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
            }
        )
    except duckdb.Error as error:
        scratch.close()
        raise translated(error) from error


def translated(error: duckdb.Error) -> OtelAuditError:
    """Our error for one of DuckDB's that a statement of ours met."""
    text = str(error).split("\n\nLINE ")[0].strip()
    if isinstance(error, duckdb.ConnectionException):
        return ClosedError("the reader is closed")
    if isinstance(error, duckdb.PermissionException):
        return StorageError(f"{text} (a folder became a symbolic link since the reader was opened: open it again)")
    if isinstance(error, duckdb.OutOfMemoryException):
        return ReaderUnavailableError(f"{text} (raise OTEL_AUDIT_QUERY_MEMORY_BYTES or ask for less at once)")
    if isinstance(error, _DAMAGED):
        return ArchiveFaultError(text)
    if isinstance(error, duckdb.ProgrammingError):
        return QueryError(text)
    return ReaderUnavailableError(text)


class Engine:
    """Runs statements of `query/*.sql`. Safe to share between threads.

    Args:
        data_dir: the folder that statements may open files in; of others only those that symbolic links in it lead to.
        logs: folders of logs inside of it that are read too.
    """

    def __init__(self, data_dir: Path, settings: Settings, logs: Sequence[Path] = ()) -> None:
        self._scratch = Scratch()
        self._root = connect(settings, self._scratch)
        try:
            linked = [folder for log in (data_dir, *logs) for folder in linked_folders(log)]
            allowed = [f"{folder}/" for folder in (data_dir.absolute(), *linked)]
            self._root.execute("SET VARIABLE data_dirs = $1", [allowed])
            self._root.execute(script("reader_settings"))
        except duckdb.Error as error:
            raise translated(error) from error
        self._record_columns = columns_map(tuple(c for c in COLUMNS if c.name in RECORD_COLUMNS))
        self._completeness_columns = columns_map(_STREAM_READ)
        self._lock = threading.Lock()
        self._idle: list[duckdb.DuckDBPyConnection] = []
        self._closed = False

    def rows(self, name: str, parameters: dict[str, Any]) -> list[tuple[Any, ...]]:
        """All rows of a statement.

        Raises:
            duckdb.Error: the caller decides whether another try is worth it, and translates.
            Exception: what the read around it was ended with.
            ClosedError: after `close()`.
        """
        with self._cursor() as cursor, interruptible(cursor.interrupt):
            found: list[tuple[Any, ...]] = cursor.execute(statement(name), parameters).fetchall()
            return found

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def close(self) -> None:
        """End every read under way with ClosedError and let go of the memory. A second call does nothing."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for cursor in idle:
            cursor.close()
        self._root.close()
        self._scratch.close()

    @contextmanager
    def _cursor(self) -> Iterator[duckdb.DuckDBPyConnection]:
        with self._lock:
            if self._closed:
                raise ClosedError("the reader is closed")
            cursor = self._idle.pop() if self._idle else None
        if cursor is None:
            cursor = self._root.cursor()
            cursor.execute(f"SET VARIABLE record_columns = {self._record_columns}")
            cursor.execute(f"SET VARIABLE completeness_columns = {self._completeness_columns}")
        try:
            yield cursor
        finally:
            with self._lock:
                keep = not self._closed
                if keep:
                    self._idle.append(cursor)
            if not keep:
                cursor.close()
