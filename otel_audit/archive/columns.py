"""The one table of archive columns: it drives the Parquet schema, the SQL, the reference page and the tests.

A column keeps its `field_id` for ever; a new one gets the next number and older files give null for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal

import pyarrow as pa

__all__ = [
    "ACTIVITY",
    "COLUMNS",
    "NOTE_QUARANTINED",
    "NOTE_REPEAT",
    "NOTE_SETTLED",
    "QUARANTINE",
    "QUARANTINE_COLUMNS",
    "STREAMS",
    "STREAM_COLUMNS",
    "Column",
    "conformed",
    "parquet_schema",
]

ColumnType = Literal["i64", "i32", "str", "ts", "bytes"]
_ARROW: dict[ColumnType, pa.DataType] = {
    "i64": pa.int64(),
    "i32": pa.int32(),
    "str": pa.string(),
    "ts": pa.timestamp("us", tz="UTC"),
    "bytes": pa.binary(),
}
_SQL: dict[ColumnType, str] = {
    "i64": "BIGINT",
    "i32": "INTEGER",
    "str": "VARCHAR",
    "ts": "TIMESTAMPTZ",
    "bytes": "BLOB",
}


@dataclass(frozen=True, slots=True)
class Column:
    """One column. `bloom`: sealed files carry a Bloom filter for it (strings only). `delta`: DELTA_BYTE_ARRAY."""

    field_id: int
    name: str
    type: ColumnType
    doc: str
    bloom: bool = False
    delta: bool = False

    @property
    def arrow(self) -> pa.Field:
        """The Arrow field, carrying the Parquet field id."""
        return pa.field(self.name, _ARROW[self.type], metadata={"PARQUET:field_id": str(self.field_id)})

    @property
    def sql(self) -> str:
        """DuckDB's name of the type."""
        return _SQL[self.type]


COLUMNS: tuple[Column, ...] = (
    Column(1, "log_index", "i64", "Place in the log, from 0, without holes."),
    Column(2, "record_id", "str", "The producer's id of the record; unique.", bloom=True, delta=True),
    Column(3, "occurred_at", "ts", "When it happened: `time_unix_nano`, else observed time, else arrival."),
    Column(4, "time_unix_nano", "i64", "The time as sent, in ns since 1970; 0 when the sender gave none."),
    Column(5, "observed_time_unix_nano", "i64", "The observed (emission) time as sent, in ns; 0 when none."),
    Column(6, "recorded_at", "ts", "When it was committed, by the collector's clock."),
    Column(7, "actor_type", "str", "`user`, `service` or `system`; null when not sent (readers say `user`)."),
    Column(8, "actor_id", "str", "Who did it.", bloom=True),
    Column(9, "actor_name", "str", "The actor's name at that time."),
    Column(10, "on_behalf_of", "str", "For whom the actor acted."),
    Column(11, "owner_id", "str", "Whose data it is.", bloom=True),
    Column(12, "action", "str", "The application's verb."),
    Column(13, "outcome", "str", "`success`, `failure` or `unknown`; null when not sent (readers say `unknown`)."),
    Column(14, "reason", "str", "Why, for a failure or a decision."),
    Column(15, "entity_type", "str", "Type of the thing acted upon."),
    Column(16, "entity_id", "str", "Id of the thing acted upon.", bloom=True),
    Column(17, "entity_name", "str", "The thing's name at that time."),
    Column(18, "tenant_id", "str", "Tenant."),
    Column(19, "metadata", "str", "Canonical JSON object; null when not sent (readers say `{}`)."),
    Column(20, "changes", "str", "Canonical JSON object: {field: [old, new]}."),
    Column(21, "client_address", "str", "Address the request came from."),
    Column(22, "user_agent", "str", "User agent of the request."),
    Column(23, "session_id", "str", "Session."),
    Column(24, "request_id", "str", "Request."),
    Column(25, "trace_id", "str", "Trace, 32 hex digits."),
    Column(26, "span_id", "str", "Span, 16 hex digits."),
    Column(27, "trace_flags", "i64", "Trace flags; null when 0."),
    Column(28, "event_name", "str", "OTLP event name."),
    Column(29, "service_name", "str", "`service.name` of the resource."),
    Column(30, "service_version", "str", "`service.version` of the resource."),
    Column(31, "service_instance_id", "str", "`service.instance.id` of the resource."),
    Column(32, "deployment_environment", "str", "`deployment.environment.name` of the resource."),
    Column(33, "stream_id", "str", "The producer's stream."),
    Column(34, "stream_number", "i64", "Number within the stream: 1, 2, 3 …"),
    Column(35, "schema_version", "str", "Version of the payload's schema."),
    Column(36, "severity_number", "i32", "OTLP severity; null when 0."),
    Column(37, "severity_text", "str", "OTLP severity text."),
    Column(38, "body", "str", "OTLP body, typed JSON."),
    Column(39, "attributes", "str", "What no column holds exactly: {key: OTLP/JSON value}."),
    Column(40, "resource", "str", "The whole resource, typed JSON."),
    Column(41, "scope", "str", "The whole scope, typed JSON."),
    Column(42, "received_from", "str", "Authenticated name of the peer, else its address."),
)

QUARANTINE_COLUMNS: tuple[Column, ...] = (
    Column(1, "log_index", "i64", "Place in the quarantine log, from 0, without holes."),
    Column(2, "record_id", "str", "SHA-256 of `request`, hex.", bloom=True),
    Column(6, "recorded_at", "ts", "When it was committed, by the collector's clock."),
    Column(29, "service_name", "str", "`service.name` of the record's Resource, where it can be read."),
    Column(42, "received_from", "str", "Authenticated name of the peer, else its address."),
    Column(50, "decision", "str", "`held`, or what was decided later about a held one: `released`, `dropped`."),
    Column(51, "reason", "str", "Why the record is no valid activity, or who decided what."),
    Column(52, "request", "bytes", "An OTLP ExportLogsServiceRequest with this one record; null on a decision."),
    Column(53, "request_bytes", "i64", "How long `request` is; null on a decision, and in files of earlier releases."),
)

NOTE_REPEAT, NOTE_QUARANTINED = "repeat", "quarantined"
"""What a row of the streams log notes of records."""
NOTE_SETTLED = "settled"
"""An operator's decision about a stream; any other `kind` is the state of a marker."""

STREAM_COLUMNS: tuple[Column, ...] = (
    Column(1, "log_index", "i64", "Place in the streams log, from 0, without holes."),
    Column(6, "recorded_at", "ts", "When it was committed, by the collector's clock."),
    Column(29, "service_name", "str", "`service.name` of the resource."),
    Column(31, "service_instance_id", "str", "`service.instance.id` of the resource."),
    Column(33, "stream_id", "str", "The producer's stream; null for records outside any.", bloom=True),
    Column(42, "received_from", "str", "Authenticated name of the peer, else its address."),
    Column(
        60,
        "kind",
        "str",
        "`repeat`: records dropped because the log has them; `quarantined`: records that went there; "
        "the state a producer told: `open`, `closed`, `recovered`; or `settled`: an operator's decision.",
    ),
    Column(
        61,
        "first_number",
        "i64",
        "First number of an unbroken run; null without numbers, and for a state; for a decision, the lowest of the "
        "implausible numbers that it disregards, or null.",
    ),
    Column(
        62,
        "last_number",
        "i64",
        "Last number of the run; for a state, the highest number given so far; for a decision, how far it goes.",
    ),
    Column(63, "records", "i64", "How many records the row stands for; 0 for a state or a decision."),
    Column(64, "settled_reason", "str", "Why an operator settled the stream; null on other rows."),
)


@cache
def parquet_schema(columns: tuple[Column, ...]) -> pa.Schema:
    """The Arrow schema of a table of columns, field ids included."""
    return pa.schema([column.arrow for column in columns])


def conformed(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Rows of a file of any release in these columns: null in those that it has not got."""
    lacking = [field for field in schema if field.name not in table.column_names]
    for field in lacking:
        table = table.append_column(field, pa.nulls(table.num_rows, field.type))
    return table.select(schema.names).cast(schema)


ACTIVITY: pa.Schema = parquet_schema(COLUMNS)
QUARANTINE: pa.Schema = parquet_schema(QUARANTINE_COLUMNS)
STREAMS: pa.Schema = parquet_schema(STREAM_COLUMNS)
