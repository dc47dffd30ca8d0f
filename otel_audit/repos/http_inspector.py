"""What a collector's data folder holds, asked over HTTP."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from otel_audit.model.held_filter import HeldFilter
from otel_audit.model.record_json import format_time
from otel_audit.repos.http_query import Query
from otel_audit.repos.http_reader import HttpReader

__all__ = ["HttpInspector"]


class HttpInspector:
    """Asks the routes /v1/audit/status and /v1/audit/quarantine."""

    def __init__(self, reader: HttpReader) -> None:
        """The reader stays its caller's."""
        self._reader = reader

    @property
    def shown(self) -> str:
        """What it asks, for a person."""
        return self._reader.url

    def status(self) -> dict[str, Any]:
        """See `FolderInspector`. Raises ReaderUnavailableError."""
        return self._reader.get_json("/status", [])

    def quarantined(self, where: HeldFilter, *, limit: int, cursor: str | None = None) -> dict[str, Any]:
        """See `FolderInspector`. Raises ReaderUnavailableError, InvalidFilterError, InvalidCursorError."""
        asked: Query = [("limit", str(limit))]
        given = (
            ("reason", where.reason),
            ("service", where.service),
            ("actor_id", where.actor),
            ("since", None if where.since is None else format_time(where.since)),
            ("until", None if where.until is None else format_time(where.until)),
            ("cursor", cursor),
        )
        asked += [(name, value) for name, value in given if value is not None]
        return self._reader.get_json("/quarantine", asked)

    def quarantined_record(self, sha256: str) -> dict[str, Any]:
        """See `FolderInspector`. Raises ReaderUnavailableError, RecordNotFoundError."""
        return self._reader.get_json(f"/quarantine/{quote(sha256, safe='')}", [])
