"""The peer's table: what a team would make for the same records, with the narrowest fitting types.

Three indexes: the primary key, which is what refuses a repeated record, and one each for the history of an entity and
the feed of an owner. The archive also finds by actor, action and time, and keeps the whole Resource; this table does
not, so it is smaller and faster to fill than an equal one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from otel_audit import ActivityRecord

__all__ = ["COPY", "CREATE", "copy_rows"]

CREATE = """
create table activity (
    record_id uuid primary key,
    occurred_at timestamptz not null,
    trace_id bytea,
    span_id bytea,
    actor_type text not null,
    actor_id uuid not null,
    owner_id uuid,
    action text not null,
    outcome text not null,
    reason text,
    entity_type text,
    entity_id uuid,
    tenant_id text,
    metadata jsonb not null,
    client_address text,
    user_agent text,
    service_name text,
    recorded_at timestamptz not null default now()
);
create index on activity (entity_type, entity_id, occurred_at);
create index on activity (owner_id, occurred_at);
"""
COPY = (
    "copy activity (record_id, occurred_at, trace_id, span_id, actor_type, actor_id, owner_id, action, outcome, "
    "reason, entity_type, entity_id, tenant_id, metadata, client_address, user_agent, service_name) from stdin"
)


def copy_rows(records: Iterable[ActivityRecord]) -> Iterator[tuple[str, str]]:
    """Lines for COPY in two parts: what differs in every record (id, time, trace, span), and the rest."""
    for record in records:
        ref = record.entity_ref
        assert ref is not None
        own = f"{record.record_id}\t{record.occurred_at.isoformat()}\t\\\\x{record.trace_id}\t\\\\x{record.span_id}\t"
        rest = (
            record.actor_type,
            record.actor_id,
            record.owner_id,
            record.action,
            record.outcome,
            record.reason,
            ref.entity_type,
            ref.entity_id,
            record.tenant_id,
            json.dumps(record.metadata),
            record.client_address,
            record.user_agent,
            "task-service",
        )
        yield own, "\t".join(str(value) for value in rest) + "\n"
