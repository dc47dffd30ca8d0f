"""What a completeness report must say, worked out number by number in plain Python."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

from hypothesis import strategies as st

from otel_audit.model.ranges import Range
from otel_audit.model.streams import StreamReport

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SERVICES = {"s1": "shop", "s2": "billing", "s3": None}


@dataclass(frozen=True)
class Row:
    """An archived record."""

    stream_id: str | None
    number: int | None

    def columns(self, at: int) -> dict[str, Any]:
        return {
            "stream_id": self.stream_id,
            "stream_number": self.number,
            "service_name": SERVICES.get(self.stream_id or ""),
            "recorded_at": at,
        }


@dataclass(frozen=True)
class Note:
    """A row of the streams log."""

    stream_id: str | None
    kind: str
    first: int | None
    last: int | None
    reason: str | None = None

    def columns(self, at: int) -> dict[str, Any]:
        return {
            "stream_id": self.stream_id,
            "kind": self.kind,
            "first_number": self.first,
            "last_number": self.last,
            "settled_reason": self.reason,
            "records": 0 if self.first is None or self.last is None else self.last - self.first + 1,
            "service_name": SERVICES.get(self.stream_id or ""),
            "recorded_at": at,
        }


@dataclass
class _Stream:
    archived: set[int] = field(default_factory=set)
    quarantined: set[int] = field(default_factory=set)
    repeated: set[int] = field(default_factory=set)
    told: list[tuple[str, int]] = field(default_factory=list)
    decided: list[tuple[int | None, int, str | None]] = field(default_factory=list)
    seen: int = 0

    def report(self, stream_id: str) -> StreamReport:
        every = sorted(self.archived | self.quarantined | self.repeated)
        last_told, last_decided = [last for _, last in self.told], [last for _, last, _ in self.decided]
        jump = next((b for a, b in pairwise(sorted([0, *every, *last_told, *last_decided])) if b - a > 2**30), 2**64)
        known = [number for number in every if number < jump]
        upto = max([0, *(last for last in last_decided if last < jump)])
        due = max([0, upto, *known[-1:], *(last for kind, last in self.told if kind != "open" and last < jump)])
        emitted = max([due, *(last for last in last_told if last < jump)])
        settled = upto - sum(number <= upto for number in known)
        missing = list(_gaps([0, *range(1, upto + 1), *(n for n in known if n > upto), due + 1]))
        states = {kind for kind, _ in self.told}
        state = "closed" if "closed" in states else "recovered" if "recovered" in states else "open"
        if any(last < jump for last in last_decided) and upto >= emitted:
            state = "settled"
        disregarded = min([2**64 - 1, *(first for first, _, _ in self.decided if first is not None)])
        return StreamReport(
            stream_id=stream_id,
            service_name=SERVICES[stream_id],
            emitted=emitted,
            archived=len(self.archived & set(known)),
            quarantined=len((self.quarantined - self.archived) & set(known)),
            missing=tuple(missing),
            missing_count=due - len(known) - settled,
            awaited=emitted - due,
            repeats=len(self.repeated & set(known)),
            settled=settled,
            settled_reason=self.decided[-1][2] if self.decided else None,
            implausible=(jump, max(every[-1:] + last_told)) if jump < disregarded else None,
            state=state,
            last_seen=EPOCH + timedelta(microseconds=self.seen),
        )


def _gaps(known: list[int]) -> Iterable[Range]:
    for one, other in pairwise(known):
        if one + 1 < other:
            yield one + 1, other - 1


def expected(facts: Iterable[tuple[int, Row | Note]]) -> dict[str, StreamReport]:
    """The reports for facts with the times they were recorded at."""
    streams: dict[str, _Stream] = {}
    decisions: list[Note] = []
    for at, fact in facts:
        if fact.stream_id is None:
            continue
        numbers: set[int] = set()
        if isinstance(fact, Row):
            numbers = {fact.number} if fact.number is not None and fact.number > 0 else set()
        elif fact.first is not None and fact.last is not None:
            numbers = set(range(max(fact.first, 1), fact.last + 1))
        if isinstance(fact, Note) and fact.kind == "settled":
            decisions.append(fact)
            continue
        if not numbers and not (isinstance(fact, Note) and fact.first is None):
            continue
        stream = streams.setdefault(fact.stream_id, _Stream())
        stream.seen = max(stream.seen, at)
        if isinstance(fact, Row):
            stream.archived |= numbers
        elif fact.kind == "quarantined":
            stream.quarantined |= numbers
        elif fact.kind == "repeat":
            stream.repeated |= numbers
        elif fact.last is not None:
            stream.told.append((fact.kind, fact.last))
    for note in decisions:
        if note.stream_id in streams and note.last is not None:
            streams[note.stream_id].decided.append((note.first, note.last, note.reason))
    return {stream_id: stream.report(stream_id) for stream_id, stream in streams.items()}


names = st.sampled_from([*SERVICES, None])
_edges = st.sampled_from(
    [
        -(2**63),
        -1,
        0,
        1,
        63,
        64,
        65,
        127,
        128,
        129,
        2**30,
        2**30 + 1,
        2**30 + 100,
        2**40,
        2**63 - 65,
        2**63 - 64,
        2**63 - 1,
    ]
)
rows = st.builds(Row, names, st.integers(1, 30) | st.integers(1, 150) | _edges | st.none())
_far = st.builds(lambda last: (max(last - 70, 1), last), st.sampled_from([70, 2**40, 2**63 - 1]))
_spans = (
    st.builds(lambda first, more: (first, first + more), st.integers(-2, 5) | st.integers(1, 150), st.integers(0, 150))
    | _far
)
runs = st.builds(
    lambda name, kind, span: Note(name, kind, *span), names, st.sampled_from(["repeat", "quarantined"]), _spans
)
outside = st.just(Note(None, "repeat", None, None))
told = st.builds(
    lambda name, kind, last: Note(name, kind, None, last),
    st.sampled_from(list(SERVICES)),
    st.sampled_from(["open", "closed", "recovered"]),
    st.integers(0, 200) | st.just(2**63 - 1),
)
settled = st.builds(
    lambda name, first, last, reason: Note(name, "settled", first, last, reason),
    st.sampled_from(list(SERVICES)),
    st.none() | st.sampled_from([2**40, 2**63 - 1]),
    st.integers(1, 200),
    st.sampled_from(["looked into", "the producer's fault"]),
)
batches = st.builds(
    lambda name, first, more: [Row(name, n) for n in range(first, first + more)],
    names,
    st.integers(1, 100),
    st.integers(1, 130),
)
histories = st.lists(batches | (rows | runs | told | settled | outside).map(lambda fact: [fact]), max_size=12).map(
    lambda parts: [fact for part in parts for fact in part]
)
"""Facts in the order in which they were recorded."""
