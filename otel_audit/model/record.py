"""`ActivityRecord`: who did what to whose thing, when, and with which outcome."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import MISSING, dataclass, field, fields
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, Self
from uuid import UUID

from otel_audit.errors import InvalidRecordError
from otel_audit.model.ids import Id, IdLike, new_record_id, to_id
from otel_audit.model.json_values import copy_object
from otel_audit.model.text import checked_text

__all__ = [
    "ACTOR_TYPES",
    "OUTCOMES",
    "TEXT_LIMITS",
    "ActivityRecord",
    "ActorType",
    "EntityRef",
    "Outcome",
    "from_us",
    "to_us",
]

ActorType = Literal["user", "service", "system"]
Outcome = Literal["success", "failure", "unknown"]
ACTOR_TYPES: tuple[str, ...] = ("user", "service", "system")
OUTCOMES: tuple[str, ...] = ("success", "failure", "unknown")

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LATEST = datetime(2262, 1, 1, tzinfo=UTC)
"""`time_unix_nano` is kept in 64 signed bits, which end in April 2262."""
_MICROSECOND = timedelta(microseconds=1)

TEXT_LIMITS = {
    "action": 256,
    "actor_name": 1024,
    "entity_name": 1024,
    "reason": 8192,
    "client_address": 512,
    "user_agent": 4096,
}


def to_us(moment: datetime) -> int:
    """Whole microseconds since 1970 of an aware datetime (floats would lose the last digits)."""
    return (moment - EPOCH) // _MICROSECOND


def from_us(us: int) -> datetime:
    """The UTC datetime of microseconds since 1970; the inverse of `to_us`."""
    return EPOCH + timedelta(microseconds=us)


@dataclass(frozen=True, slots=True)
class EntityRef:
    """The thing acted upon: its type as the application calls it, and its id within that type."""

    entity_type: str
    entity_id: Id

    def __init__(self, entity_type: str, entity_id: IdLike) -> None:
        object.__setattr__(self, "entity_type", checked_text(entity_type, "entity_ref.entity_type", 256))
        object.__setattr__(self, "entity_id", to_id(entity_id, "entity_ref.entity_id"))


@dataclass(frozen=True, slots=True, kw_only=True, eq=True)
class ActivityRecord:
    """One activity. Immutable, checked when built, hashable by `record_id`.

    `create()` is the usual way in. The constructor asks for every required field and accepts a record without owner or
    entity, because records of other producers may lack them.

    Raises:
        InvalidRecordError: naming the field and the rule it breaks.
    """

    record_id: Id
    occurred_at: datetime
    actor_id: Id
    action: str
    owner_id: Id | None = None
    entity_ref: EntityRef | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    actor_type: str = "user"
    outcome: str = "success"
    actor_name: str | None = None
    entity_name: str | None = None
    on_behalf_of: Id | None = None
    reason: str | None = None
    changes: dict[str, list[Any]] | None = None
    tenant_id: Id | None = None
    client_address: str | None = None
    user_agent: str | None = None
    session_id: Id | None = None
    request_id: Id | None = None
    trace_id: str | None = None
    span_id: str | None = None
    trace_flags: int | None = None

    def __post_init__(self) -> None:
        for name, check in _CHECKS.items():
            value = getattr(self, name)
            if value is None and name in _OPTIONAL:
                continue
            checked = check(value)
            if checked is not value:
                object.__setattr__(self, name, checked)

    @classmethod
    def create(
        cls,
        *,
        actor_id: IdLike,
        owner_id: IdLike,
        action: str,
        entity_ref: EntityRef,
        metadata: dict[str, Any] | None = None,
        record_id: IdLike | None = None,
        occurred_at: datetime | None = None,
        **optional: Any,
    ) -> Self:
        """A new record: a fresh UUIDv7 and the present moment, unless given.

        Args:
            actor_id: who did it.
            owner_id: whose data it is.
            action: the application's own verb; kept as it is.
            entity_ref: the thing acted upon.
            metadata: JSON values; copied, and given back exactly.
            record_id: an id of the application's own; the same id with the same content is stored once.
            occurred_at: aware; default now.
            **optional: any other field of the class.
        """
        if owner_id is None:
            raise InvalidRecordError("owner_id", "must be given; use the actor's id for the actor's own data")
        if entity_ref is None:
            raise InvalidRecordError("entity_ref", "must be given")
        optional["record_id"] = new_record_id() if record_id is None else record_id
        optional["occurred_at"] = datetime.now(UTC) if occurred_at is None else occurred_at
        optional["actor_id"] = actor_id
        optional["owner_id"] = owner_id
        optional["action"] = action
        optional["entity_ref"] = entity_ref
        if metadata is not None:
            optional["metadata"] = metadata
        record = cls._blank()
        record._put_checked(optional)
        return record

    @classmethod
    def from_archive(cls, values: dict[str, Any]) -> Self:
        """A record from checked storage, without checking it again: a collector may have accepted what `create` would
        refuse (another producer's actor type, a long name), and a read must give it back all the same."""
        record = object.__new__(cls)
        for name, put in _PUT.items():
            value = values.get(name)
            if value is None:
                value = {} if name == "metadata" else _WHEN_UNKNOWN.get(name)
            put(record, value)
        return record

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed and checked (for hooks); it shares no dict with this one."""
        copy = object.__new__(type(self))
        for name, put in _PUT.items():
            put(copy, getattr(self, name))
        # What was checked once is immutable, but for the two fields that are dicts.
        copy._put_checked({"metadata": self.metadata, "changes": self.changes} | changes)
        return copy

    @classmethod
    def _blank(cls) -> Self:
        """A record with nothing but defaults in it: half the cost of the constructor, which sets fields twice."""
        record = object.__new__(cls)
        for put, default in _BLANK:
            put(record, default)
        _PUT["metadata"](record, {})
        return record

    def _put_checked(self, values: dict[str, Any]) -> None:
        """Set fields of a record that nobody has seen yet."""
        for name, value in values.items():
            put = _PUT.get(name)
            if put is None:
                raise TypeError(f"{name}: no such field of an ActivityRecord")
            put(self, None if value is None and name in _OPTIONAL else _CHECKS[name](value))

    @property
    def order_key(self) -> tuple[int, str]:
        """What records are ordered by: microseconds of `occurred_at`, then the id's text."""
        return to_us(self.occurred_at), str(self.record_id)

    def __hash__(self) -> int:
        return hash(self.record_id)


def _checked_time(moment: object) -> datetime:
    if type(moment) is datetime and moment.tzinfo is UTC and EPOCH < moment < LATEST:
        return moment
    if not isinstance(moment, datetime):
        raise InvalidRecordError("occurred_at", f"must be a datetime, not {type(moment).__name__}")
    if moment.tzinfo is None or moment.utcoffset() is None:
        raise InvalidRecordError("occurred_at", "must be aware; use datetime.now(timezone.utc)")
    try:
        in_utc = moment.astimezone(UTC)
    except OverflowError:
        raise InvalidRecordError("occurred_at", "must lie between 1970 and 2262") from None
    if not EPOCH < in_utc < LATEST:
        raise InvalidRecordError("occurred_at", "must lie between 1970 and 2262")
    return in_utc


def _checked_changes(changes: object) -> dict[str, list[Any]]:
    copied = copy_object(changes, "changes")
    for name, pair in copied.items():
        if not isinstance(pair, list) or len(pair) != 2:
            raise InvalidRecordError(f"changes.{name}", "must be a list of two: [old, new]")
    return copied


def _choice(field_name: str, choices: tuple[str, ...]) -> Callable[[Any], str]:
    def check(value: object) -> str:
        if value not in choices:
            raise InvalidRecordError(field_name, f"must be one of {', '.join(choices)}")
        return choices[choices.index(value)]

    return check


def _hex(field_name: str, digits: int) -> Callable[[Any], str]:
    pattern = re.compile(rf"(?!0{{{digits}}})[0-9a-f]{{{digits}}}")

    def check(value: object) -> str:
        if not (isinstance(value, str) and pattern.fullmatch(value)):
            raise InvalidRecordError(field_name, f"must be {digits} lower-case hex digits, not all zero")
        return value

    return check


def _checked_entity(value: object) -> EntityRef:
    if not isinstance(value, EntityRef):
        raise InvalidRecordError("entity_ref", f"must be an EntityRef, not {type(value).__name__}")
    return value


def _checked_flags(value: object) -> int | None:
    """0 is what OTLP sends for none, and so none comes back."""
    if type(value) is not int or not 0 <= value < 2**32:
        raise InvalidRecordError("trace_flags", "must be an integer of 32 bits")
    return value or None


def _id(name: str) -> Callable[[Any], Id]:
    return lambda value: value if type(value) is UUID else to_id(value, name)


def _text(name: str) -> Callable[[Any], str]:
    limit = TEXT_LIMITS[name]
    return lambda value: checked_text(value, name, limit)


# One check a field: each takes a value that is not None (or a required one) and gives back what the record holds.
_CHECKS: dict[str, Callable[[Any], Any]] = {
    "record_id": _id("record_id"),
    "occurred_at": _checked_time,
    "actor_id": _id("actor_id"),
    "action": _text("action"),
    "owner_id": _id("owner_id"),
    "entity_ref": _checked_entity,
    "metadata": lambda value: copy_object(value, "metadata"),
    "actor_type": _choice("actor_type", ACTOR_TYPES),
    "outcome": _choice("outcome", OUTCOMES),
    "actor_name": _text("actor_name"),
    "entity_name": _text("entity_name"),
    "on_behalf_of": _id("on_behalf_of"),
    "reason": _text("reason"),
    "changes": _checked_changes,
    "tenant_id": _id("tenant_id"),
    "client_address": _text("client_address"),
    "user_agent": _text("user_agent"),
    "session_id": _id("session_id"),
    "request_id": _id("request_id"),
    "trace_id": _hex("trace_id", 32),
    "span_id": _hex("span_id", 16),
    "trace_flags": _checked_flags,
}
_OPTIONAL = frozenset(f.name for f in fields(ActivityRecord) if f.default is None)
# The slots' own setters: they pass by the frozen class's refusal, at half the cost of object.__setattr__.
_PUT: dict[str, Callable[[ActivityRecord, Any], None]] = {
    name: getattr(ActivityRecord, name).__set__ for name in _CHECKS
}
_BLANK = tuple((_PUT[f.name], f.default) for f in fields(ActivityRecord) if f.default is not MISSING)
_WHEN_UNKNOWN = {"actor_type": "user", "outcome": "unknown"}
