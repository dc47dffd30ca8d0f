"""The parameters of the HTTP routes: one table that parses requests and fills the OpenAPI document.

Parsing is strict, because a filter that is silently left out answers with other people's records: an unknown name, a
name given twice, a value that is not UTF-8 and an empty value are errors.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import Request

from otel_audit.errors import InvalidFilterError, InvalidRecordError
from otel_audit.model.filters import COUNT_FIELDS, MAX_PAGE, Filter, entity_filter
from otel_audit.model.held_filter import HeldFilter
from otel_audit.model.ids import MAX_ID_CHARS
from otel_audit.model.record import ACTOR_TYPES, OUTCOMES
from otel_audit.model.record_json import parse_time
from otel_audit.web.examples import FIRST, HELD_CURSOR, HELD_SHA256, NEXT_CURSOR, SECOND, STREAM

__all__ = [
    "DEFAULT_HELD",
    "DEFAULT_LIMIT",
    "DEFAULT_STREAMS",
    "DEFAULT_VALUES",
    "FILTERS",
    "MAX_HELD",
    "MAX_STREAMS",
    "MAX_VALUES",
    "Parameter",
    "documented",
    "parse_flag",
    "parse_limit",
    "read_filter",
    "read_held_filter",
    "read_query",
    "read_stream_ids",
]

DEFAULT_LIMIT = 100
DEFAULT_VALUES, MAX_VALUES = 10_000, 100_000
DEFAULT_STREAMS, MAX_STREAMS = 1_000, 10_000
DEFAULT_HELD, MAX_HELD = 1_000, 10_000


@dataclass(frozen=True, slots=True)
class Parameter:
    """One query or path parameter, as it is documented."""

    name: str
    description: str
    example: Any
    schema: Mapping[str, Any] = field(default_factory=lambda: {"type": "string", "minLength": 1})
    place: str = "query"

    def openapi(self) -> dict[str, Any]:
        """The Parameter Object (OpenAPI 3.1 §4.8.12)."""
        return {
            "name": self.name,
            "in": self.place,
            "required": self.place == "path",
            "description": self.description,
            "schema": dict(self.schema),
            "example": self.example,
        }


_ID = {"type": "string", "minLength": 1, "maxLength": MAX_ID_CHARS}
_TIME = {"type": "string", "format": "date-time"}

FILTERS: tuple[Parameter, ...] = (
    Parameter("actor_id", "Who did it.", "alice", _ID),
    Parameter("owner_id", "Whose data it is.", "alice", _ID),
    Parameter("action", "The application's own verb.", "create_task"),
    Parameter("entity_type", "The kind of thing acted upon.", "Task"),
    Parameter("entity_id", "The thing acted upon; needs `entity_type`.", "42", _ID),
    Parameter(
        "outcome",
        "`unknown` finds whatever is neither success nor failure, also in another producer's words.",
        "success",
        {"type": "string", "enum": list(OUTCOMES)},
    ),
    Parameter("actor_type", "What kind of actor.", "user", {"type": "string", "enum": list(ACTOR_TYPES)}),
    Parameter("tenant_id", "The tenant.", "acme", _ID),
    Parameter("request_id", "The request that caused it.", "req-7", _ID),
    Parameter("session_id", "The session it happened in.", "s-1", _ID),
    Parameter("on_behalf_of", "For whom the actor acted.", "alice", _ID),
    Parameter(
        "trace_id",
        "The trace, 32 lower-case hex digits.",
        FIRST.trace_id,
        {"type": "string", "pattern": "^[0-9a-f]{32}$"},
    ),
)
_SINCE = Parameter("since", "Only what happened at or after this RFC 3339 time.", "2026-11-24T09:00:00Z", _TIME)
_UNTIL = Parameter("until", "Only what happened before this RFC 3339 time.", "2026-11-24T10:00:00Z", _TIME)
_LIMIT = Parameter(
    "limit",
    "Most records in the answer.",
    2,
    {"type": "integer", "minimum": 1, "maximum": MAX_PAGE, "default": DEFAULT_LIMIT},
)
_ORDERS = {"type": "string", "enum": ["asc", "desc"]}
_PAGE_ORDER = Parameter("order", "By time: `desc` is newest first.", "asc", {**_ORDERS, "default": "desc"})
_LIST_ORDER = Parameter(
    "order",
    "How the newest `limit` records are sorted: `asc` is oldest first.",
    "desc",
    {**_ORDERS, "default": "asc"},
)
_CURSOR = Parameter(
    "cursor",
    "`next_cursor` of the page before. It carries the filter and the order; given beside it, they must be the same.",
    NEXT_CURSOR,
)
_AFTER = Parameter(
    "after",
    "Read in log order (the order of commit), after this place: `<log>:<index>`, from `position` of the page before, "
    "or `:-1` for the beginning. Takes neither `cursor` nor `order`.",
    ":-1",
)
_MOST_VALUES = Parameter(
    "limit",
    "With `by`: most values in the answer; the rest is summed up in `others`.",
    10,
    {"type": "integer", "minimum": 1, "maximum": MAX_VALUES, "default": DEFAULT_VALUES},
)
_BY = Parameter("by", "Count per value of this field.", "action", {"type": "string", "enum": list(COUNT_FIELDS)})

_STREAM_ID = Parameter("stream_id", "Only this stream.", STREAM.stream_id, _ID)
_MOST_STREAMS = Parameter(
    "limit",
    "Most streams in the answer.",
    100,
    {"type": "integer", "minimum": 1, "maximum": MAX_STREAMS, "default": DEFAULT_STREAMS},
)
_STREAM_CURSOR = Parameter(
    "cursor", "`next_cursor` of the page before.", "2026-11-24T09:40:00.000000Z 019ab4f2-3b00-7000-8000-00000000000a"
)
_INCOMPLETE = Parameter(
    "incomplete",
    "`true`: only streams with numbers missing, awaited or implausible.",
    "true",
    {"type": "string", "enum": ["true", "false"], "default": "false"},
)

_REASON = Parameter("reason", "Only those whose reason has this text in it.", "conflict")
_SERVICE = Parameter("service", "Only those of this service, or else of this peer.", "shop")
_HELD_ACTOR = Parameter("actor_id", "Only those whose actor's id is this; reads their bytes.", "alice", _ID)
_HELD_SINCE = Parameter("since", "Held at or after this RFC 3339 time.", "2026-11-24T09:00:00Z", _TIME)
_HELD_UNTIL = Parameter("until", "Held before this RFC 3339 time.", "2026-11-24T10:00:00Z", _TIME)
_MOST_HELD = Parameter(
    "limit",
    "Most held records in the answer.",
    100,
    {"type": "integer", "minimum": 1, "maximum": MAX_HELD, "default": DEFAULT_HELD},
)
_HELD_CURSOR = Parameter("cursor", "`next_cursor` of the page before.", HELD_CURSOR)

_PATH: dict[str, Parameter] = {
    parameter.name: parameter
    for parameter in (
        Parameter("record_id", "The record's id.", str(SECOND.record_id), _ID, "path"),
        Parameter("entity_type", "The kind of thing, percent-encoded.", "Task", place="path"),
        Parameter("entity_id", "The thing's id, percent-encoded.", "42", _ID, "path"),
        Parameter("actor_id", "The actor's id, percent-encoded.", "alice", _ID, "path"),
        Parameter("owner_id", "The owner's id, percent-encoded.", "alice", _ID, "path"),
        Parameter("sha256", "The hash, or a beginning of it that names one record.", HELD_SHA256[:12], place="path"),
        Parameter("action", "The verb, percent-encoded.", "create_task", place="path"),
    )
}

SEARCH: tuple[Parameter, ...] = (*FILTERS, _SINCE, _UNTIL, _LIMIT, _CURSOR, _PAGE_ORDER, _AFTER)
LIST: tuple[Parameter, ...] = (_LIMIT, _SINCE, _UNTIL, _LIST_ORDER)
COUNT: tuple[Parameter, ...] = (*FILTERS, _SINCE, _UNTIL, _BY, _MOST_VALUES)
QUARANTINE: tuple[Parameter, ...] = (
    _REASON,
    _SERVICE,
    _HELD_ACTOR,
    _HELD_SINCE,
    _HELD_UNTIL,
    _MOST_HELD,
    _HELD_CURSOR,
)
STREAMS: tuple[Parameter, ...] = (_STREAM_ID, _INCOMPLETE, _MOST_STREAMS, _STREAM_CURSOR)


def documented(query: Sequence[Parameter], path: Sequence[str] = ()) -> dict[str, Any]:
    """What a route adds to its OpenAPI operation."""
    return {"parameters": [p.openapi() for p in (*(_PATH[name] for name in path), *query)]}


def read_query(request: Request, parameters: Sequence[Parameter]) -> dict[str, str]:
    """The query string as a dict.

    Raises:
        InvalidFilterError: a parameter that this path does not take, one given twice, or bytes that are not UTF-8.
    """
    raw: bytes = request.scope.get("query_string", b"")
    try:
        pairs = parse_qsl(raw.decode("ascii"), keep_blank_values=True, errors="strict")
    except UnicodeDecodeError:
        raise InvalidFilterError("the query string must be percent-encoded UTF-8") from None
    names = [parameter.name for parameter in parameters]
    values: dict[str, str] = {}
    for name, value in pairs:
        if name not in names:
            close = difflib.get_close_matches(name, names, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            known = ", ".join(names) or "none"
            raise InvalidFilterError(f"{name[:64]}: no such parameter{hint} (this path takes: {known})")
        if name in values:
            raise InvalidFilterError(f"{name}: must be given once")
        values[name] = value
    return values


def read_filter(values: Mapping[str, str]) -> Filter | None:
    """The filter in a query, or None when it has no condition.

    Raises:
        InvalidFilterError
    """
    known: dict[str, Any] = {p.name: values[p.name] for p in FILTERS if p.name in values}
    for name in ("since", "until"):
        if name in values:
            known[name] = _moment(values, name)
    if "entity_id" in known:
        if "entity_type" not in known:
            raise InvalidFilterError("entity_id: needs entity_type too, for ids are unique within a type only")
        known["entity_ref"] = entity_filter(known.pop("entity_type"), known.pop("entity_id"))
    return Filter(**known) if known else None


def parse_limit(values: Mapping[str, str], default: int = DEFAULT_LIMIT, most: int = MAX_PAGE) -> int:
    """`limit`, or its default.

    Raises:
        InvalidFilterError: not digits, or out of range.
    """
    text = values.get("limit", str(default))
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and 1 <= int(text) <= most):
        raise InvalidFilterError(f"limit: must be a whole number from 1 to {most}, not {text[:64]!r}")
    return int(text)


def read_stream_ids(values: Mapping[str, str]) -> list[str] | None:
    """The stream asked for; None: all.

    Raises:
        InvalidFilterError: an empty id, or one that is longer than an id can be.
    """
    text = values.get("stream_id")
    if text is None:
        return None
    if not 0 < len(text) <= MAX_ID_CHARS:
        raise InvalidFilterError(f"stream_id: must have 1 to {MAX_ID_CHARS} characters, not {len(text)}")
    return [text]


def read_held_filter(values: Mapping[str, str]) -> HeldFilter:
    """Which held records a query is about.

    Raises:
        InvalidFilterError: an empty value, or a time that is none.
    """
    for name in ("reason", "service", "actor_id"):
        if values.get(name) == "":
            raise InvalidFilterError(f"{name}: must not be empty")
    since, until = _moment(values, "since"), _moment(values, "until")
    return HeldFilter(values.get("reason"), values.get("service"), values.get("actor_id"), since, until)


def _moment(values: Mapping[str, str], name: str) -> datetime | None:
    if name not in values:
        return None
    try:
        return parse_time(values[name], name)
    except InvalidRecordError as error:
        raise InvalidFilterError(str(error)) from None


def parse_flag(values: Mapping[str, str], name: str) -> bool:
    """A parameter that is `true` or `false`; false when it is not given.

    Raises:
        InvalidFilterError: anything else.
    """
    text = values.get(name, "false")
    if text not in ("true", "false"):
        raise InvalidFilterError(f"{name}: must be true or false, not {text[:64]!r}")
    return text == "true"
