"""What others left in the spool, and what is to be sent again: delivered beside the own stream, by the same sender."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from otel_audit.delivery.marking import Mark
from otel_audit.delivery.notices import report
from otel_audit.delivery.parcel import Parcel
from otel_audit.delivery.second_tries import SecondTries
from otel_audit.disk import Disk
from otel_audit.errors import SpoolFileError, UnwritableError
from otel_audit.spool.adoption import AdoptedStream, adopt
from otel_audit.spool.destination import Destination, service_name
from otel_audit.spool.format import Entry, Header
from otel_audit.spool.places import STREAMS
from otel_audit.spool.pools import Pools, read_file
from otel_audit.spool.reading import Batch

__all__ = ["Backlog"]

_TRY_AGAIN_S = 60.0
_AT_ONCE = 16
"""Each stream that is taken over holds a file open, and the application needs some too."""


@dataclass(frozen=True, slots=True)
class _Adopted:
    """A parcel of a stream that was taken over; without a batch it is the word that the stream ends."""

    stream: AdoptedStream
    batch: Batch | None


@dataclass(slots=True)
class _Parked:
    """A file of refused records that is sent again."""

    path: Path
    count: int
    header: Header | None = None
    entries: tuple[Entry, ...] = ()
    stays: bool = False
    is_second_try: bool = False


class Backlog:
    """Used by the sender's thread, but for `retry`, `await_stream` and `awaited`.

    Args:
        destination: only streams whose records are to go there are taken over; None: all.
        mark: makes a marker: stream, state, highest number given.
        resource: for markers about streams of which no file tells, the serialized Resource and its schema URL.
        tries: when parked files are sent again unasked; None: never.
    """

    def __init__(
        self,
        pools: Pools,
        disk: Disk,
        destination: Destination | None,
        mark: Mark,
        resource: Callable[[], tuple[bytes, str]],
        tries: SecondTries | None = None,
    ) -> None:
        self._pools, self._disk, self._destination = pools, disk, destination
        self._mark, self.resource = mark, resource
        self._tries = tries
        self._adopted: deque[AdoptedStream] = deque()
        self._parked: deque[_Parked] = deque()
        # Each is counted up by one thread alone; their difference are records of parked files that a flush waits for.
        self._retried = self._tried = 0
        self._awaited: dict[str, int] = {}
        self._left_until_s: dict[str, float] = {}
        self._told: set[tuple[Path, str]] = set()
        self._own: frozenset[str] = frozenset()
        self._may_be_more = self._may_be_due = False
        self._turn = False

    @property
    def has_work(self) -> bool:
        """Whether there is anything to send."""
        return bool(self._adopted or self._parked or self._may_be_more or self._may_be_due)

    @property
    def awaited(self) -> int:
        """Records that a flush of this process waits for."""
        # Copied first: another thread may add to them.
        return self._retried - self._tried + sum(tuple(self._awaited.values()))

    def is_its_turn(self) -> bool:
        """Every other time, if there is anything to send."""
        self._turn = not self._turn and self.has_work
        return self._turn

    def await_stream(self, stream_id: str, count: int) -> None:
        """A stream of this process's own, with so many records, that waits to be taken over."""
        self._awaited[stream_id] = count

    def look_round(self, own: frozenset[str]) -> None:
        """Take over what has been left since, a few streams at a time. Raises OSError, SpoolUnwritableError."""
        self._own = own
        now_s = time.monotonic()
        self._left_until_s = {name: until_s for name, until_s in self._left_until_s.items() if until_s > now_s}
        room = _AT_ONCE - len(self._adopted)
        found = adopt(
            self._pools.root,
            self._destination,
            self._pools,
            self._disk,
            self.damaged,
            known=own | {stream.stream_id for stream in self._adopted} | self._left_until_s.keys(),
            most=room,
            on_foreign=self._foreign,
        )
        for stream in found:
            if stream.has_begun and stream.stream_id not in self._awaited:
                report("info", "delivering what a dead process left in the spool", stream=stream.stream_id)
            self._adopted.append(stream)
        self._may_be_more = bool(found) and len(found) == room
        for stream_id in tuple(self._awaited):
            if not (self._pools.root / STREAMS / stream_id).exists():  # another process was faster
                self._awaited.pop(stream_id, None)
        if self._tries is not None:
            self._tries.look(self._pools, self._is_ours)
            self._queue_due(self._tries)

    def _queue_due(self, tries: SecondTries) -> bool:
        queued = {parked.path for parked in tuple(self._parked)}  # copied first: another thread may add to them
        due = tries.due()
        self._may_be_due = bool(due)
        self._parked.extend(_Parked(path, 0, is_second_try=True) for path in due if path not in queued)
        return bool(self._parked)

    def _is_ours(self, header: Header) -> bool:
        """Whether this process may send what another one has parked: of the same service, for the same destination."""
        is_same_service = service_name(header.resource) == service_name(self.resource()[0])
        return is_same_service and (self._destination is None or not self._destination.refusal(header))

    def refused(self, path: Path, reason: str) -> None:
        """A file is parked, or stays so."""
        if self._tries is not None:
            self._tries.refused(path, reason)

    def succeeded(self) -> None:
        """The peer took something: what it refused before may pass now."""
        if self._tries is not None:
            self._tries.succeeded()

    def _foreign(self, folder: Path, why: str) -> None:
        """Say it once, and do not look at it again for a while."""
        self._left_until_s[folder.name] = time.monotonic() + _TRY_AGAIN_S
        if (folder, why) not in self._told:
            self._told.add((folder, why))
            report("warning", "a stream in the spool cannot be sent from here; it waits", stream=folder.name, why=why)

    def damaged(self, path: Path, what: str) -> None:
        """Say, once, that a file of the spool is damaged."""
        if (path, what) not in self._told:
            self._told.add((path, what))
            error = SpoolFileError(f"{path.name}: {what}")
            report("error", "a spool file is damaged", file=str(path), error=str(error), advice=error.advice)

    # --- out ---

    def next_parcel(self, max_records: int, max_bytes: int) -> Parcel | None:
        """The next parcel; None when there is nothing."""
        while self._parked or (self._tries is not None and self._may_be_due and self._queue_due(self._tries)):
            parcel = self._parked_parcel(self._parked[0])
            if parcel is not None:
                return parcel
            self._end_parked()
        while self._adopted or self._may_be_more:
            if not self._adopted:
                self.look_round(self._own)
                continue
            stream = self._adopted[0]
            try:
                parcel = self._parcel_of(stream, max_records, max_bytes)
            except (OSError, UnwritableError) as error:
                self._leave(stream, error)
                continue
            if parcel is not None:
                return parcel
            self._done(stream)
        return None

    def _parked_parcel(self, parked: _Parked) -> Parcel | None:
        """None, and it stays parked, where nothing can be read."""
        try:
            header, entries = read_file(parked.path)
        except FileNotFoundError:
            return None  # another process sends it, or somebody has taken it out
        except (OSError, SpoolFileError) as error:
            report("error", "refused records cannot be read, they stay parked", file=str(parked.path), error=str(error))
            return None
        records = tuple(entry.payload for entry in entries)
        parked.header, parked.entries = header, tuple(entries)
        if not records:
            return None
        return Parcel(header.resource, header.schema_url, records, source=parked, is_second_try=parked.is_second_try)

    def _parcel_of(self, stream: AdoptedStream, max_records: int, max_bytes: int) -> Parcel | None:
        batch = stream.reader.next_batch(None, max_records, max_bytes)
        if batch is not None:
            source = _Adopted(stream, batch)
            return Parcel(batch.header.resource, batch.header.schema_url, batch.records, 0, batch.is_marker, source)
        if stream.has_begun and not stream.reader.closed:
            # Told before the folder goes: if this process dies too, the next one tells it.
            marker = self._mark(stream.stream_id, "recovered", stream.reader.last)
            return Parcel(*(stream.reader.described or self.resource()), (marker,), 0, True, _Adopted(stream, None))
        return None

    def end_part(self, parcel: Parcel, stop: int) -> None:
        """A part of a parcel, up to `stop`, was delivered or parked. Raises SpoolUnreadableError, UnwritableError."""
        source = parcel.source
        if isinstance(source, _Parked):
            if stop == len(parcel.records):
                if not source.stays:
                    self._pools.unpark(source.path)
                self._end_parked()
        elif isinstance(source, _Adopted) and stop == len(parcel.records):
            self._end_batch(source.stream, source.batch)

    def _end_parked(self) -> None:
        parked = self._parked.popleft()
        self._tried += parked.count
        if self._tries is not None and not parked.stays:
            self._tries.gone(parked.path)

    def _end_batch(self, stream: AdoptedStream, batch: Batch | None) -> None:
        if batch is None:
            self._done(stream)
            return
        note_delivered(stream.reader.delivered, batch)
        try:
            # Such a stream has nothing more to send; its folder goes at once, for the sender may be about to end.
            if stream.reader.closed and stream.reader.next_batch(None, 1, 1) is None:
                self._done(stream)
        except (OSError, UnwritableError) as error:
            self._leave(stream, error)

    def _done(self, stream: AdoptedStream) -> None:
        self._awaited.pop(stream.stream_id, None)
        try:
            stream.remove()
        except (OSError, UnwritableError) as error:
            self._leave(stream, error)
        else:
            self._adopted.popleft()

    def _leave(self, stream: AdoptedStream, error: Exception) -> None:
        """One stream that gives trouble must not hold up the others: for a while it is left to other processes."""
        report("error", "a stream in the spool gives trouble, trying again", file=str(stream.folder), error=str(error))
        stream.let_go()
        self._adopted.popleft()
        self._left_until_s[stream.stream_id] = time.monotonic() + _TRY_AGAIN_S

    # --- what was refused ---

    def park(self, parcel: Parcel, start: int, stop: int, reason: str, rejected: int) -> Path:
        """Park records that a peer refused. Raises UnwritableError.

        A parked file that is refused as a whole stays where it is. A part of one gets a file of its own; a crash before
        the rest is answered for leaves it in both.
        """
        source = parcel.source
        if isinstance(source, _Parked):
            if stop - start == len(parcel.records):
                source.stays = True
                return source.path
            assert source.header is not None  # it was read when the parcel was made
            numbered = [(entry.number, entry.payload) for entry in source.entries[start:stop]]
            return self._pools.park(source.header, numbered, reason, rejected)
        batch: Batch = source.batch
        return self._pools.park(batch.header, batch.numbered(start, stop), reason, rejected)

    def retry(self, paths: Sequence[Path]) -> int:
        """Send parked files again; returns how many records. Such as cannot be read stay parked."""
        count = 0
        for path in paths:
            parcel = self._parked_parcel(_Parked(path, 0))
            if parcel is not None:
                # Read again when its turn comes: many files are more than should be held in memory.
                count += len(parcel.records)
                self._retried += len(parcel.records)  # first, for the sender may be done with it at once
                self._parked.append(_Parked(path, len(parcel.records)))
        return count

    def let_go(self) -> None:
        """Leave all streams to the next process."""
        for stream in self._adopted:
            stream.let_go()
        self._adopted.clear()

    def abandon(self) -> None:
        """In a child just forked: they are the parent's."""
        for stream in self._adopted:
            stream.abandon()


def note_delivered(delivered: Callable[[Batch], None], batch: Batch) -> None:
    """Note that a batch is delivered; where the disk does not take that, it goes on all the same."""
    try:
        delivered(batch)
    except OSError as error:
        report("warning", "how far a stream is delivered cannot be noted; a crash sends it again", error=str(error))
