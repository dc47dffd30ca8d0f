"""Completeness as DuckDB counts it: the activities and the log of notes about streams, read together."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from otel_audit.archive.listing import has_log
from otel_audit.model.record import from_us
from otel_audit.model.streams import StreamReport
from otel_audit.query.catalog import Catalog, Snapshot
from otel_audit.query.engine import Engine
from otel_audit.query.listings import Listings
from otel_audit.query.moving import over_moving_files

__all__ = ["FOLDER", "StreamReads", "report_from_row"]

FOLDER = "streams"
_TRIES = 32


@dataclass(frozen=True, slots=True)
class _Files:
    """The files of both logs at one instant."""

    rows: Snapshot
    notes: tuple[str, ...]

    def vanished(self) -> bool:
        """See `Listed`."""
        return self.rows.vanished() or any(not Path(path).exists() for path in self.notes)


class StreamReads:
    """The reports of one data folder. Safe to share between threads."""

    def __init__(self, root: Path, engine: Engine, catalog: Catalog) -> None:
        self._root = root.absolute() / FOLDER
        self._engine = engine
        self._catalog = catalog
        self._listings = Listings(self._root)
        self._lock = threading.Lock()

    def reports(self, stream_ids: Sequence[str] | None, incomplete: bool) -> list[StreamReport]:
        """See `StreamReader.stream_reports`."""

        def ask(files: _Files) -> list[StreamReport]:
            rows = [file.path for file in files.rows.files]
            if not rows and not files.notes:
                return []
            parameters = {
                "files": rows or list(files.notes),
                "note_files": list(files.notes) or rows[-1:],
                "stream_ids": None if stream_ids is None else list(stream_ids),
                "incomplete": incomplete,
            }
            return [report_from_row(row) for row in self._engine.rows("completeness", parameters)]

        return over_moving_files(self._engine, self._listed, ask, self._forget)

    def _listed(self) -> _Files:
        """Both logs as they were at one moment.

        A note is written after what it speaks of: with newer notes than rows, a stream that just closed would seem to
        lack its last records. The other way round the number of a repeat might seem to be missing. So the notes are
        listed on both sides of the rows until they stood still. Where they never do, they are older rather than newer.
        """
        for _ in range(_TRIES):
            notes = self._notes()
            rows = self._catalog.snapshot()
            if self._notes() == notes:
                break
        return _Files(rows, notes)

    def _notes(self) -> tuple[str, ...]:
        with self._lock:
            if not has_log(self._root):  # data of a release that kept no notes
                return ()
            return tuple(str(file.path) for file in self._listings.current().files)

    def _forget(self) -> None:
        self._catalog.forget_listing()
        with self._lock:
            self._listings.forget()


def report_from_row(row: tuple[Any, ...]) -> StreamReport:
    """A row of `completeness.sql`."""
    stream_id, service_name, state, *counts, settled_reason, implausible, last_seen_us = row
    emitted, archived, quarantined, missing, missing_count, awaited, repeats, settled = counts
    return StreamReport(
        stream_id=stream_id,
        service_name=service_name,
        state=state,
        emitted=emitted,
        archived=archived,
        quarantined=quarantined,
        missing=tuple((gap["first"], gap["last"]) for gap in missing),
        missing_count=missing_count,
        awaited=awaited,
        repeats=repeats,
        settled=settled,
        settled_reason=settled_reason,
        implausible=None if implausible is None else (implausible["first"], implausible["last"]),
        last_seen=from_us(last_seen_us),
    )
