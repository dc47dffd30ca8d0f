"""What was promised of the streams log, and whether a folder keeps it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from otel_audit.archive.columns import NOTE_QUARANTINED, NOTE_REPEAT
from otel_audit.archive.listing import list_log
from otel_audit.log.quarantine import FOLDER, HELD
from otel_audit.log.streams import FOLDER as STREAMS
from otel_audit.log.writer import Committed
from otel_audit.otlp.decode import Decoded, decode_logs

__all__ = ["Promises", "broken"]

Place = tuple[str, int]


@dataclass
class Promises:
    """What senders were told of their streams, over all restarts.

    Attributes:
        sent: the ids of the activities that were ever sent with a number.
        told: numbers of records that were answered for.
        marked: stream, state and highest number of markers that were.
        repeats: how many records senders were told are repeats.
    """

    sent: dict[Place, set[str]] = field(default_factory=dict)
    told: set[Place] = field(default_factory=set)
    marked: set[tuple[str, str, int]] = field(default_factory=set)
    repeats: int = 0

    def send(self, request: Decoded) -> None:
        """Remember what a request holds, before anything can become of it."""
        for row in request.table.select(["stream_id", "stream_number", "record_id"]).to_pylist():
            if row["stream_id"] is not None and row["stream_number"] is not None:
                self.sent.setdefault((row["stream_id"], row["stream_number"]), set()).add(row["record_id"])

    def keep(self, request: Decoded, answer: Committed) -> None:
        """Remember what was answered."""
        self.told |= _places(request)
        self.marked |= {(marker.stream_id, marker.state, marker.last_number) for marker in request.markers}
        self.repeats += answer.duplicates


def _places(request: Decoded) -> set[Place]:
    rows = request.table.select(["stream_id", "stream_number"]).to_pylist()
    places = [(row["stream_id"], row["stream_number"]) for row in rows]
    places += [(item.stream_id, item.stream_number) for item in request.rejected]
    return {(stream, number) for stream, number in places if stream is not None and number is not None}


@cache
def _held_places(request: bytes) -> set[Place]:
    return _places(decode_logs(request, received_from="", arrival_ns=0, max_records=1))


def broken(root: Path, promises: Promises) -> list[str]:
    """What is not as promised, one sentence each."""
    activities = _read(root, ["record_id", "stream_id", "stream_number"])
    ids = {row["record_id"] for row in activities}
    archived = {(row["stream_id"], row["stream_number"]) for row in activities}
    held = [row["request"] for row in _read(root / FOLDER, ["decision", "request"]) if row["decision"] == HELD]
    in_quarantine = {place for request in held for place in _held_places(request)}
    notes = _read(root / STREAMS, ["kind", "stream_id", "first_number", "last_number", "records"])
    repeats, quarantined = _noted(notes, NOTE_REPEAT), _noted(notes, NOTE_QUARANTINED)
    marked = {(row["stream_id"], row["kind"], row["last_number"]) for row in notes}
    counted = sum(row["records"] for row in notes if row["kind"] == NOTE_REPEAT)
    return [
        sentence
        for sentence, wrong in {
            "answered, and neither archived nor noted": promises.told - archived - repeats - quarantined,
            "a marker was lost": promises.marked - marked,
            "noted as repeats of records that are nowhere": {
                place for place in repeats if not promises.sent.get(place, set()) & ids
            },
            "noted as quarantined, and not there": quarantined - in_quarantine,
            "fewer repeats noted than told": set(range(counted, promises.repeats)),
        }.items()
        if wrong
    ]


def _noted(notes: list[dict[str, Any]], kind: str) -> set[Place]:
    return {
        (row["stream_id"], number)
        for row in notes
        if row["kind"] == kind and row["first_number"] is not None
        for number in range(row["first_number"], row["last_number"] + 1)
    }


def _read(root: Path, columns: list[str]) -> list[dict[str, Any]]:
    if not (root / "log" / "log.json").exists():
        return []
    files = list_log(root).files
    return [row for file in files for row in pq.read_table(file.path, columns=columns, partitioning=None).to_pylist()]
