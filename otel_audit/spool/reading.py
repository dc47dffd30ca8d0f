"""What a stream still has to deliver, batch by batch, in order; and how far that has come.

Works on the stream that grows in this process and on one that a dead process left. Damage stops nothing: every sound
entry is given, the file that holds the damage is told of, and goes to `aside` in the end.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from struct import Struct
from typing import Literal
from zlib import crc32

from otel_audit.errors import SpoolFileError
from otel_audit.spool.format import HEAD_BYTES, Damage, Header, Kind, entry_bytes, parse_header, scan
from otel_audit.spool.places import DELIVERED, SegmentName, segments

__all__ = ["Batch", "DeliveredMark", "StreamReader", "read_header"]

_CHUNK_BYTES = 1 << 20
_CANNOT_TELL = Header("", 1, "", b"")


@dataclass(frozen=True, slots=True)
class Batch:
    """Records to send in one request: of one file, so of one Resource; or markers alone.

    Attributes:
        numbers: of each record, one after the other without a gap; for a marker the highest number given before it.
        end: where the next batch of the file begins, in bytes.
    """

    segment: SegmentName
    header: Header
    is_marker: bool
    records: tuple[bytes, ...]
    numbers: tuple[int, ...]
    end: int

    def numbered(self, start: int, stop: int) -> list[tuple[int, bytes]]:
        """(number, record) of those from `start` to `stop`."""
        return list(zip(self.numbers[start:stop], self.records[start:stop], strict=True))


class DeliveredMark:
    """How far a stream is delivered, beside its files.

    Never fsynced: an older mark after a power loss means that some is sent again, which is harmless. Written in turn to
    two places, so that a write cut short leaves the one before.
    """

    _SLOT = Struct("<IQQI")

    def __init__(self, folder: Path) -> None:
        self._path = folder / DELIVERED
        self._turn = 0

    def read(self) -> tuple[int, int, int]:
        """(sequence of the file, bytes of it that are delivered, highest number delivered); zeros at first."""
        try:
            content = self._path.read_bytes()
        except OSError:
            return 0, 0, 0
        size, found = self._SLOT.size, [(0, 0, 0)]
        for at in range(0, len(content) - size + 1, size):
            *mark, checksum = self._SLOT.unpack_from(content, at)
            if crc32(content[at : at + size - 4]) == checksum:
                found.append((mark[0], mark[1], mark[2]))
        return max(found)

    def write(self, sequence: int, offset: int, number: int) -> None:
        """Note it. Raises OSError."""
        body = self._SLOT.pack(sequence, offset, number, 0)[:-4]
        handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.pwrite(handle, body + crc32(body).to_bytes(4, "little"), self._turn * self._SLOT.size)
        finally:
            os.close(handle)
        self._turn = 1 - self._turn


Finished = Callable[[Path, SegmentName, Literal["sent", "aside"]], None]


def read_header(path: Path) -> tuple[Header, int]:
    """The header of a file, and where its entries begin. Raises SpoolFileError, OSError."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
        rest = entry_bytes(head)
        return parse_header(head + file.read(rest - len(head)) if rest else head)


class StreamReader:
    """Reads one stream's folder, one thread at a time.

    Args:
        on_finished: told of each file that is delivered to its end, and to which pool it is to go; moves it.
        on_damage: told of damage, once a file, in words.

    Attributes:
        last: the highest number seen.
        closed: whether the stream's process closed it.
    """

    def __init__(self, folder: Path, on_finished: Finished, on_damage: Callable[[Path, str], None]) -> None:
        self.folder = folder
        self._on_finished, self._on_damage = on_finished, on_damage
        self._mark = DeliveredMark(folder)
        self._ahead: deque[tuple[SegmentName, Path]] = deque()
        """Files that follow the one under way, as of the last listing: a folder may hold ten thousand."""
        self._sequence, self._offset, self.last = self._mark.read()
        self.closed = False
        self._name: SegmentName | None = None
        self._path = folder
        self._header = _CANNOT_TELL
        self._void_from: int | None = None
        self._damaged = self._unnoted = False
        self._delivered_last = self.last

    @property
    def described(self) -> tuple[bytes, str] | None:
        """The stream's serialized Resource and its schema URL; None where no file that was read tells."""
        return (self._header.resource, self._header.schema_url) if self._header.resource else None

    def next_batch(self, written: tuple[SegmentName, int] | None, max_records: int, max_bytes: int) -> Batch | None:
        """The next batch; None when there is nothing to send now. Give each batch back to `delivered` before the next.

        Args:
            written: where a growing stream's promises end; None for one that grows no more.

        Raises:
            OSError: the disk does not let it be read now.
        """
        while self._name is not None or self._open_next(written):
            growing = written is not None and written[0] == self._name
            if not growing and self._void_from is None:
                self._void_from = self._next_first()
            try:
                limit = written[1] if growing and written is not None else self._path.stat().st_size
                batch = self._read(limit, growing, max_records, max_bytes)
            except FileNotFoundError:
                self._tell("it is gone, and nobody of us removed it")
                self._name, self._offset = None, 0
                continue
            if batch is not None or growing:
                return batch
            self._finish()
        return None

    def delivered(self, batch: Batch) -> None:
        """The peer has the batch, or it is parked.

        Raises OSError, the first time, when that cannot be noted: it goes on all the same, and after a crash the batch
        is sent again.
        """
        self._offset = batch.end
        self._delivered_last = max(self._delivered_last, batch.numbers[-1])
        try:
            self._mark.write(batch.segment.sequence, batch.end, self._delivered_last)
        except OSError:
            if not self._unnoted:
                self._unnoted = True
                raise

    def finish(self) -> None:
        """The stream ends here: the file that was growing is finished as well, if all of it was given."""
        if self._name is not None:
            self._finish()

    # --- one file after the other ---

    def _open_next(self, written: tuple[SegmentName, int] | None) -> bool:
        if len(self._ahead) < 2:  # of the last one it must be known whether another one follows by now
            self._ahead = deque(segments(self.folder))
        if not self._ahead or (written is not None and self._ahead[0][0] > written[0]):
            return False
        name, path = self._ahead[0]
        try:
            self._open(path, self._offset if name.sequence == self._sequence else 0)
        except FileNotFoundError:
            self._ahead.clear()
            if os.path.lexists(path):
                raise
            return self._open_next(written)  # somebody removed it since it was listed
        self._ahead.popleft()
        self._sequence, self._name, self._path = name.sequence, name, path
        self._void_from = self._ahead[0][0].first if self._ahead else None
        self.last = max(self.last, name.first - 1)
        return True

    def _open(self, path: Path, offset: int) -> None:
        self._path, self._damaged = path, False
        try:
            self._header, begin = read_header(path)
        except SpoolFileError as error:
            # Its records are whole in themselves; only the service they come from is known no more, unless a file
            # before it has told.
            self._header = replace(self._header, stream_id=self.folder.name)
            self._tell(str(error))
            begin = 0
        self._offset = max(offset, begin)
        if self._offset > begin:
            self._look_back(begin)

    def _look_back(self, begin: int) -> None:
        """Whoever delivered the beginning of the file may have ended before it could set it aside for its damage."""
        with self._path.open("rb") as file:
            content = file.read(self._offset)
            is_all = not file.read(1)
        for found in scan(content, begin):
            if isinstance(found, Damage) and not (found.at_end and is_all):
                self._tell(f"{found.end - found.start} bytes at {found.start} are damaged")

    def _next_first(self) -> int | None:
        if not self._ahead:
            self._ahead = deque(file for file in segments(self.folder) if self._name and file[0] > self._name)
        return self._ahead[0][0].first if self._ahead else None

    def _finish(self) -> None:
        assert self._name is not None
        name, path = self._name, self._path
        if self._void_from is not None and not self._damaged and self.last + 1 < self._void_from:
            self._tell(f"records {self.last + 1}-{self._void_from - 1} are not in it")
        # A crash after the move leaves a mark that belongs to no file any more: the next one begins at its beginning.
        self._on_finished(path, name, "aside" if self._damaged else "sent")
        self._name, self._offset = None, 0

    # --- entries ---

    def _read(self, limit: int, growing: bool, max_records: int, max_bytes: int) -> Batch | None:
        """A batch from the place where the last one ended; None when nothing is left before `limit`."""
        want = _CHUNK_BYTES
        with self._path.open("rb") as file:
            while self._offset < limit:
                file.seek(self._offset)
                content = file.read(min(want, limit - self._offset))
                whole = self._offset + len(content) >= limit
                batch, end = self._parse(content, whole, growing, max_records, max_bytes)
                if batch is not None:
                    return batch
                if end:
                    self._offset += end  # nothing in it to be sent
                elif not content:
                    break
                else:
                    want *= 4  # one entry is longer than all of that
        return None

    def _parse(
        self, content: bytes, whole: bool, growing: bool, max_records: int, max_bytes: int
    ) -> tuple[Batch | None, int]:
        """(a batch, where it ends), or (None, how many bytes are done with)."""
        records: list[bytes] = []
        numbers: list[int] = []
        is_marker = False
        size = end = 0
        for entry in scan(content):
            if isinstance(entry, Damage):
                if entry.at_end and not whole:
                    break  # only cut by where reading stopped
                self._damage(entry, growing)
                end = entry.end
                continue
            marks = entry.kind != Kind.RECORD
            size += len(entry.payload)
            if records and (
                len(records) >= max_records
                or size > max_bytes
                or marks != is_marker
                or not (marks or entry.number == numbers[-1] + 1)
            ):
                break
            end = entry.end
            if marks and entry.kind not in (Kind.MARKER, Kind.CLOSED):
                continue
            if not marks:
                if self._void_from is not None and entry.number >= self._void_from:
                    size -= len(entry.payload)
                    continue
                if entry.number > self.last + 1 and not self._damaged:
                    self._tell(f"records {self.last + 1}-{entry.number - 1} are not in it")
                self.last = max(self.last, entry.number)
            self.closed = entry.kind == Kind.CLOSED
            is_marker = marks
            records.append(entry.payload)
            numbers.append(entry.number)
        if not records or self._name is None:
            return None, end
        batch = Batch(self._name, self._header, is_marker, tuple(records), tuple(numbers), self._offset + end)
        return batch, end

    def _damage(self, damage: Damage, growing: bool) -> None:
        if damage.at_end and not growing:
            return  # a write that was cut short; where records are missing because of it, `_finish` sees that
        self._tell(f"{damage.end - damage.start} bytes at {self._offset + damage.start} are damaged")

    def _tell(self, what: str) -> None:
        if not self._damaged:
            self._damaged = True
            self._on_damage(self._path, what)
