"""This process's own stream in the spool: what appends write to it, and what the sender reads back from it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from otel_audit.delivery.backlog import note_delivered
from otel_audit.delivery.marking import Mark
from otel_audit.delivery.notices import report
from otel_audit.delivery.parcel import Parcel
from otel_audit.disk import is_full
from otel_audit.errors import SpoolUnwritableError, UnwritableError
from otel_audit.spool.format import Kind
from otel_audit.spool.group import GroupCommit
from otel_audit.spool.pools import Pools
from otel_audit.spool.reading import Batch, StreamReader
from otel_audit.spool.stream import OwnStream

__all__ = ["Own"]

_STREAMS_TRIED = 3


@dataclass(frozen=True, slots=True)
class _Opened:
    """A stream; `before`: how many records this process had written to others."""

    stream: OwnStream
    commit: GroupCommit
    reader: StreamReader
    before: int


class Own:
    """`write` and `end` are for any thread, the rest for the sender's.

    A stream is made with the first record: a process that only reads, or only forks workers, has none. Should somebody
    remove its lock, or all of it, another one is made and the first is read to its end. The numbers given here go on
    from one to the next.

    Args:
        open_stream: makes a stream, new and empty.
        mark: makes a marker: stream, state, highest number given.
        resource: for markers, the serialized Resource and its schema URL.
        on_damage: told of damage, file and words.
        on_apart: told of a stream that holds records which were appended from within an append, and their count.
    """

    def __init__(
        self,
        open_stream: Callable[[], OwnStream],
        pools: Pools,
        mark: Mark,
        resource: Callable[[], tuple[bytes, str]],
        on_damage: Callable[[Path, str], None],
        on_apart: Callable[[str, int], None],
    ) -> None:
        self._new_stream, self._pools = open_stream, pools
        self._mark, self._resource = mark, resource
        self._on_damage, self._on_apart = on_damage, on_apart
        self._lock = threading.RLock()
        self._streams: tuple[_Opened, ...] = ()
        """Those that are not read to their end. All but the last one are lost, and perhaps that one as well."""
        self._before = 0
        self._reader: StreamReader | None = None
        """Of the batch that is under way."""
        self._ended = self._finished = False
        self._untold: deque[bytes] = deque()

    @property
    def _newest(self) -> _Opened | None:
        streams = self._streams
        return streams[-1] if streams else None

    @property
    def stream_id(self) -> str | None:
        """The name of the stream that is written; None before the first record."""
        newest = self._newest
        return None if newest is None else newest.stream.stream_id

    @property
    def folder(self) -> Path | None:
        """Its place; None before the first record."""
        newest = self._newest
        return None if newest is None else newest.stream.folder

    @property
    def folders(self) -> frozenset[Path]:
        """The places of all that are not read to their end."""
        return frozenset(opened.stream.folder for opened in self._streams)

    @property
    def last(self) -> int:
        """The highest number given, 0 at first."""
        newest = self._newest
        return self._before if newest is None else newest.before + newest.stream.last

    @property
    def is_finished(self) -> bool:
        """Whether nothing is left of it, or there never was anything."""
        return self._finished or not self._streams

    # --- in ---

    def write(self, records: Sequence[bytes]) -> int:
        """Make records as durable as promised; returns the number of the first. Raises SpoolUnwritableError.

        0 when this very thread is in the middle of it already, and a finalizer or a signal handler asks. It cannot wait
        for what it has interrupted, so its records go into a stream apart, left as if by a dead process.
        """
        for left in reversed(range(_STREAMS_TRIED)):
            opened = self._writable()
            try:
                first = self._submit(opened.commit, records)
            except SpoolUnwritableError:
                if not (opened.stream.is_lost and left):
                    raise
            else:
                if first:
                    return opened.before + first
                break
        self._write_apart(self._open_stream(), records)
        return 0

    def _submit(self, commit: GroupCommit, records: Sequence[bytes]) -> int:
        try:
            return commit.submit(records)
        except SpoolUnwritableError as error:
            if not is_full(error):
                raise
            # Copies that are only kept must not stand in the way of a record.
            with suppress(OSError):
                self._pools.expire(keep_bytes=0)
            return commit.submit(records)

    def _writable(self) -> _Opened:
        newest = self._newest
        if newest is not None and not newest.stream.is_lost:
            return newest
        with self._lock:
            newest = self._newest
            if newest is None or newest.stream.is_lost:
                if newest is not None:
                    report(
                        "error",
                        "somebody has removed the lock of a stream in the spool, or its folder; a new one is begun",
                        stream=newest.stream.stream_id,
                    )
                self._begin_with(self._open_stream(), newest)
            assert self._newest is not None
            return self._newest

    def _begin_with(self, stream: OwnStream, before: _Opened | None) -> None:
        if self._newest is not before:  # a finalizer appended meanwhile; whoever looks round removes the empty one
            stream.close()
            return
        reader = StreamReader(
            stream.folder,
            lambda path, name, pool: self._pools.take_in(path, stream.stream_id, name, pool),
            self._on_damage,
        )
        # Nothing is written to a lost one any more, so its numbers end here.
        self._before = self.last
        self._streams = (*self._streams, _Opened(stream, GroupCommit(stream), reader, self._before))

    def _open_stream(self) -> OwnStream:
        self._pools.mend()
        return self._new_stream()

    def _write_apart(self, stream: OwnStream, records: Sequence[bytes]) -> None:
        try:
            stream.write(records)
            self._write_end(stream)
        except UnwritableError as error:
            raise SpoolUnwritableError(str(error)) from error
        finally:
            stream.close()
        self._on_apart(stream.stream_id, len(records))

    # --- out ---

    def next_parcel(self, max_records: int, max_bytes: int) -> Parcel | None:
        """What is to be sent next. Raises OSError, UnwritableError."""
        while streams := self._streams:
            opened = streams[0]
            batch = self._batch_of(opened, max_records, max_bytes)
            if batch is not None:
                self._reader = opened.reader
                header, first = batch.header, 0 if batch.is_marker else opened.before + batch.numbers[0]
                return Parcel(header.resource, header.schema_url, batch.records, first, batch.is_marker, batch)
            if not opened.stream.is_lost:
                break
            self._leave(opened)
        return self._marker(self._untold.popleft()) if self._untold else None

    def _batch_of(self, opened: _Opened, max_records: int, max_bytes: int) -> Batch | None:
        if (written := opened.stream.written) is None:
            return None
        try:
            return opened.reader.next_batch(written, max_records, max_bytes)
        except FileNotFoundError:
            if opened.stream.folder.is_dir():
                raise
            opened.stream.keep()
            return None

    def _leave(self, opened: _Opened) -> None:
        """A lost stream is read to its end. Raises OSError, UnwritableError."""
        opened.reader.finish()
        opened.stream.remove()
        opened.stream.close()
        if opened.stream.last:
            self._untold.append(self._mark(opened.stream.stream_id, "closed", opened.stream.last))
        with self._lock:
            self._before = self.last
            self._streams = self._streams[1:]

    def look_round(self) -> None:
        """To be called now and then. Raises SpoolUnwritableError."""
        self._pools.mend()
        for opened in self._streams:
            opened.stream.keep()

    def heartbeat(self) -> Parcel | None:
        """The word how far the stream is; None before the first record."""
        newest = self._newest
        if newest is None:
            return None
        return self._marker(self._mark(newest.stream.stream_id, "open", newest.stream.last))

    def _marker(self, marker: bytes) -> Parcel:
        return Parcel(*self._resource(), (marker,), 0, True)

    def end_part(self, parcel: Parcel, stop: int) -> None:
        """A part of a parcel, up to `stop`, is delivered or parked."""
        if parcel.source is not None and self._reader is not None and stop == len(parcel.records):
            note_delivered(self._reader.delivered, parcel.source)

    def park(self, parcel: Parcel, start: int, stop: int, reason: str, rejected: int) -> Path:
        """Park records that the peer refused. Raises UnwritableError."""
        batch = parcel.source
        return self._pools.park(batch.header, batch.numbered(start, stop), reason, rejected)

    def end(self) -> None:
        """No record follows: say so in the file, lest it be unknown if this process cannot deliver it any more. For any
        thread; a second call does nothing."""
        with self._lock:
            newest = self._newest
            if newest is not None and not newest.stream.is_lost and not self._ended:
                self._ended = True
                if (untold := self._write_end(newest.stream)) is not None:
                    self._untold.append(untold)

    def _write_end(self, stream: OwnStream) -> bytes | None:
        """The marker, where the disk does not take it: the stream is whole without it, only not known to be."""
        marker = self._mark(stream.stream_id, "closed", stream.last)
        try:
            stream.mark(Kind.CLOSED, marker)
        except UnwritableError as error:
            if stream.is_lost:
                return None  # told when it is read to its end
            report("warning", "the end of a stream could not be noted", stream=stream.stream_id, error=str(error))
            return marker
        return None

    def finish(self) -> None:
        """All of it is delivered, and it is ended: leave nothing behind. Raises OSError, UnwritableError."""
        for opened in self._streams:
            opened.reader.finish()
            opened.stream.remove()
            opened.stream.close()
        self._finished = True

    def let_go(self) -> None:
        """Leave it to the next process."""
        for opened in self._streams:
            opened.stream.close()

    def abandon(self) -> None:
        """In a child just forked: it is the parent's."""
        for opened in self._streams:
            opened.stream.abandon()
