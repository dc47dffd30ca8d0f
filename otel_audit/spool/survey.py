"""What a spool holds, in numbers: how far each stream is, what waits, what is parked. Changes nothing."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from google.protobuf.message import DecodeError
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from otel_audit.spool.destination import service_name
from otel_audit.spool.format import Entry, Kind
from otel_audit.spool.holdings import Held, Holdings, holdings, read_held, read_waiting
from otel_audit.spool.owner import is_owned, owner_facts
from otel_audit.spool.places import ASIDE, PARKED, SENT, PoolFile
from otel_audit.spool.pools import streams_bytes
from otel_audit.spool.reading import DeliveredMark

__all__ = [
    "ParkedFile",
    "Pool",
    "SpoolSurvey",
    "StreamSurvey",
    "observed_ns",
    "parked_files",
    "parked_records",
    "service_name",
    "survey",
    "undelivered_bytes",
]

StreamPlace = Literal["living", "left", "delivered"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamSurvey:
    """One stream, as far as this spool knows it.

    Attributes:
        service_name, endpoint: whose records, and where they are to go; "" where no file can tell.
        state: "living": a process writes it, or is delivering what another one left; "left": its process is gone, and
            the next one that uses the spool delivers it; "delivered": nothing of it waits.
        pid: the process that began it, by its own account.
        last_number: the highest number seen in any file: what the producer has emitted.
        delivered: the highest number that a peer has answered for.
        waiting_records, waiting_bytes: not answered for yet.
        oldest_ns: when the first of them was appended, in ns since 1970.
        parked: records that the peer refused.
        closed: whether its process ended it cleanly.
        damaged: whether a file that waits has bytes that cannot be read.
    """

    stream_id: str
    service_name: str
    endpoint: str
    state: StreamPlace
    pid: int | None
    last_number: int
    delivered: int
    waiting_records: int
    waiting_bytes: int
    oldest_ns: int | None
    parked: int
    closed: bool
    damaged: bool


@dataclass(frozen=True, slots=True)
class Pool:
    """The files of one folder."""

    files: int
    bytes: int


@dataclass(frozen=True, slots=True)
class SpoolSurvey:
    """A whole spool.

    Attributes:
        streams: those with something undelivered first, then by name.
        strangers: files and folders that no spool puts there; nothing reads or deletes them.
    """

    root: Path
    streams: tuple[StreamSurvey, ...]
    sent: Pool
    parked: Pool
    aside: Pool
    strangers: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class ParkedFile:
    """Records that a peer refused in one answer.

    Attributes:
        records: how many there are; `rejected` of them were refused, and the peer did not say which.
        reason: its answer.
        since_s: when, in seconds since 1970.
    """

    path: Path
    stream_id: str
    service_name: str
    endpoint: str
    first: int
    last: int
    records: int
    rejected: int
    reason: str
    since_s: float


def survey(root: Path) -> SpoolSurvey:
    """Look at a spool; processes may be using it. Raises SpoolUnreadableError."""
    found = holdings(root)
    streams = [_surveyed(stream_id, found, root) for stream_id in sorted({*found.files, *found.folders})]
    known = [stream for stream in streams if stream is not None]
    known.sort(key=lambda stream: (stream.state == "delivered" and not stream.parked, stream.stream_id))
    pools = {pool: _pool(root / pool) for pool in (SENT, PARKED, ASIDE)}
    return SpoolSurvey(root, tuple(known), pools[SENT], pools[PARKED], pools[ASIDE], found.strangers)


def _pool(folder: Path) -> Pool:
    sizes = []
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):
                sizes.append(entry.stat().st_size)
    return Pool(len(sizes), sum(sizes))


def _surveyed(stream_id: str, found: Holdings, root: Path) -> StreamSurvey | None:
    """None for a folder in which nothing was ever written, and that nobody owns."""
    files, folder = found.files.get(stream_id, []), found.folders.get(stream_id)
    owned = folder is not None and is_owned(folder)
    answered = 0 if folder is None else DeliveredMark(folder).read()[2]
    if not files and not owned and not answered:
        return None
    own = [held for held in files if not held.name.is_refused]
    # Before what waits: else a record that is written in between would count as delivered.
    newest = _entries(own[-1], root) if own else ()
    contents = [content for _, content in read_waiting(files, root)]
    waits = [entry for content in contents for entry in content.entries]
    records = [entry for entry in waits if entry.kind == Kind.RECORD]
    refused = [held for held in files if held.name.is_refused]
    last = max(
        [
            answered,
            *(held.name.first - 1 for held in own),
            *(entry.number for entry in (*newest, *waits)),
            # The name of such a file says how many records it has and the number of the first.
            *(held.name.first + held.name.sequence - 1 for held in refused),
        ]
    )
    header = next((held.header for held in files if held.header.endpoint), None)
    pid = None if folder is None else owner_facts(folder).get("pid")
    return StreamSurvey(
        stream_id=stream_id,
        service_name="" if header is None else service_name(header.resource),
        endpoint="" if header is None else header.endpoint,
        state="living" if owned else "delivered" if folder is None else "left",
        pid=pid if isinstance(pid, int) else None,
        last_number=last,
        delivered=records[0].number - 1 if records else last,
        waiting_records=len(records),
        waiting_bytes=sum(entry.end - entry.start for entry in waits),
        oldest_ns=observed_ns(records[0].payload) if records else None,
        parked=sum(held.name.sequence for held in refused if held.pool == PARKED),
        closed=bool(newest) and newest[-1].kind == Kind.CLOSED,
        damaged=any(content.is_damaged for content in contents),
    )


def _entries(held: Held, root: Path) -> tuple[Entry, ...]:
    content = read_held(held, root)
    return () if content is None else content.entries


def parked_files(root: Path) -> list[ParkedFile]:
    """What is parked, longest first. Raises SpoolUnreadableError."""
    found = [held for files in holdings(root).files.values() for held in files if held.pool == PARKED]
    parked = [_parked(held, root) for held in found if held.path.exists()]
    return sorted((one for one in parked if one is not None), key=lambda one: (one.since_s, one.stream_id, one.first))


def _parked(held: Held, root: Path) -> ParkedFile | None:
    content = read_held(held, root)
    if content is None:
        return None
    numbers = [entry.number for entry in content.records]
    since_s = 0.0
    with suppress(FileNotFoundError):
        since_s = held.path.stat().st_mtime
    return ParkedFile(
        path=held.path,
        stream_id=held.stream_id,
        service_name=service_name(held.header.resource),
        endpoint=held.header.endpoint,
        first=min(numbers, default=held.name.first),
        last=max(numbers, default=held.name.first),
        records=len(numbers),
        rejected=held.header.rejected,
        reason=held.header.reason,
        since_s=since_s,
    )


def parked_records(root: Path) -> int:
    """How many records are parked, by the names of the files alone: cheap enough to ask now and then."""
    try:
        names = [PoolFile.parse(name) for name in os.listdir(root / PARKED)]
    except OSError:
        return 0
    return sum(name.name.sequence for name in names if name is not None)


def undelivered_bytes(root: Path) -> int:
    """What all that waits or is parked takes, by the sizes of the files."""
    return streams_bytes(root) + _pool(root / PARKED).bytes


def observed_ns(record: bytes) -> int | None:
    """When a record was appended, in ns since 1970; None where it cannot be read."""
    try:
        return LogRecord.FromString(record).observed_time_unix_nano or None
    except DecodeError:
        return None
