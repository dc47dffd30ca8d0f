"""What no report on a stream can show: records outside any stream, and rows of the log that are accepted as lost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from otel_audit.errors import InvalidRecordError

__all__ = ["Completeness", "LostRows", "completeness_from_json", "completeness_to_json"]


@dataclass(frozen=True, slots=True, order=True)
class LostRows:
    """Rows `first` to `last` of a log, both ends inclusive, that are gone and that an operator accepted as lost."""

    log: str
    first: int
    last: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Completeness:
    """Facts about a whole archive.

    Attributes:
        records: rows in all of its logs.
        unnumbered: how many of them carry no number, so that nothing shows whether all of their like are here.
        lost: rows that are accepted as lost.
    """

    records: int
    unnumbered: int
    lost: tuple[LostRows, ...] = ()


def completeness_to_json(found: Completeness) -> dict[str, Any]:
    """As a JSON value."""
    lost = [{"log": rows.log, "first": rows.first, "last": rows.last} for rows in found.lost]
    return {"records": found.records, "unnumbered": found.unnumbered, "lost": lost}


def completeness_from_json(values: object) -> Completeness:
    """The inverse of `completeness_to_json`.

    Raises:
        InvalidRecordError: naming the field.
    """
    if not isinstance(values, Mapping) or not isinstance(lost := values.get("lost"), list):
        raise InvalidRecordError("lost", "must be a list")
    for name in ("records", "unnumbered"):
        if type(values.get(name)) is not int:
            raise InvalidRecordError(name, "must be a whole number")
    rows = tuple(_lost_from_json(item) for item in lost)
    return Completeness(records=values["records"], unnumbered=values["unnumbered"], lost=rows)


def _lost_from_json(item: object) -> LostRows:
    if isinstance(item, Mapping):
        log, first, last = item.get("log"), item.get("first"), item.get("last")
        if isinstance(log, str) and type(first) is int and type(last) is int:
            return LostRows(log, first, last)
    raise InvalidRecordError("lost", "must name a log and its first and last lost row")
