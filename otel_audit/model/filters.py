"""What a read asks for: a filter, an order, a limit, each checked when it is built."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from typing import Any, Literal, Self

from otel_audit.errors import InvalidFilterError, InvalidRecordError
from otel_audit.model.ids import Id, IdLike, format_id, to_id
from otel_audit.model.record import ACTOR_TYPES, OUTCOMES, ActivityRecord, EntityRef, from_us, to_us
from otel_audit.model.text import checked_text

__all__ = [
    "COUNT_FIELDS",
    "MAX_PAGE",
    "CountField",
    "Filter",
    "LogPosition",
    "Order",
    "checked_choice",
    "checked_limit",
    "checked_order",
    "checked_record_id",
]

Order = Literal["asc", "desc"]
CountField = Literal["action", "actor_id", "actor_type", "owner_id", "entity_type", "entity_id", "outcome", "tenant_id"]
COUNT_FIELDS: tuple[str, ...] = (
    "action",
    "actor_id",
    "actor_type",
    "owner_id",
    "entity_type",
    "entity_id",
    "outcome",
    "tenant_id",
)
MAX_PAGE = 10_000
_MAX_TEXT_CHARS = 8192
"""Wider than a record's own limits: other producers' texts may be longer, and can be asked for."""

_IDS = ("actor_id", "owner_id", "tenant_id", "request_id", "session_id", "on_behalf_of")
_CHOICES = {"actor_type": ACTOR_TYPES, "outcome": OUTCOMES}
_TRACE_ID = re.compile("[0-9a-f]{32}")
_TEXTS = ("action", "entity_type", "outcome", "actor_type", "trace_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """All conditions hold together; a field left out does not matter.

    `since` and `until` are half open: `since <= occurred_at < until`; both aware. `outcome="unknown"` finds whatever is
    neither success nor failure, also in another producer's words.

    Raises:
        InvalidFilterError: a naive time, an empty text, `until` not after `since`, a word that no record can have.
    """

    actor_id: Id | None = None
    owner_id: Id | None = None
    action: str | None = None
    entity_ref: EntityRef | None = None
    entity_type: str | None = None
    outcome: str | None = None
    actor_type: str | None = None
    tenant_id: Id | None = None
    request_id: Id | None = None
    session_id: Id | None = None
    on_behalf_of: Id | None = None
    trace_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def __post_init__(self) -> None:
        for name in _IDS:
            value = getattr(self, name)
            if value is not None:
                try:
                    object.__setattr__(self, name, to_id(value, name))
                except InvalidRecordError as error:
                    raise InvalidFilterError(str(error)) from None
        for name in _TEXTS:
            value = getattr(self, name)
            if value is not None:
                try:
                    object.__setattr__(self, name, checked_text(value, name, _MAX_TEXT_CHARS))
                except InvalidRecordError as error:
                    raise InvalidFilterError(str(error)) from None
        for name, choices in _CHOICES.items():
            if getattr(self, name) is not None:
                checked_choice(name, getattr(self, name), choices)
        if self.trace_id is not None and not _TRACE_ID.fullmatch(self.trace_id):
            raise InvalidFilterError(f"trace_id: must be 32 lower-case hex digits, not {self.trace_id[:64]!r}")
        if self.entity_ref is not None and not isinstance(self.entity_ref, EntityRef):
            raise InvalidFilterError(f"entity_ref: must be an EntityRef, not {type(self.entity_ref).__name__}")
        for name in ("since", "until"):
            moment = getattr(self, name)
            if moment is None:
                continue
            if not isinstance(moment, datetime) or moment.utcoffset() is None:
                raise InvalidFilterError(f"{name}: must be an aware datetime")
            try:
                object.__setattr__(self, name, moment.astimezone(UTC))
            except OverflowError:
                raise InvalidFilterError(f"{name}: must lie in the years 1 to 9999 of UTC") from None
        if self.since is not None and self.until is not None and self.until <= self.since:
            raise InvalidFilterError("until: must lie after since (the range is half open)")

    def matches(self, record: ActivityRecord) -> bool:
        """Whether a record meets every condition; the rule that the SQL must agree with."""
        for name in (*_IDS, "action", "actor_type", "trace_id"):
            wanted = getattr(self, name)
            if wanted is not None and getattr(record, name) != wanted:
                return False
        if self.outcome is not None and self.outcome != (record.outcome if record.outcome in OUTCOMES else "unknown"):
            return False
        if self.entity_ref is not None and record.entity_ref != self.entity_ref:
            return False
        if self.entity_type is not None and (
            record.entity_ref is None or record.entity_ref.entity_type != self.entity_type
        ):
            return False
        if self.since is not None and record.occurred_at < self.since:
            return False
        return self.until is None or record.occurred_at < self.until

    def narrowed(self, **conditions: Any) -> Self:
        """A copy with some conditions set."""
        return replace(self, **conditions)

    def to_json(self) -> dict[str, Any]:
        """The conditions that are set, as JSON values; `from_json` is the inverse."""
        result: dict[str, Any] = {}
        for f in fields(self):
            value = getattr(self, f.name)
            if value is None:
                continue
            if isinstance(value, EntityRef):
                value = [value.entity_type, format_id(value.entity_id)]
            elif isinstance(value, datetime):
                value = to_us(value)
            elif f.name in _IDS:
                value = format_id(value)
            result[f.name] = value
        return result

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Raises InvalidFilterError for anything that `to_json` does not give."""
        try:
            known = dict(values)
            if "entity_ref" in known:
                entity_type, entity_id = known["entity_ref"]
                known["entity_ref"] = EntityRef(entity_type, entity_id)
            for name in ("since", "until"):
                if name in known:
                    if type(known[name]) is not int:
                        raise ValueError(f"{name}: must be whole microseconds since 1970")
                    known[name] = from_us(known[name])
            return cls(**known)
        except (TypeError, ValueError, OverflowError, InvalidRecordError) as error:
            raise InvalidFilterError(f"not a filter: {error}") from None


@dataclass(frozen=True, slots=True, order=True)
class LogPosition:
    """A place in a log: the record with this index, or just before the first one for index -1.

    `log` is empty for "the one log there is, from its beginning".
    """

    log: str = ""
    log_index: int = -1


def checked_limit(limit: int | None, most: int | None = None) -> int | None:
    """Raises InvalidFilterError unless `limit` is None or an integer from 1 (to `most`)."""
    if limit is None:
        return None
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1 or (most is not None and limit > most):
        raise InvalidFilterError(f"limit: must be a whole number from 1{f' to {most}' if most else ''}, not {limit!r}")
    return limit


def checked_choice(name: str, value: str, choices: tuple[str, ...]) -> str:
    """Raises InvalidFilterError unless `value` is one of the choices."""
    if value in choices:
        return value
    close = difflib.get_close_matches(value, choices, n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    raise InvalidFilterError(f"{name}: must be one of {', '.join(choices)}, not {value[:64]!r}{hint}")


def checked_order(order: str) -> Order:
    """Raises InvalidFilterError unless `order` is "asc" or "desc"."""
    if order == "asc":
        return "asc"
    if order == "desc":
        return "desc"
    raise InvalidFilterError(f'order: must be "asc" or "desc", not {order!r}')


def entity_filter(entity_type: str, entity_id: IdLike) -> EntityRef:
    """The entity to filter by; raises InvalidFilterError where EntityRef would blame a record."""
    try:
        return EntityRef(entity_type, entity_id)
    except InvalidRecordError as error:
        raise InvalidFilterError(str(error)) from None


def checked_record_id(record_id: IdLike) -> Id:
    """The id to look up; raises InvalidFilterError where `to_id` would blame a record."""
    try:
        return to_id(record_id, "record_id")
    except InvalidRecordError as error:
        raise InvalidFilterError(str(error)) from None
