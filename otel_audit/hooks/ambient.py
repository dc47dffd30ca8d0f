"""What is known about the request in hand, set once at its edge and added to every record made within it.

The values live in a context variable, so they follow a task, `asyncio.to_thread` and `contextvars.copy_context()`, and
never leak into a request beside them. A plain `threading.Thread` starts without them, as context variables do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType

from otel_audit.errors import InvalidRecordError
from otel_audit.model.ids import Id, IdLike, to_id
from otel_audit.model.record import TEXT_LIMITS, ActivityRecord
from otel_audit.model.text import checked_text

__all__ = ["AmbientContext", "activity_context", "current_actor"]

# Python keeps context variables per module; this one holds a read-only mapping and is never changed in place.
_context: ContextVar[Mapping[str, Id]] = ContextVar("otel_audit.activity_context", default=MappingProxyType({}))

_OF_THE_ACTOR = ("actor_name", "on_behalf_of")


@contextmanager
def activity_context(
    *,
    actor_id: IdLike | None = None,
    actor_name: str | None = None,
    on_behalf_of: IdLike | None = None,
    tenant_id: IdLike | None = None,
    client_address: str | None = None,
    user_agent: str | None = None,
    request_id: IdLike | None = None,
    session_id: IdLike | None = None,
) -> Iterator[None]:
    """Within this, the `AmbientContext` hook adds these values to records that lack them.

    Nesting merges; the inner value wins. An inner `actor_id` that differs leaves the outer actor's name and
    `on_behalf_of` behind. `current_actor()` gives the actor: `ActivityRecord.create(actor_id=current_actor(), ...)`.

    Raises:
        InvalidRecordError: a value that no record could hold.
    """
    given = {
        "actor_id": actor_id,
        "actor_name": actor_name,
        "on_behalf_of": on_behalf_of,
        "tenant_id": tenant_id,
        "client_address": client_address,
        "user_agent": user_agent,
        "request_id": request_id,
        "session_id": session_id,
    }
    inner: dict[str, Id] = {
        name: checked_text(value, name, TEXT_LIMITS[name]) if name in TEXT_LIMITS else to_id(value, name)
        for name, value in given.items()
        if value is not None
    }
    outer = _context.get()
    if "actor_id" in inner and inner["actor_id"] != outer.get("actor_id"):
        outer = {name: value for name, value in outer.items() if name not in _OF_THE_ACTOR}
    token = _context.set(MappingProxyType({**outer, **inner}))
    try:
        yield
    finally:
        _context.reset(token)


def current_actor() -> Id:
    """The actor of the innermost `activity_context` that names one.

    Raises:
        InvalidRecordError: there is none.
    """
    actor = _context.get().get("actor_id")
    if actor is None:
        raise InvalidRecordError("actor_id", "no actor in the context; enter activity_context(actor_id=...) first")
    return actor


class AmbientContext:
    """Fills fields that a record leaves at None from the `activity_context` around it; what the record says wins.

    The actor's name and `on_behalf_of` are added only where the record's actor is the one of the context.
    """

    def before_append(self, record: ActivityRecord) -> ActivityRecord:
        """The record with what the context knows."""
        context = _context.get()
        if not context:
            return record
        same_actor = context.get("actor_id") == record.actor_id
        missing = {
            name: value
            for name, value in context.items()
            if getattr(record, name) is None and (same_actor or name not in _OF_THE_ACTOR)
        }
        return record.replace(**missing) if missing else record
