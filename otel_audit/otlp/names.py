"""The one table of wire names: which OTLP attribute carries which field.

Names follow the draft OpenTelemetry audit data model where it has one, semantic conventions where they have one, and
the prefix `otel_audit.` for the rest. Nothing of ours is invented under `audit.`. The newest name is written; aliases
of older drafts are accepted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

__all__ = [
    "AUDIT_PREFIX",
    "BY_KEY",
    "LOG_HEADER",
    "RAW_PREFIX",
    "ROWS_HEADER",
    "SCHEMA_VERSION",
    "SCOPE_NAME",
    "SEQUENCE_END",
    "SEVERITY_INFO",
    "STREAM_EVENT",
    "STREAM_LAST_NUMBER",
    "STREAM_STATE",
    "STREAM_STATES",
    "WIRE",
    "StreamState",
    "WireName",
]

SCHEMA_VERSION = "1"
SCOPE_NAME = "otel_audit"
SEVERITY_INFO = 9
LOG_HEADER = "otel-audit-log"
"""On every HTTP answer of our collector, with the log's name: how a client tells it from another OTLP peer."""
ROWS_HEADER = "otel-audit-rows"
"""On a success of our collector: what became of each record of the request (`row_runs`)."""
AUDIT_PREFIX = "audit."
"""A record with no attribute under this prefix is no activity, and is only counted."""
RAW_PREFIX = "otel_audit.raw."
"""Reserved: where the archive keeps a LogRecord field that its column cannot hold. Refused from senders."""

STREAM_EVENT = "otel_audit.stream"
"""The event name of a marker, by which a producer tells about its stream (`markers`)."""
STREAM_STATE = "otel_audit.stream.state"
STREAM_LAST_NUMBER = "otel_audit.stream.last_number"
SEQUENCE_END = "audit.sequence.end"
StreamState = Literal["open", "closed", "recovered"]
STREAM_STATES: tuple[StreamState, ...] = get_args(StreamState)
"""Still written to; ended cleanly; its process died, and another one delivered what it had left."""

Kind = Literal["id", "text", "json", "int"]


@dataclass(frozen=True, slots=True)
class WireName:
    """One promoted attribute.

    Attributes:
        column: the archive column, named like the record's field (`entity_type`/`entity_id` make up `entity_ref`).
        key: the attribute written.
        kind: "id" takes a string, or an int as decimal text; "text" a string; "json" a map, or its JSON as a string;
            "int" an int.
        required: without it a record goes to quarantine.
        content: part of what makes two records with one id the same or a conflict. What a hop may add by itself (an
            OpenTelemetry Collector's processor: the client's address, its agent, its session) is not.
        aliases: older names that are accepted.
    """

    column: str
    key: str
    kind: Kind
    required: bool = False
    content: bool = True
    aliases: tuple[str, ...] = ()


WIRE: tuple[WireName, ...] = (
    WireName("record_id", "audit.record.id", "id", required=True, aliases=("log.record.uid",)),
    WireName("actor_id", "audit.actor.id", "id", required=True),
    WireName("action", "audit.action", "text", required=True),
    WireName("actor_type", "audit.actor.type", "text"),
    WireName("actor_name", "otel_audit.actor.name", "text"),
    WireName("on_behalf_of", "otel_audit.on_behalf_of", "id"),
    WireName("owner_id", "otel_audit.owner.id", "id"),
    WireName("entity_type", "audit.target.type", "text"),
    WireName("entity_id", "audit.target.id", "id"),
    WireName("entity_name", "otel_audit.target.name", "text"),
    WireName("outcome", "audit.outcome", "text"),
    WireName("reason", "otel_audit.reason", "text"),
    WireName("metadata", "otel_audit.metadata", "json"),
    WireName("changes", "otel_audit.changes", "json"),
    WireName("tenant_id", "otel_audit.tenant.id", "id"),
    WireName("client_address", "client.address", "text", content=False),
    WireName("user_agent", "user_agent.original", "text", content=False),
    WireName("session_id", "session.id", "id", content=False),
    WireName("request_id", "otel_audit.request.id", "id"),
    WireName("schema_version", "audit.schema.version", "text", content=False),
    WireName("stream_id", "audit.sequence.stream_id", "text", content=False),
    WireName("stream_number", "audit.sequence.number", "int", content=False),
)

BY_KEY: dict[str, WireName] = {wire.key: wire for wire in WIRE} | {
    alias: wire for wire in WIRE for alias in wire.aliases
}
