"""What a data folder holds, as `otel-audit status` and `quarantine` and the routes of the same names tell it."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from otel_audit.errors import InvalidCursorError, InvalidFilterError, NoLogError
from otel_audit.log.folder import read_identity
from otel_audit.log.held import Held, held_matching, held_records
from otel_audit.log.status import folder_status, status_to_json
from otel_audit.model.held_filter import HeldFilter
from otel_audit.model.record_json import format_position, parse_position
from otel_audit.otlp.actors import actor_of

__all__ = ["LocalInspector", "find_held"]


class LocalInspector:
    """Looks into a folder itself; also beside a running collector."""

    def __init__(self, data_dir: Path) -> None:
        """Nothing is opened yet."""
        self._data_dir = data_dir

    @property
    def shown(self) -> str:
        """What it looks into, for a person."""
        return str(self._data_dir)

    def status(self) -> dict[str, Any]:
        """See `FolderInspector`. Raises NoLogError, NewerFormatError, StorageError."""
        return status_to_json(folder_status(self._data_dir))

    def quarantined(self, where: HeldFilter, *, limit: int, cursor: str | None = None) -> dict[str, Any]:
        """See `FolderInspector`. Raises InvalidCursorError, NoLogError, ArchiveFaultError."""
        found = _after(find_held(self._checked(), where), cursor)
        more = format_position(found[limit - 1].position) if len(found) > limit else None
        return {"held": [_held_to_json(one) for one in found[:limit]], "next_cursor": more}

    def quarantined_record(self, sha256: str) -> dict[str, Any]:
        """See `FolderInspector`. Raises RecordNotFoundError, NoLogError, ArchiveFaultError."""
        (found,) = held_records(self._checked(), sha256.lower())
        return {
            "sha256": found.sha256,
            "recorded_at": found.recorded_at,
            "received_from": found.received_from,
            "reason": found.reason,
            "request": b64encode(found.request).decode(),
        }

    def _checked(self) -> Path:
        """Raises NoLogError, lest a wrong path read as "nothing is held"."""
        if read_identity(self._data_dir) is None:
            raise NoLogError(f"{self._data_dir} holds no log")
        return self._data_dir


def find_held(data_dir: Path, where: HeldFilter) -> list[Held]:
    """The held records that match, oldest first. Raises ArchiveFaultError."""

    def told(one: Held) -> bool:
        return where.admits(one.reason, one.source, datetime.fromisoformat(one.recorded_at))

    if where.actor is None:
        return held_matching(data_dir, told)
    return held_matching(data_dir, told, lambda request: actor_of(request) == where.actor)


def _after(found: Sequence[Held], cursor: str | None) -> Sequence[Held]:
    """What comes after the page that ended there. Where a decision took all that is left of that log, everything:
    a record may come twice then, and none is left out."""
    if cursor is None:
        return found
    try:
        last = parse_position(cursor)
    except InvalidFilterError:
        raise InvalidCursorError("it is no `next_cursor` of a page of held records") from None
    logs = list(dict.fromkeys(one.position.log for one in found))
    if last.log not in logs:
        return found
    rest = logs[logs.index(last.log) + 1 :]
    return [
        one
        for one in found
        if one.position.log in rest or (one.position.log == last.log and one.position.log_index > last.log_index)
    ]


def _held_to_json(one: Held) -> dict[str, Any]:
    return {
        "sha256": one.sha256,
        "recorded_at": one.recorded_at,
        "received_from": one.received_from,
        "service_name": one.service_name,
        "bytes": one.request_bytes,
        "reason": one.reason,
    }
