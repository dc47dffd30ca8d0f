"""`HookProcessor`: the hook chain inside an application's own OpenTelemetry log pipeline.

It stands here and not beside the hooks because it must know the wire names as well. For activities that travel through
a `LoggerProvider`, and for those of any other OpenTelemetry code in the process.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from opentelemetry.sdk._logs import LogRecordProcessor, ReadWriteLogRecord

from otel_audit.errors import OtelAuditError
from otel_audit.events import report
from otel_audit.hooks.chain import Hook, HookChain
from otel_audit.model.ids import format_id
from otel_audit.model.json_values import parse_json
from otel_audit.model.record import ActivityRecord, EntityRef, from_us
from otel_audit.otlp.names import WIRE

__all__ = ["HookProcessor"]

_BY_FIELD = {wire.column: wire for wire in WIRE}


class HookProcessor(LogRecordProcessor):
    """Runs `before_append` hooks on every log record that is an activity; register it before the exporting processor.

    It may only add attributes: what a record already carries is never changed or taken away, and a hook that wants to
    is counted and logged. A pipeline of the SDK cannot refuse a record, so a hook that raises is counted and logged as
    well and the record goes on as it came. Use a repo's `hooks=` where a hook must be able to redact or refuse.
    Trace and span are not its business: the SDK fills them from the context.

    Args:
        hooks: as for a repo; their `after_append` is not called, for nobody here learns when a record is stored.
        clock_ns: the present moment in ns since 1970, for records without a time.

    Attributes:
        failures: records that went on without hooks because a hook raised or the record is no valid activity.
        ignored: fields that a hook changed although the record carried them already, or that had no room.
    """

    def __init__(self, hooks: Iterable[Hook], *, clock_ns: Callable[[], int] = time.time_ns) -> None:
        self._chain = HookChain(hooks)
        self._clock_ns = clock_ns
        self._lock = threading.Lock()
        self.failures = 0
        self.ignored = 0

    def on_emit(self, log_record: ReadWriteLogRecord) -> None:
        """Add what the hooks add. Raises nothing."""
        record = log_record.log_record
        attributes = record.attributes
        if not attributes or not any(key in attributes for key in _keys("record_id")):
            return
        try:
            given = _fields(attributes, record.timestamp or record.observed_timestamp or self._clock_ns())
            before = _attributes(_activity(given))
            # A record of its own for the hooks: they can change its dicts in place.
            after = _attributes(self._chain.before(_activity(given)))
        except (OtelAuditError, ValueError, TypeError, OverflowError) as error:
            with self._lock:
                self.failures += 1
            report("hooks", "error", "hooks not applied to a log record", error=str(error))
            return
        self._add(attributes, before, after)

    def _add(self, attributes: Any, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
        # At its limit an SDK's attribute dict drops the oldest to make room: then nothing is added.
        most = getattr(attributes, "maxlen", None)
        ignored = []
        for field in before.keys() | after.keys():
            new = after.get(field)
            if new == before.get(field):
                continue
            full = most is not None and len(attributes) >= most
            if full or new is None or any(key in attributes for key in _keys(field)):
                ignored.append(field)
            else:
                attributes[_BY_FIELD[field].key] = new
        if ignored:
            with self._lock:
                self.ignored += len(ignored)
            report(
                "hooks", "warning", "a hook's changes were left out: a processor may only add", fields=sorted(ignored)
            )

    def shutdown(self) -> None:
        """Nothing to let go of."""

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Nothing to wait for."""
        return True


def _keys(field: str) -> tuple[str, ...]:
    wire = _BY_FIELD[field]
    return (wire.key, *wire.aliases)


def _fields(attributes: Mapping[str, Any], time_ns: int) -> dict[str, Any]:
    """The attributes that have a field, by field."""
    given: dict[str, Any] = {"occurred_at": from_us(time_ns // 1000)}
    for wire in WIRE:
        for key in (wire.key, *wire.aliases):
            if key in attributes:
                value = attributes[key]
                if wire.kind == "json":
                    value = parse_json(value) if isinstance(value, str) else _plain(value)
                given[wire.column] = value
                break
    return given


def _activity(given: Mapping[str, Any]) -> ActivityRecord:
    """The record that a repo would have been handed. Raises InvalidRecordError."""
    fields = {name: value for name, value in given.items() if name in ActivityRecord.__slots__}
    entity_type, entity_id = given.get("entity_type"), given.get("entity_id")
    if entity_type is not None and entity_id is not None:
        fields["entity_ref"] = EntityRef(entity_type, entity_id)
    for name in ("record_id", "actor_id", "action"):
        fields.setdefault(name, None)
    return ActivityRecord(**fields)


def _attributes(record: ActivityRecord) -> dict[str, Any]:
    """The record's fields as attribute values, by archive column; those that are None are left out."""
    values = {name: getattr(record, name) for name in _BY_FIELD if name in ActivityRecord.__slots__}
    if record.entity_ref is not None:
        values["entity_type"], values["entity_id"] = record.entity_ref.entity_type, record.entity_ref.entity_id
    return {
        name: format_id(value) if _BY_FIELD[name].kind == "id" else value
        for name, value in values.items()
        if value is not None
    }


def _plain(value: Any) -> Any:
    """Lists and dicts in place of the SDK's read-only sequences and mappings."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
