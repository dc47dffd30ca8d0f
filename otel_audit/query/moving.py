"""Reads beside a collector that merges and seals: files may go away between the listing and the reading."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol, TypeVar

import duckdb

from otel_audit.errors import ClosedError, ReaderUnavailableError
from otel_audit.query.engine import Engine, translated

__all__ = ["over_moving_files"]

_TRIES = 8
_PAUSE_S = 0.02


class Listed(Protocol):
    """Files of one instant."""

    def vanished(self) -> bool:
        """Whether one of them has gone since: then what failed is worth another try."""
        ...


S = TypeVar("S", bound=Listed)
T = TypeVar("T")


def over_moving_files(engine: Engine, listed: Callable[[], S], ask: Callable[[S], T], forget: Callable[[], None]) -> T:
    """Ask over the files of now, and over a new list of them when some went away in between.

    Args:
        listed: gives the files of now.
        ask: the question; its duckdb.Error is dealt with here.
        forget: makes the next `listed()` look at every folder again.

    Raises:
        ClosedError: the engine was closed before or meanwhile.
        ReaderUnavailableError: they go away faster than they can be read.
        OtelAuditError: what `listed` raises, and DuckDB's other errors in our terms.
    """
    for attempt in range(_TRIES):
        if engine.closed:
            raise ClosedError("the reader is closed")
        files = listed()
        try:
            return ask(files)
        except duckdb.Error as error:
            if engine.closed:
                raise ClosedError("the reader was closed during a read") from error
            if not files.vanished():
                raise translated(error) from error
            forget()
            time.sleep(_PAUSE_S * attempt)
    raise ReaderUnavailableError("files are merged and sealed faster than they can be read")
