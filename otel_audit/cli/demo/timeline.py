"""Activities over time: a span cut at calendar boundaries into a handful of parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

__all__ = ["MOST_BARS", "Unit", "bar", "boundaries", "choose_unit"]

MOST_BARS = 20
_EIGHTHS = " ▏▎▍▌▋▊▉"


@dataclass(frozen=True, slots=True)
class Unit:
    """A calendar unit as `date_trunc` of DuckDB knows it: where a moment's part begins, and where the next one does."""

    name: str
    floor: Callable[[datetime], datetime]
    following: Callable[[datetime], datetime]
    label: str


def _months(count: int) -> tuple[Callable[[datetime], datetime], Callable[[datetime], datetime]]:
    def floor(moment: datetime) -> datetime:
        month = (moment.year * 12 + moment.month - 1) // count * count
        return _month(moment, month)

    return floor, lambda start: _month(start, start.year * 12 + start.month - 1 + count)


def _month(moment: datetime, index: int) -> datetime:
    return datetime(index // 12, index % 12 + 1, 1, tzinfo=moment.tzinfo)


def _day(moment: datetime) -> datetime:
    return moment.replace(hour=0, minute=0, second=0, microsecond=0)


def _week(moment: datetime) -> datetime:
    return _day(moment) - timedelta(days=moment.weekday())


_UNITS = (
    Unit("hour", lambda m: m.replace(minute=0, second=0, microsecond=0), lambda m: m + timedelta(hours=1),
         "%Y-%m-%d %H:00"),
    Unit("day", _day, lambda m: m + timedelta(days=1), "%Y-%m-%d"),
    Unit("week", _week, lambda m: m + timedelta(days=7), "week of %Y-%m-%d"),
    Unit("month", *_months(1), "%Y-%m"),
    Unit("quarter", *_months(3), "quarter of %Y-%m"),
    Unit("year", *_months(12), "%Y"),
    Unit("decade", *_months(120), "%Y…"),
)  # fmt: skip


def choose_unit(first: datetime, last: datetime) -> Unit:
    """The finest unit that cuts the span into at most `MOST_BARS` parts."""
    for unit in _UNITS:
        if len(boundaries(unit, first, last, MOST_BARS + 1)) <= MOST_BARS + 1:
            return unit
    return _UNITS[-1]


def boundaries(unit: Unit, first: datetime, last: datetime, most: int = 1_000) -> Sequence[datetime]:
    """Where the parts begin, and where the last one ends; stops after `most` parts."""
    edges = [unit.floor(first)]
    while edges[-1] <= last and len(edges) <= most + 1:
        edges.append(unit.following(edges[-1]))
    return edges


def bar(value: int, most: int, width: int, *, unicode: bool = True) -> str:
    """A bar of at most `width` characters; every value above 0 shows."""
    if not value:
        return ""
    if not unicode:
        return "#" * max(1, round(value * width / most))
    eighths = max(1, round(value * width * 8 / most))
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()
