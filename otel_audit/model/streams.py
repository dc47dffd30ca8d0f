"""What became of the records of one producer's stream: the report that shows whether anything was lost. Pure.

A producer numbers its records 1, 2, 3 … per stream and tells now and then how many numbers it has given. A number is
accounted for when its record is archived, is in quarantine, or was dropped because the archive had its record already
(sent again, or imported again under another stream). Any other number is missing, or on its way still, unless an
operator settled it: looked into it, and recorded why it is to be looked for no longer.

A number that lies more than 2^30 above every lower one of its stream is no count of records: a producer's fault gave
it. It and all above it are reported as implausible, and count neither as emitted nor as missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal, Self, get_args

from otel_audit.errors import InvalidRecordError
from otel_audit.model.ranges import Range, Ranges, common, merged, size
from otel_audit.model.record_json import format_time, parse_time

__all__ = [
    "PLAUSIBLE_JUMP",
    "ReportState",
    "StreamReport",
    "report_from_json",
    "report_to_json",
    "reports_from_json",
    "reports_to_json",
]

ReportState = Literal["open", "closed", "recovered", "settled", "unknown"]
_STATES: dict[str, ReportState] = {state: state for state in get_args(ReportState)}
PLAUSIBLE_JUMP = 1 << 30
"""A stream that gives a thousand numbers a second needs twelve days for so many; a time in its place is more."""
_COUNTS = ("emitted", "archived", "quarantined", "missing_count", "awaited", "repeats")


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamReport:
    """One stream, as far as the archive knows it.

    Attributes:
        service_name: of the producer's Resource.
        emitted: the highest number known to be given.
        archived: numbers whose records are in the archive, each counted once.
        quarantined: numbers whose records are in quarantine and not in the archive.
        missing: (first, last) of the numbers that should have come and did not; in order.
        missing_count: how many those are.
        awaited: numbers that the producer gave and nothing later has overtaken: on their way, or kept by a producer
            that cannot deliver.
        repeats: numbers that came when the archive had their record already.
        state: "open" (nothing else was told), "closed" (cleanly), "recovered" (its process died, and another one
            delivered what it had left), "settled" (an operator closed it, and nothing came since), "unknown" (only an
            expectation names it; nothing of it ever came).
        last_seen: when something of the stream was last stored; None for an unknown one.
        settled: numbers that are not here, and that an operator decided to look for no longer.
        settled_reason: the operator's words.
        implausible: lowest and highest of the numbers that cannot be believed, unless an operator settled them.
    """

    stream_id: str
    service_name: str | None
    emitted: int
    archived: int
    quarantined: int
    missing: Ranges
    missing_count: int
    awaited: int
    repeats: int
    state: ReportState
    last_seen: datetime | None
    settled: int = 0
    settled_reason: str | None = None
    implausible: Range | None = None

    @classmethod
    def unknown(cls, stream_id: str) -> Self:
        """The report on a stream of which nothing ever came."""
        return cls(
            stream_id=stream_id,
            service_name=None,
            emitted=0,
            archived=0,
            quarantined=0,
            missing=(),
            missing_count=0,
            awaited=0,
            repeats=0,
            state="unknown",
            last_seen=None,
        )

    @property
    def incomplete(self) -> bool:
        """Whether a number is missing, awaited or implausible."""
        return self.missing_count > 0 or self.awaited > 0 or self.implausible is not None

    def expecting(self, last_number: int) -> Self:
        """What a reader's report comes to once the producer's own count is known: all up to `last_number` should be
        here."""
        due = self.emitted - self.awaited  # every number above that is awaited
        missing = merged((*self.missing, (due + 1, last_number)))
        return replace(
            self,
            emitted=max(self.emitted, last_number),
            missing=missing,
            missing_count=size(missing),
            awaited=max(0, self.emitted - max(due, last_number)),
        )

    def confirmed_by(self, later: Self) -> Self:
        """The later report, where only what was missing before is missing: the rest may be on its way still."""
        missing = common(later.missing, self.missing)
        count = size(missing)
        return replace(later, missing=missing, missing_count=count, awaited=later.awaited + later.missing_count - count)


def report_to_json(report: StreamReport) -> dict[str, Any]:
    """A report as a JSON value; ranges are pairs, the time is as in records."""
    return {
        "stream_id": report.stream_id,
        "service_name": report.service_name,
        "state": report.state,
        "emitted": report.emitted,
        "archived": report.archived,
        "quarantined": report.quarantined,
        "missing": [list(pair) for pair in report.missing],
        "missing_count": report.missing_count,
        "awaited": report.awaited,
        "repeats": report.repeats,
        "settled": report.settled,
        "settled_reason": report.settled_reason,
        "implausible": None if report.implausible is None else list(report.implausible),
        "last_seen": None if report.last_seen is None else format_time(report.last_seen),
    }


def report_from_json(values: object) -> StreamReport:
    """The report that `report_to_json` wrote.

    Raises:
        InvalidRecordError: naming the field.
    """
    if not isinstance(values, Mapping):
        raise InvalidRecordError("stream", "must be an object")
    stream_id, service_name, last_seen = values.get("stream_id"), values.get("service_name"), values.get("last_seen")
    if not isinstance(stream_id, str):
        raise InvalidRecordError("stream_id", "must be text")
    if service_name is not None and not isinstance(service_name, str):
        raise InvalidRecordError("service_name", "must be text or null")
    if last_seen is not None and not isinstance(last_seen, str):
        raise InvalidRecordError("last_seen", "must be a time or null")
    state = values.get("state")
    if not isinstance(state, str) or state not in _STATES:
        raise InvalidRecordError("state", f"must be one of {', '.join(_STATES)}")
    for name in _COUNTS:
        if type(values.get(name)) is not int:
            raise InvalidRecordError(name, "must be a whole number")
    missing = values.get("missing")
    if not isinstance(missing, list) or not all(_is_pair(pair) for pair in missing):
        raise InvalidRecordError("missing", "must be a list of pairs of whole numbers")
    # A collector of an earlier release knows nothing of these.
    settled, settled_reason, implausible = (values.get(name) for name in ("settled", "settled_reason", "implausible"))
    if settled is not None and type(settled) is not int:
        raise InvalidRecordError("settled", "must be a whole number")
    if settled_reason is not None and not isinstance(settled_reason, str):
        raise InvalidRecordError("settled_reason", "must be text or null")
    if implausible is not None and not _is_pair(implausible):
        raise InvalidRecordError("implausible", "must be a pair of whole numbers or null")
    return StreamReport(
        stream_id=stream_id,
        service_name=service_name,
        settled=settled or 0,
        settled_reason=settled_reason,
        implausible=None if implausible is None else (implausible[0], implausible[1]),
        missing=tuple((first, last) for first, last in missing),
        state=_STATES[state],
        last_seen=None if last_seen is None else parse_time(last_seen, "last_seen"),
        **{name: values[name] for name in _COUNTS},
    )


def _is_pair(pair: object) -> bool:
    return isinstance(pair, list) and len(pair) == 2 and all(type(end) is int for end in pair)


def reports_to_json(reports: Iterable[StreamReport]) -> dict[str, Any]:
    """The answer that holds reports."""
    return {"streams": [report_to_json(report) for report in reports]}


def reports_from_json(values: object) -> list[StreamReport]:
    """The reports of such an answer.

    Raises:
        InvalidRecordError: naming the field.
    """
    if not isinstance(values, Mapping) or not isinstance(values.get("streams"), list):
        raise InvalidRecordError("streams", "must be a list")
    return [report_from_json(item) for item in values["streams"]]
