"""A `Filter` as the query parameters of the routes under /v1/audit."""

from __future__ import annotations

from otel_audit.model.filters import Filter
from otel_audit.model.ids import format_id
from otel_audit.model.record_json import format_time

__all__ = ["Query", "filter_query"]

Query = list[tuple[str, str]]

_PLAIN = (
    "actor_id",
    "owner_id",
    "action",
    "entity_type",
    "outcome",
    "actor_type",
    "tenant_id",
    "request_id",
    "session_id",
    "on_behalf_of",
    "trace_id",
)


def filter_query(where: Filter) -> Query | None:
    """A filter as query parameters, or None when it contradicts itself in a way the parameters cannot say."""
    query = [(name, str(getattr(where, name))) for name in _PLAIN if getattr(where, name) is not None]
    if where.entity_ref is not None:
        if where.entity_type is None:
            query.append(("entity_type", where.entity_ref.entity_type))
        elif where.entity_type != where.entity_ref.entity_type:
            return None
        query.append(("entity_id", format_id(where.entity_ref.entity_id)))
    for name in ("since", "until"):
        moment = getattr(where, name)
        if moment is not None:
            query.append((name, format_time(moment)))
    return query
