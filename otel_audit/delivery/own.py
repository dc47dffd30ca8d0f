"""This process's own stream in the spool: what appends write to it, and what the sender reads back from it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
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
from otel_audit.spool.reading import StreamReader
from otel_audit.spool.stream import OwnStream

__all__ = ["Own"]


@dataclass(frozen=True, slots=True)
class _Opened:
    stream: OwnStream
    commit: GroupCommit
    reader: StreamReader


class Own:
    """`write` and `end` are for any thread, the rest for the sender's.

    The stream is made with the first record: a process that only reads, or only forks workers, has none.

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
        self._open_stream, self._pools = open_stream, pools
        self._mark, self._resource = mark, resource
        self._on_damage, self._on_apart = on_damage, on_apart
        self._lock = threading.RLock()
        self._opened: _Opened | None = None
        self._ended = self._finished = False
        self._untold: bytes | None = None

    @property
    def stream_id(self) -> str | None:
        """Its name; None before the first record."""
        return None if self._opened is None else self._opened.stream.stream_id

    @property
    def folder(self) -> Path | None:
        """Its place; None before the first record."""
        return None if self._opened is None else self._opened.stream.folder

    @property
    def last(self) -> int:
        """The highest number given, 0 at first."""
        return 0 if self._opened is None else self._opened.stream.last

    @property
    def is_finished(self) -> bool:
        """Whether nothing is left of it, or there never was anything."""
        return self._finished or self._opened is None

    # --- in ---

    def write(self, records: Sequence[bytes]) -> int:
        """Make records as durable as promised; returns the number of the first. Raises SpoolUnwritableError.

        0 when this very thread is in the middle of it already, and a finalizer or a signal handler asks. It cannot wait
        for what it has interrupted, so its records go into a stream apart, left as if by a dead process.
        """
        commit = (self._opened or self._begin()).commit
        try:
            first = commit.submit(records)
        except SpoolUnwritableError as error:
            if not is_full(error):
                raise
            # Copies that are only kept must not stand in the way of a record.
            self._pools.expire(keep_bytes=0)
            first = commit.submit(records)
        if not first:
            self._write_apart(self._open_stream(), records)
        return first

    def _begin(self) -> _Opened:
        with self._lock:
            if self._opened is None:
                self._begin_with(self._open_stream())
            assert self._opened is not None
            return self._opened

    def _begin_with(self, stream: OwnStream) -> None:
        if self._opened is not None:  # a finalizer appended meanwhile; whoever looks round removes the empty one
            stream.close()
            return
        reader = StreamReader(
            stream.folder,
            lambda path, name, pool: self._pools.take_in(path, stream.stream_id, name, pool),
            self._on_damage,
        )
        self._opened = _Opened(stream, GroupCommit(stream), reader)

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
        opened = self._opened
        if opened is None or (written := opened.stream.written) is None:
            return None
        batch = opened.reader.next_batch(written, max_records, max_bytes)
        if batch is None:
            untold, self._untold = self._untold, None
            return None if untold is None else self._marker(untold)
        header, first = batch.header, 0 if batch.is_marker else batch.numbers[0]
        return Parcel(header.resource, header.schema_url, batch.records, first, batch.is_marker, batch)

    def heartbeat(self) -> Parcel | None:
        """The word how far the stream is; None before the first record."""
        if self._opened is None:
            return None
        stream = self._opened.stream
        return self._marker(self._mark(stream.stream_id, "open", stream.last))

    def _marker(self, marker: bytes) -> Parcel:
        return Parcel(*self._resource(), (marker,), 0, True)

    def end_part(self, parcel: Parcel, stop: int) -> None:
        """A part of a parcel, up to `stop`, is delivered or parked."""
        if parcel.source is not None and self._opened is not None and stop == len(parcel.records):
            note_delivered(self._opened.reader.delivered, parcel.source)

    def park(self, parcel: Parcel, start: int, stop: int, reason: str, rejected: int) -> Path:
        """Park records that the peer refused. Raises UnwritableError."""
        batch = parcel.source
        return self._pools.park(batch.header, batch.numbered(start, stop), reason, rejected)

    def end(self) -> None:
        """No record follows: say so in the file, lest it be unknown if this process cannot deliver it any more. For any
        thread; a second call does nothing."""
        with self._lock:
            if self._opened is not None and not self._ended:
                self._ended = True
                self._untold = self._write_end(self._opened.stream)

    def _write_end(self, stream: OwnStream) -> bytes | None:
        """The marker, where the disk does not take it: the stream is whole without it, only not known to be."""
        marker = self._mark(stream.stream_id, "closed", stream.last)
        try:
            stream.mark(Kind.CLOSED, marker)
        except UnwritableError as error:
            report("warning", "the end of a stream could not be noted", stream=stream.stream_id, error=str(error))
            return marker
        return None

    def finish(self) -> None:
        """All of it is delivered, and it is ended: leave nothing behind. Raises OSError, UnwritableError."""
        if self._opened is not None:
            self._opened.reader.finish()
            self._opened.stream.remove()
            self._opened.stream.close()
        self._finished = True

    def let_go(self) -> None:
        """Leave it to the next process."""
        if self._opened is not None:
            self._opened.stream.close()

    def abandon(self) -> None:
        """In a child just forked: it is the parent's."""
        if self._opened is not None:
            self._opened.stream.abandon()
