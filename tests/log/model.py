"""The plain model of a log: what senders may send, and what a correct log makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from hashlib import sha256
from typing import Literal
from uuid import UUID

from otel_audit.log.quarantine import HELD, digest_of
from otel_audit.log.writer import Committed
from otel_audit.model.ids import Id
from otel_audit.model.record import ActivityRecord, EntityRef, from_us
from otel_audit.otlp.decode import Decoded, Rejected, decode_logs
from otel_audit.otlp.encode import encode_record, frame_request
from otel_audit.otlp.markers import encode_marker
from otel_audit.otlp.names import StreamState
from otel_audit.otlp.row_runs import Fate
from otel_audit.otlp.rows import rows_to_request
from otel_audit.otlp.stamp import stream_stamp
from otel_audit.repos.memory import InMemoryActivityLogRepo
from tests.log.requests import RESOURCE

START_NS = 1_764_000_000_000_000_000
"""2025-11-24 16:00 UTC."""
DAY_NS = 86_400_000_000_000
ACTORS: tuple[Id, ...] = ("ann", UUID(int=7 << 76 | 2 << 62 | 9), "12")
OWNERS: tuple[Id, ...] = ("bob", "cy")
ENTITIES = (EntityRef("Task", "t1"), EntityRef("Task", "t2"), EntityRef("Note", "t1"))
ACTIONS = ("create", "edit", "drop")
OTHER_ACTION = "edit again"
"""What a record that contradicts another of its id did."""
_PEER = "127.0.0.1"


class Clock:
    """Stands where it is put, and goes on a millisecond whenever it is read."""

    def __init__(self) -> None:
        self.now_ns = START_NS

    def __call__(self) -> int:
        self.now_ns += 1_000_000
        return self.now_ns

    @property
    def until_midnight_ns(self) -> int:
        """How long the UTC day still lasts."""
        return DAY_NS - self.now_ns % DAY_NS


def _ids(count: int) -> list[Id]:
    """UUIDv7 a second apart, most of them from before the clock's start, UUIDv4, and texts."""
    ids: list[Id] = []
    for at in range(count):
        ms = START_NS // 1_000_000 + (at - count * 4 // 5) * 1_000
        ids += [
            UUID(int=ms << 80 | 7 << 76 | 2 << 62 | at),
            UUID(int=int(sha256(f"{at}".encode()).hexdigest()[:32], 16) & ~(0xF << 76 | 3 << 62) | 4 << 76 | 2 << 62),
            f"text {at}",
        ]
    return ids


def _record(number: int, record_id: Id) -> ActivityRecord:
    mixed = number * 7919
    return ActivityRecord.create(
        record_id=record_id,
        occurred_at=from_us(START_NS // 1_000) + timedelta(minutes=mixed % 17, microseconds=mixed % 3),
        actor_id=ACTORS[mixed % 3],
        owner_id=OWNERS[mixed % 5 % 2],
        entity_ref=ENTITIES[mixed % 11 % 3],
        action=ACTIONS[mixed % 7 % 3],
        metadata={"n": number} if number % 2 else {},
    )


RECORDS = [_record(number, record_id) for number, record_id in enumerate(_ids(20))]
"""So few that whoever draws from them repeats himself often."""


@dataclass(frozen=True)
class Item:
    """One record in a request.

    Attributes:
        number: which of `RECORDS`.
        kind: as that one is; under its id but with other content; without its actor; held although it is valid, as a
            release that knew less may have done.
        stream: the producer's stream, and a number in it.
    """

    number: int
    kind: Literal["true", "other", "broken", "early"] = "true"
    stream: tuple[str, int] | None = None

    @property
    def record(self) -> ActivityRecord:
        """The activity."""
        known = RECORDS[self.number]
        return known.replace(action=OTHER_ACTION) if self.kind == "other" else known

    def encoded(self) -> bytes:
        """Its bytes on the wire."""
        raw = encode_record(self.record, START_NS)
        if self.stream is not None:
            raw += stream_stamp(self.stream[0])(self.stream[1])
        return raw.replace(b"audit.actor.id", b"audit.actor.xx") if self.kind == "broken" else raw

    def rejected(self) -> Rejected:
        """It alone, as decoding sets a record aside."""
        body = frame_request(RESOURCE, [self.encoded()])
        return Rejected(body, digest_of(body), "not known yet", _PEER, *(self.stream or (None, None)))


@dataclass(frozen=True)
class Request:
    """One request as a sender keeps it: it can be sent any number of times.

    Attributes:
        records: its activities, as many as rows in `decoded.table`.
        rejected: what `decoded.rejected` are, None for no activity.
    """

    decoded: Decoded
    records: tuple[ActivityRecord, ...]
    rejected: tuple[ActivityRecord | None, ...] = ()

    @classmethod
    def of(cls, items: Sequence[Item]) -> Request:
        """A request with these records."""
        early = [item for item in items if item.kind == "early"]
        plain = [item for item in items if item.kind != "early"]
        known = decode(frame_request(RESOURCE, [item.encoded() for item in plain]))
        held = tuple(item.rejected() for item in early)
        return cls(
            replace(known, rejected=known.rejected + held, total=len(items)),
            tuple(item.record for item in plain if item.kind != "broken"),
            (*(None for item in plain if item.kind == "broken"), *(item.record for item in early)),
        )

    @classmethod
    def marking(cls, stream_id: str, state: StreamState, last_number: int) -> Request:
        """A request of one marker."""
        return cls(decode(frame_request(RESOURCE, [encode_marker(stream_id, state, last_number, START_NS)])), ())

    def answer(self, first: int | None, fates: str) -> Answer:
        """What is told of it, given what becomes of each record."""
        every_fate_told = 0 < len(fates) == self.decoded.total
        shown = fates if every_fate_told else "".join(sorted(fates, key="ndc".index))
        return Answer(first, shown, len(self.decoded.rejected) + fates.count("c"), every_fate_told)

    def conflict(self, at: int) -> str:
        """The SHA-256 under which the record at a place goes to quarantine when it contradicts another."""
        return digest_of(rows_to_request(self.decoded.table.slice(at, 1)))


def decode(body: bytes) -> Decoded:
    """A request as the collector decodes it."""
    return decode_logs(body, received_from=_PEER, arrival_ns=START_NS, max_records=1_000)


@dataclass(frozen=True)
class Answer:
    """What a sender is told of one request: `first` is the log index of its first new record."""

    first: int | None
    fates: str
    quarantined: int
    every_fate_told: bool

    @classmethod
    def given(cls, answer: Committed) -> Answer:
        """What the log told."""
        first, last = answer.first, answer.last
        assert (answer.committed or None) == (None if first is None or last is None else last - first + 1)
        fates = "".join(fate * count for fate, count in answer.runs)
        counts: dict[Fate, int] = {"n": answer.committed, "d": answer.duplicates, "c": answer.conflicts}
        if not answer.runs:
            fates = "".join(fate * count for fate, count in counts.items())
        assert all(fates.count(fate) == count for fate, count in counts.items())
        return cls(first, fates, answer.quarantined, bool(answer.runs))


@dataclass
class Outcome:
    """What a window changes, and what is answered."""

    new: list[ActivityRecord] = field(default_factory=list)
    quarantine: list[tuple[str, str]] = field(default_factory=list)
    held: dict[str, ActivityRecord | None] = field(default_factory=dict)
    answers: list[Answer] = field(default_factory=list)


class Model:
    """A log that never fails.

    Attributes:
        repo: the activities.
        quarantine: (SHA-256, decision) of every row.
        held_records: what each SHA-256 stands for, None for no activity.
    """

    def __init__(self) -> None:
        self.repo = InMemoryActivityLogRepo()
        self.quarantine: list[tuple[str, str]] = []
        self.held_records: dict[str, ActivityRecord | None] = {}

    @property
    def rows(self) -> int:
        """How many activities there are."""
        return self.repo.count()

    @property
    def held(self) -> list[str]:
        """What is held and not decided upon, oldest first."""
        decided = {digest for digest, decision in self.quarantine if decision != HELD}
        return [digest for digest, decision in self.quarantine if decision == HELD and digest not in decided]

    def judge(self, window: Sequence[Request]) -> Outcome:
        """What is to become of a window; nothing is changed yet."""
        outcome = Outcome()
        known: dict[Id, ActivityRecord] = {}
        conflicts: dict[str, ActivityRecord | None] = {}
        for request in window:
            rejected = request.decoded.rejected
            outcome.held |= {item.sha256: what for item, what in zip(rejected, request.rejected, strict=True)}
            first, fates = self.rows + len(outcome.new), ""
            for at, record in enumerate(request.records):
                before = known.get(record.record_id) or self.repo.get_by_id(record.record_id)
                if before is None:
                    known[record.record_id] = record
                    outcome.new.append(record)
                elif before != record:
                    conflicts[request.conflict(at)] = record
                fates += "n" if before is None else "d" if before == record else "c"
            outcome.answers.append(request.answer(first if "n" in fates else None, fates))
        outcome.held |= conflicts
        outcome.quarantine = [(digest, HELD) for digest in outcome.held if digest not in self.held_records]
        return outcome

    def store(self, new: Sequence[ActivityRecord]) -> None:
        """Take in new activities; the in-memory repo must judge them as `judge` did."""
        first = self.rows
        receipts = [self.repo.append(record) for record in new]
        assert [receipt.log_index for receipt in receipts] == list(range(first, first + len(new)))

    def hold(self, outcome: Outcome) -> None:
        """Take in rows of the quarantine."""
        self.quarantine += outcome.quarantine
        self.held_records |= outcome.held
