"""In what a held record differs from the one in the log that has its id."""

from __future__ import annotations

from collections.abc import Callable

from otel_audit.model.ids import Id
from otel_audit.model.record import ActivityRecord
from otel_audit.otlp.decode import decode_logs
from otel_audit.query.rows import RECORD_ROW, records_from_rows

__all__ = ["differing_fields"]

_FIELDS = (
    "occurred_at",
    "actor_id",
    "actor_type",
    "actor_name",
    "on_behalf_of",
    "owner_id",
    "action",
    "outcome",
    "reason",
    "entity_ref",
    "entity_name",
    "tenant_id",
    "request_id",
    "metadata",
    "changes",
)


def differing_fields(request: bytes, find: Callable[[Id], ActivityRecord | None]) -> list[str]:
    """The fields of a record that contradict the one in the log.

    Looked up when somebody asks, and not at the commit: a window may hold thousands of conflicts, and an old original
    costs a search of the files.

    Args:
        request: an ExportLogsServiceRequest with the one record.
        find: the record in the log with an id.

    Returns:
        None of them where the log has no such record, where this one is no valid activity, or where they differ in the
        way that something was sent and not in what it says.
    """
    table = decode_logs(request, received_from="", arrival_ns=0, max_records=1).table
    if table.num_rows != 1:
        return []
    row = table.slice(0, 1).to_pylist()[0]
    time_ns = row["time_unix_nano"]
    values = row | {"occurred_us": (time_ns or 0) // 1000, "log_index": 0}
    (held,) = records_from_rows([tuple(values.get(name) for name in RECORD_ROW)])
    original = find(held.record_id)
    if original is None:
        return []
    fields = [name for name in _FIELDS if name != "occurred_at" or time_ns is not None]
    return [name for name in fields if getattr(held, name) != getattr(original, name)]
