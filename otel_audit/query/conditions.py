"""A `Filter` as the parameters of `matching.sql`, and as the span of time that prunes files before DuckDB sees them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self

from otel_audit.model.filters import Filter
from otel_audit.model.ids import format_id
from otel_audit.model.record import to_us
from otel_audit.query.catalog import FileFacts

__all__ = ["Span", "condition_parameters", "never_matches", "selective", "span_of"]

_IDS = ("actor_id", "owner_id", "tenant_id", "request_id", "session_id", "on_behalf_of")
_SELECTIVE = ("actor_id", "owner_id", "entity_ref", "request_id", "session_id", "trace_id")
_EARLIEST_US, _LATEST_US = -62_135_596_800_000_000, 253_402_300_799_999_999
"""The years 1 to 9999: what a filter can hold, wider than what the archive can."""


@dataclass(frozen=True, slots=True)
class Span:
    """`first_us <= occurred_at <= last_us`, both ends inclusive."""

    first_us: int = _EARLIEST_US
    last_us: int = _LATEST_US

    @staticmethod
    def clamped(us: int) -> int:
        """A time that a cursor made up, brought into the range that timestamps have."""
        return min(max(us, _EARLIEST_US), _LATEST_US)

    def beyond(self, key: tuple[int, str] | None, descending: bool) -> Self:
        """The part of the span that can hold what comes after an order key."""
        if key is None:
            return self
        if descending:
            return type(self)(self.first_us, min(self.last_us, key[0]))
        return type(self)(max(self.first_us, key[0]), self.last_us)

    def prune(self, files: Iterable[FileFacts]) -> list[FileFacts]:
        """The files whose span meets this one, in the order given."""
        return [file for file in files if file.min_us <= self.last_us and file.max_us >= self.first_us]


def span_of(where: Filter) -> Span:
    """The span of `since` and `until`."""
    return Span(
        _EARLIEST_US if where.since is None else to_us(where.since),
        _LATEST_US if where.until is None else to_us(where.until) - 1,
    )


def selective(where: Filter) -> bool:
    """Whether few rows of a row group are expected to match."""
    return any(getattr(where, name) is not None for name in _SELECTIVE)


def never_matches(where: Filter) -> bool:
    """Whether two conditions exclude each other."""
    return (
        where.entity_ref is not None
        and where.entity_type is not None
        and where.entity_ref.entity_type != where.entity_type
    )


def condition_parameters(
    where: Filter, files: list[str], first_index: int | None = None, last_index: int | None = None
) -> dict[str, Any]:
    """All parameters of `matching.sql`."""
    parameters: dict[str, Any] = {"files": files, "first_index": first_index, "last_index": last_index}
    for name in _IDS:
        value = getattr(where, name)
        parameters[name] = None if value is None else format_id(value)
    for name in ("action", "outcome", "actor_type", "trace_id", "entity_type"):
        parameters[name] = getattr(where, name)
    parameters["entity_id"] = None
    if where.entity_ref is not None:
        parameters["entity_type"] = where.entity_ref.entity_type
        parameters["entity_id"] = format_id(where.entity_ref.entity_id)
    parameters["since_us"] = None if where.since is None else to_us(where.since)
    parameters["until_us"] = None if where.until is None else to_us(where.until)
    return parameters
