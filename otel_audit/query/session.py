"""Plain SQL over a data folder: a DuckDB session with the views and macros of `query/views.sql`."""

from __future__ import annotations

import re
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import duckdb

from otel_audit.config import Settings, load_settings
from otel_audit.errors import (
    ClosedError,
    NoLogError,
    OtelAuditError,
    QueryError,
    ReaderUnavailableError,
)
from otel_audit.query.engine import connect, translated
from otel_audit.query.scratch import Scratch
from otel_audit.query.statements import script

__all__ = ["SqlSession", "open_session"]

_PATTERN = re.compile(r"[*?\[\\]")
_FIRST_WORD = re.compile(
    r"(?:\s|\(|--[^\n]*(?:\n|$)|/\*.*?\*/)*(?:PIVOT|PIVOT_WIDER|SELECT|FROM)\b", re.IGNORECASE | re.DOTALL
)
_TRIES = 8
_PAUSE_S = 0.02
_BATCH_ROWS = 1_000
_READING = frozenset({duckdb.StatementType.SELECT, duckdb.StatementType.RELATION})
"""Not EXPLAIN: with ANALYZE it runs what it explains, writing included."""


def open_session(data_dir: Path | str, settings: Settings | None = None) -> duckdb.DuckDBPyConnection:
    """A DuckDB connection with the views and macros of `views.sql`; the caller closes it.

    Its list of files is a snapshot, good for 60 seconds; `SqlSession` renews it by itself.

    Raises:
        NoLogError: no such folder.
        ArchiveFaultError: ranges missing or overlapping.
    """
    session, scratch = _open(Path(data_dir), settings or load_settings())
    weakref.finalize(session, scratch.close)  # the caller has only the connection to close and to forget
    return session


def _open(root: Path, settings: Settings) -> tuple[duckdb.DuckDBPyConnection, Scratch]:
    if not root.is_dir():
        raise NoLogError(f"{root} is not a folder")
    scratch = Scratch()
    session = connect(settings, scratch)
    try:
        session.execute("SET VARIABLE data = $1", [str(_plain_path(root.absolute(), scratch))])
        _run_listing(session, "views")
    except BaseException:
        session.close()
        scratch.close()
        raise
    return session, scratch


def _plain_path(root: Path, scratch: Scratch) -> Path:
    """The folder, by a name in which DuckDB's patterns see nothing special; a backslash they have no way to write."""
    if not _PATTERN.search(str(root)):
        return root
    link = scratch.path / "data"
    link.symlink_to(root)
    return link


def _run_listing(session: duckdb.DuckDBPyConnection, name: str) -> None:
    """Run a script that lists the files; files that move meanwhile look like a hole, so it is tried again."""
    for attempt in range(_TRIES):
        try:
            session.execute(script(name))
            return
        except duckdb.Error as error:
            if attempt == _TRIES - 1 or not isinstance(error, duckdb.InvalidInputException):
                raise translated(error) from error
            time.sleep(_PAUSE_S * (attempt + 1))


class SqlSession:
    """Asks one SELECT after the other; a context manager. For one thread.

    Args:
        data_dir: see `open_session`, as for the errors.
    """

    def __init__(self, data_dir: Path | str, settings: Settings | None = None) -> None:
        self._connection, self._scratch = _open(Path(data_dir), settings or load_settings())
        self._closed = False

    def run(self, text: str, parameters: dict[str, Any] | None = None) -> tuple[list[str], Iterator[tuple[Any, ...]]]:
        """The names of the columns, and the rows as they come. `parameters`: values of `$name` in the text.

        Raises:
            QueryError: not exactly one statement that only reads, or one that DuckDB refuses; says why.
            ArchiveFaultError, ReaderUnavailableError: the files cannot be read.
            ClosedError: after `close()`.
        """
        if self._closed:
            raise ClosedError("the session is closed")
        for attempt in range(_TRIES):
            _run_listing(self._connection, "files")
            try:
                result = self._connection.execute(_only_reading(self._connection, text), parameters or {})
                names = [column[0] for column in result.description or ()]
                # The first rows show whether every file is there; hot files may go away in the meantime.
                first = result.fetchmany(_BATCH_ROWS)
            except duckdb.Error as error:
                if not isinstance(error, duckdb.IOException) or attempt == _TRIES - 1:
                    raise _of_a_person(error) from error
                time.sleep(_PAUSE_S * attempt)
                continue
            return names, _rows(result, first)
        raise ReaderUnavailableError("files are merged and sealed faster than they can be read")

    def close(self) -> None:
        """Let go of DuckDB's memory. A second call does nothing."""
        self._closed = True
        self._connection.close()
        self._scratch.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def _only_reading(connection: duckdb.DuckDBPyConnection, text: str) -> duckdb.Statement | str:
    statements = connection.extract_statements(text)
    if _is_pivot(statements) and _FIRST_WORD.match(text):
        return text
    if len(statements) != 1:
        raise QueryError(f"one statement is wanted, not {len(statements)}")
    if statements[0].type not in _READING:
        raise QueryError(f"only reading is possible here, not {statements[0].type.name}; copy the answer elsewhere")
    return statements[0]


def _is_pivot(statements: list[duckdb.Statement]) -> bool:
    """Whether a PIVOT that finds its columns itself is among them. DuckDB first makes a type of what it has found: with
    it that is one statement of several (2.0), or several without a text of their own (1.5). So may be a statement that
    writes what a PIVOT gives; but that begins otherwise."""
    if not statements:
        return False
    *making, last = statements
    if not making:
        return bool(last.type == duckdb.StatementType.MULTI)
    made = all(each.type == duckdb.StatementType.CREATE and not each.query for each in making)
    return bool(made and last.type == duckdb.StatementType.SELECT and not last.query)


def _rows(result: duckdb.DuckDBPyConnection, batch: list[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
    while batch:
        yield from batch
        try:
            batch = result.fetchmany(_BATCH_ROWS)
        except duckdb.Error as error:
            raise _of_a_person(error) from error


def _of_a_person(error: duckdb.Error) -> OtelAuditError:
    """Our error for one that a person's own SQL met: most often the SQL is to blame."""
    if isinstance(error, duckdb.IOException | duckdb.OutOfMemoryException | duckdb.ConnectionException):
        return translated(error)
    return QueryError(str(error).strip())
