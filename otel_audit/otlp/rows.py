"""Rows of the archive back into OTLP: what was sent, up to the order of attributes and of keys in maps."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ScopeLogs

from otel_audit.errors import ArchiveFaultError
from otel_audit.model.ids import canonical_id
from otel_audit.otlp.context import parse_resource, parse_scope
from otel_audit.otlp.frame import length_delimited
from otel_audit.otlp.names import RAW_PREFIX, WIRE, WireName
from otel_audit.otlp.values import any_value, parse_typed
from otel_audit.otlp.walk import RAW_DROPPED, RAW_OBSERVED, RAW_SPAN_ID, RAW_TIME, RAW_TRACE_ID

__all__ = ["REQUEST_COLUMNS", "row_to_log_record", "rows_to_request", "rows_to_single_requests"]

REQUEST_COLUMNS = [
    *(wire.column for wire in WIRE),
    *("time_unix_nano", "observed_time_unix_nano", "trace_id", "span_id", "trace_flags", "event_name"),
    *("severity_number", "severity_text", "body", "attributes", "resource", "scope"),
]
"""What a record is made of again; the other columns follow from these, or are the collector's own."""


def row_to_log_record(row: Mapping[str, Any]) -> LogRecord:
    """The LogRecord that became a row.

    Args:
        row: archive column names to Python values; times in ns as integers.

    Raises:
        ArchiveFaultError: a column holds what decoding never writes.
    """
    try:
        return _log_record(row)
    except (TypeError, ValueError, KeyError, AttributeError, RecursionError) as error:
        raise ArchiveFaultError(f"the row of record {row.get('record_id')!r} is damaged: {error}") from None


def _log_record(row: Mapping[str, Any]) -> LogRecord:
    record = LogRecord(
        time_unix_nano=row["time_unix_nano"],
        observed_time_unix_nano=row["observed_time_unix_nano"],
        trace_id=bytes.fromhex(row["trace_id"] or ""),
        span_id=bytes.fromhex(row["span_id"] or ""),
        flags=row["trace_flags"] or 0,
        event_name=row["event_name"] or "",
        severity_number=row["severity_number"] or 0,  # type: ignore[arg-type]
        severity_text=row["severity_text"] or "",
    )
    if row["body"] is not None:
        record.body.CopyFrom(parse_typed(json.loads(row["body"])))
    kept: dict[str, Any] = json.loads(row["attributes"] or "{}")
    for wire in WIRE:
        value = row[wire.column]
        if value is not None and not _is_kept(wire, value, kept):
            record.attributes.append(KeyValue(key=wire.key, value=_promoted(wire, value)))
    for key, typed in kept.items():
        if key.startswith(RAW_PREFIX):
            _put_raw(record, key, typed)
        else:
            record.attributes.append(KeyValue(key=key, value=None if typed is None else parse_typed(typed)))
    return record


def _is_kept(wire: WireName, value: Any, kept: dict[str, Any]) -> bool:
    """Whether the attribute that filled a column is among the typed originals, under its own name or an older one."""
    if wire.key in kept:
        return True
    texts = [(kept.get(alias) or {}) for alias in wire.aliases]
    return any(value in (canonical_id(typed.get("stringValue", "")), typed.get("intValue")) for typed in texts)


def _promoted(wire: WireName, value: Any) -> AnyValue:
    if wire.kind == "json":
        return any_value(json.loads(value))
    return AnyValue(int_value=value) if wire.kind == "int" else AnyValue(string_value=value)


def _put_raw(record: LogRecord, key: str, typed: Any) -> None:
    # Unsigned 64-bit integers, which no AnyValue holds: they are read here, not by parse_typed.
    if key == RAW_TIME:
        record.time_unix_nano = int(typed["intValue"])
    elif key == RAW_OBSERVED:
        record.observed_time_unix_nano = int(typed["intValue"])
    elif key == RAW_DROPPED:
        record.dropped_attributes_count = int(typed["intValue"])
    elif key == RAW_TRACE_ID:
        record.trace_id = parse_typed(typed).bytes_value
    elif key == RAW_SPAN_ID:
        record.span_id = parse_typed(typed).bytes_value
    else:
        raise ArchiveFaultError(f"no such field of a record: {key}")


def rows_to_request(table: pa.Table) -> bytes:
    """A serialized ExportLogsServiceRequest with the records of archive rows, in order.

    A Resource and scope stand once for each run of rows that share them.

    Raises:
        ArchiveFaultError: a column holds what decoding never writes.
    """
    parts: list[bytes] = []
    run: list[bytes] = []
    shared: tuple[str | None, str | None] = (None, None)
    for batch in table.select(REQUEST_COLUMNS).to_batches(max_chunksize=8_192):
        for row in batch.to_pylist():
            context = (row["resource"], row["scope"])
            if context != shared and run:
                parts.append(_resource_logs(shared, run))
                run = []
            shared = context
            run.append(length_delimited(2, row_to_log_record(row).SerializeToString()))
    if run:
        parts.append(_resource_logs(shared, run))
    return b"".join(parts)


def rows_to_single_requests(table: pa.Table) -> Iterator[bytes]:
    """A serialized ExportLogsServiceRequest for each row, with its record alone.

    Raises:
        ArchiveFaultError: a column holds what decoding never writes.
    """
    shared: _Context | None = None
    for batch in table.select(REQUEST_COLUMNS).to_batches(max_chunksize=1_024):
        for row in batch.to_pylist():
            if shared is None or shared.columns != (row["resource"], row["scope"]):
                shared = _Context((row["resource"], row["scope"]))
            yield shared.around([length_delimited(2, row_to_log_record(row).SerializeToString())])


def _resource_logs(columns: tuple[str | None, str | None], records: list[bytes]) -> bytes:
    return _Context(columns).around(records)


class _Context:
    """A Resource and scope, serialized once. Joined by hand with records, because upb does not write messages as deeply
    nested as a record may be within a request."""

    def __init__(self, columns: tuple[str | None, str | None]) -> None:
        self.columns = columns
        resource, resource_schema_url = parse_resource(columns[0])
        scope, scope_schema_url = parse_scope(columns[1])
        self._scope = ScopeLogs(scope=scope, schema_url=scope_schema_url).SerializeToString()
        self._before = b"" if resource is None else length_delimited(1, resource.SerializeToString())
        self._after = length_delimited(3, resource_schema_url.encode()) if resource_schema_url else b""

    def around(self, records: list[bytes]) -> bytes:
        """One ResourceLogs of a request."""
        content = length_delimited(2, b"".join([self._scope, *records]))
        return length_delimited(1, self._before + content + self._after)
