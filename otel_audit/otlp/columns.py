"""The columns that decoding gives, in order, and which of them each wire name fills.

They are those of the archive but for the two that only the commit knows (`log_index`, `recorded_at`), and with the two
that de-duplication asks for. A test keeps this list equal to the archive's table.
"""

from __future__ import annotations

import pyarrow as pa

from otel_audit.otlp.names import WIRE

__all__ = ["DECODED", "ROW", "SLOT"]

_TYPES: dict[str, pa.DataType] = {
    "occurred_at": pa.timestamp("us", tz="UTC"),
    "time_unix_nano": pa.int64(),
    "observed_time_unix_nano": pa.int64(),
    "trace_flags": pa.int64(),
    "stream_number": pa.int64(),
    "severity_number": pa.int32(),
}
_NAMES = (
    "record_id",
    "occurred_at",
    "time_unix_nano",
    "observed_time_unix_nano",
    "actor_type",
    "actor_id",
    "actor_name",
    "on_behalf_of",
    "owner_id",
    "action",
    "outcome",
    "reason",
    "entity_type",
    "entity_id",
    "entity_name",
    "tenant_id",
    "metadata",
    "changes",
    "client_address",
    "user_agent",
    "session_id",
    "request_id",
    "trace_id",
    "span_id",
    "trace_flags",
    "event_name",
    "service_name",
    "service_version",
    "service_instance_id",
    "deployment_environment",
    "stream_id",
    "stream_number",
    "schema_version",
    "severity_number",
    "severity_text",
    "body",
    "attributes",
    "resource",
    "scope",
    "received_from",
)

ROW: pa.Schema = pa.schema([pa.field(name, _TYPES.get(name, pa.string())) for name in _NAMES])
"""What is read from a record, its Resource and its scope."""

DECODED: pa.Schema = ROW.append(pa.field("id_key", pa.binary(16))).append(pa.field("digest", pa.uint64()))
"""`ROW`, and with what the index of known ids works: 128 bits of the id, 64 of the content."""

SLOT: dict[str, int] = {name: at for at, name in enumerate(_NAMES)}
"""Place of each column of `ROW` in a row."""

assert all(wire.column in SLOT for wire in WIRE)
