"""What is known about the request in hand, set once at its edge and added to every record made within it.

The values live in a context variable, so they follow a task, `asyncio.to_thread` and `contextvars.copy_context()`, and
never leak into a request beside them. A plain `threading.Thread` starts without them, as context variables do.

A framework may run a part of a request in a worker thread, on a copy of the context: what is set there is lost to the
request. FastAPI does so with each synchronous dependency. `ActivityContextMiddleware` gives every request a place that
all copies share, by which what such a dependency enters reaches the rest of the request.
"""

from __future__ import annotations

import asyncio
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from operator import attrgetter
from types import MappingProxyType

from otel_audit.errors import InvalidRecordError
from otel_audit.model.ids import Id, IdLike, to_id
from otel_audit.model.record import TEXT_LIMITS, ActivityRecord
from otel_audit.model.text import checked_text

__all__ = ["AmbientContext", "activity_context", "current_actor", "shared_context"]


@dataclass(frozen=True, slots=True, eq=False)
class _Ambient:
    """The values of one `activity_context` and of those around it, `depth` of them."""

    values: Mapping[str, Id]
    depth: int


class _Shared:
    """What worker threads of one request have entered and not left, for the request's other threads and tasks."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entered: list[_Ambient] = []

    @property
    def innermost(self) -> _Ambient:
        with self._lock:
            return max(self._entered, key=_depth, default=_NOTHING)

    def enter(self, ambient: _Ambient) -> None:
        with self._lock:
            self._entered.append(ambient)

    def leave(self, ambient: _Ambient) -> None:
        with self._lock:
            self._entered.remove(ambient)


_depth = attrgetter("depth")
_NOTHING = _Ambient(MappingProxyType({}), 0)
# Python keeps context variables per module; an ambient is never changed in place.
_context: ContextVar[_Ambient] = ContextVar("otel_audit.activity_context", default=_NOTHING)
_shared: ContextVar[_Shared | None] = ContextVar("otel_audit.shared_activity_context", default=None)

_OF_THE_ACTOR = ("actor_name", "on_behalf_of")
_LOST = (
    "activity_context was left in another context than it was entered in, as in a synchronous dependency of FastAPI, "
    "so its values did not reach the request: add otel_audit.hooks.ActivityContextMiddleware to the application, or "
    "make the dependency async"
)


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
    around = _current()
    outer = around.values
    if "actor_id" in inner and inner["actor_id"] != outer.get("actor_id"):
        outer = {name: value for name, value in outer.items() if name not in _OF_THE_ACTOR}
    before, within = _context.get(), _Ambient(MappingProxyType({**outer, **inner}), around.depth + 1)
    _context.set(within)
    # On an event loop the context of the task is enough, and keeps tasks of one request apart.
    shared = None if _on_event_loop() else _shared.get()
    if shared is not None:
        shared.enter(within)
    try:
        yield
    finally:
        if shared is not None:
            shared.leave(within)
        # Not by the token of `set`, which means nothing in another copy of the context than it was entered in.
        if _context.get() is within:
            _context.set(before)
        elif shared is None:
            warnings.warn(_LOST, RuntimeWarning, stacklevel=3)


@contextmanager
def shared_context() -> Iterator[None]:
    """Within this, in whatever thread, what is entered in worker threads is seen by all: one request's edge."""
    token = _shared.set(_Shared())
    try:
        yield
    finally:
        _shared.reset(token)


def _on_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _current() -> _Ambient:
    """The innermost context: of this copy, or of a worker thread of the same request."""
    own, shared = _context.get(), _shared.get()
    return own if shared is None else max(own, shared.innermost, key=_depth)


def current_actor() -> Id:
    """The actor of the innermost `activity_context` that names one.

    Raises:
        InvalidRecordError: there is none.
    """
    actor = _current().values.get("actor_id")
    if actor is None:
        raise InvalidRecordError("actor_id", "no actor in the context; enter activity_context(actor_id=...) first")
    return actor


class AmbientContext:
    """Fills fields that a record leaves at None from the `activity_context` around it; what the record says wins.

    The actor's name and `on_behalf_of` are added only where the record's actor is the one of the context.
    """

    def before_append(self, record: ActivityRecord) -> ActivityRecord:
        """The record with what the context knows."""
        context = _current().values
        if not context:
            return record
        same_actor = context.get("actor_id") == record.actor_id
        missing = {
            name: value
            for name, value in context.items()
            if getattr(record, name) is None and (same_actor or name not in _OF_THE_ACTOR)
        }
        return record.replace(**missing) if missing else record
