"""The stream that this process writes: numbers, and spool files that hold the records under them.

A record has its number when it is durable, and not before: what fails takes none, and the next record gets it.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from otel_audit.disk import TMP_SUFFIX, AppendFile, Disk
from otel_audit.errors import SpoolUnwritableError, UnwritableError
from otel_audit.spool.format import Header, Kind, format_entry, format_header
from otel_audit.spool.owner import OwnerLock
from otel_audit.spool.places import DELIVERED, OWNER, STREAMS, SegmentName

__all__ = ["FOLDER_MODE", "MODE", "OwnStream", "open_spool", "remove_stream"]

MODE, FOLDER_MODE = 0o600, 0o700
_TRIES = 10


def open_spool(root: Path, folders: Sequence[str], disk: Disk) -> None:
    """Make the spool's folders, where they are missing. Raises SpoolUnwritableError."""
    try:
        wanted = [root]
        while not wanted[-1].exists():
            wanted.append(wanted[-1].parent)
        # One that is there already may not be durable: whoever made it may have ended before it was. None of us made it
        # where the folder around it may not even be read.
        if not os.access(wanted[-1].parent, os.R_OK):
            wanted.pop()
        for folder in (*reversed(wanted), *(root / name for name in folders)):
            disk.make_folder(folder, FOLDER_MODE)
        _check_owner(root, folders)
    except (UnwritableError, OSError) as error:
        raise SpoolUnwritableError(str(error)) from error


def _check_owner(root: Path, folders: Sequence[str]) -> None:
    """Refuse what another user could have put there, to read the records or to have them written elsewhere.

    The spool itself may be a mounted volume, which root owns, or a link that we or root have made. Raises OSError.
    """
    me = os.geteuid()
    for owner in {root.lstat().st_uid, root.stat().st_uid} - {me, 0}:
        raise PermissionError(f"{root} belongs to another user ({owner})")
    for folder in (root / name for name in folders):
        status = folder.lstat()
        if stat.S_ISLNK(status.st_mode):
            raise PermissionError(f"{folder} is a link; the folders of a spool must be folders")
        if status.st_uid != me:
            raise PermissionError(f"{folder} belongs to another user ({status.st_uid})")


@dataclass(frozen=True, slots=True)
class _State:
    """What is promised: the numbers up to `last`, and `size` bytes of the newest file.

    Replaced as a whole: an exception from outside leaves the one or the other.
    """

    last: int = 0
    name: SegmentName | None = None
    size: int = 0


class OwnStream:
    """One stream's folder and the file in it that grows. Safe to use from several threads, one after the other.

    Args:
        root: the spool.
        new_stream_id: gives an id nobody else has.
        endpoint: where its records are to go.
        identity: see `destination.py`.
        resource: the serialized Resource and its schema URL, the same tuple as long as they do not change.
        stamp: makes the bytes that number a record, for a stream.
        synced: fsync what is written (durability `disk`), or leave it to the operating system (`process`).
        segment_bytes: a file of this size is finished, and the next one begun.

    Attributes:
        stream_id, folder: its name and place.

    Raises:
        SpoolUnwritableError: the folder cannot be made.
    """

    def __init__(
        self,
        root: Path,
        disk: Disk,
        *,
        new_stream_id: Callable[[], str],
        endpoint: str,
        resource: Callable[[], tuple[bytes, str]],
        stamp: Callable[[str], Callable[[int], bytes]],
        synced: bool,
        segment_bytes: int,
        identity: str = "",
    ) -> None:
        self._disk = disk
        self._endpoint, self._identity, self._resource = endpoint, identity, resource
        self._synced = synced
        self._segment_bytes = segment_bytes
        try:
            self._lock = self._born(root, new_stream_id)
        except (UnwritableError, OSError) as error:
            raise SpoolUnwritableError(str(error)) from error
        self.folder = self._lock.folder
        self.stream_id = self.folder.name
        self._stamp = stamp(self.stream_id)
        self._state = _State()
        self._file: AppendFile | None = None
        self._described: tuple[bytes, str] | None = None
        self._sequence = self._empty_bytes = 0
        # The file must not be closed under a write: its number may be another file's then.
        self._turn = threading.Lock()
        self._closed = self._lost = False

    def _born(self, root: Path, new_stream_id: Callable[[], str]) -> OwnerLock:
        """A new folder that is ours. A crash here leaves an empty one, which the next process removes."""
        for _ in range(_TRIES):
            folder = root / STREAMS / new_stream_id()
            self._disk.make_folder(folder, FOLDER_MODE)
            facts = {"pid": os.getpid(), "stream_id": folder.name}
            with suppress(FileNotFoundError, FileExistsError):  # somebody took the empty folder for a dead one
                lock = OwnerLock.create(folder, facts)
                if lock is not None:
                    return lock
        raise OSError(f"{root}: no folder of our own to be had")

    @property
    def is_lost(self) -> bool:
        """Whether somebody has removed its lock or its folder: nothing more can be written to it. What is in it stays
        with this process as long as it is not closed."""
        return self._lost

    def keep(self) -> None:
        """To be called now and then: see whether it is lost, and let nothing take it for forgotten."""
        with self._turn:
            if not self._closed and not self._lost:
                self._lost = not self._lock.is_held()
                self._lock.touch()

    @property
    def last(self) -> int:
        """The highest number given so far, 0 at first."""
        return self._state.last

    @property
    def written(self) -> tuple[SegmentName, int] | None:
        """The newest file, and how many bytes of it are as durable as promised; None before the first."""
        state = self._state
        return None if state.name is None else (state.name, state.size)

    def write(self, items: Sequence[bytes]) -> int:
        """Make records durable, all or none; returns the number of the first.

        Raises:
            UnwritableError: none of them was taken.
        """
        with self._turn:
            first = self.last + 1
            stamp = self._stamp
            entries = [
                format_entry(Kind.RECORD, number, item + stamp(number))
                for number, item in enumerate(items, start=first)
            ]
            self._append(b"".join(entries), len(items))
            return first

    def mark(self, kind: Kind, marker: bytes) -> None:
        """Write what is to be told about the stream itself; it takes no number. Raises as `write`."""
        with self._turn:
            self._append(format_entry(kind, self.last, marker), 0)

    def _append(self, content: bytes, count: int) -> None:
        try:
            file, before = self._current(), self._state
        except UnwritableError:
            self._check_held()
            raise
        after = _State(before.last + count, before.name, before.size + len(content))
        try:
            # A crash here, or before the fsync is done, leaves entries that nobody was told of, the last perhaps cut
            # off: whoever takes the stream over delivers the whole ones and passes over the rest.
            file.append(content)
            if self._synced:
                file.sync()
            # Whoever takes the folder over has replaced the lock first. So while it is ours, they have yet to read, and
            # will find what is in the file by now.
            self._check_held()
            self._state = after
        except BaseException as error:
            if self._state is before:
                self._spoilt(file, before.size)
            if isinstance(error, UnwritableError):
                self._check_held()
            raise

    def _check_held(self) -> None:
        if not self._closed and not self._lock.is_held():
            self._lost = True
        if self._lost:
            raise UnwritableError(f"somebody has removed the lock of the stream {self.stream_id}, or its folder")

    def _current(self) -> AppendFile:
        """The file to append to, at the end of what is good in it; a new one when the last one is done."""
        if self._closed or self._lost:
            raise UnwritableError(f"the stream {self.stream_id} is {'lost' if self._lost else 'closed'}")
        described = self._resource()
        if self._file is not None:
            if self._state.size < self._segment_bytes and described is self._described:
                return self._file
            self._close_file()
        return self._next(described)

    def _next(self, described: tuple[bytes, str]) -> AppendFile:
        """The next file. In place of the last one where nothing in that was ever promised: appends that fail on a full
        disk must not fill it with headers. It says no less than the one it replaces of what is void before it."""
        state = self._state
        is_again = state.name is not None and state.size == self._empty_bytes and described is self._described
        name = SegmentName(self._sequence + (0 if is_again else 1), self.last + 1)
        header = Header(self.stream_id, name.first, self._endpoint, *described, identity=self._identity)
        final = self.folder / name.format()
        tmp = final.with_name(final.name + TMP_SUFFIX)
        content = format_header(header)
        if tmp.exists():  # it could not be removed when an earlier attempt failed
            self._disk.unlink(tmp)
        file = self._disk.create(tmp, MODE)
        try:
            # A file has its name only with a whole header. A crash before leaves a .tmp, which holds no record and is
            # removed by whoever takes the stream over.
            file.append(content)
            if self._synced:
                file.sync()
            self._hold(tmp)
            self._disk.replace(tmp, final)
            if self._synced:
                # Before the first record in it is promised to anyone: else a power loss could take the file away.
                self._disk.fsync_folder(self.folder)
            self._state = _State(self.last, name, len(content))
            self._sequence, self._empty_bytes = name.sequence, len(content)
            self._described, self._file = described, file
        except BaseException:
            file.close()
            for path in (tmp,) if is_again else (tmp, final):
                with suppress(UnwritableError):
                    self._disk.unlink(path)
            raise
        return file

    def _hold(self, path: Path) -> None:
        try:
            self._lock.guard(path)
        except OSError as error:
            if error.errno is None:
                raise
            raise UnwritableError(f"cannot hold {path}: {error.strerror}") from error

    def _spoilt(self, file: AppendFile, size: int) -> None:
        """After a failed write or fsync nothing is known of the file's end, and it is never synced again.

        What was promised stands before `size`. The rest is cut off; where even that fails, or is undone by a crash, the
        next file's `first` voids it.
        """
        self._file = None
        with suppress(UnwritableError):
            file.truncate(size)
        file.close()

    def remove(self) -> None:
        """All of it is delivered, and no record will follow: leave nothing behind. Raises UnwritableError."""
        with self._turn:
            self._closed = True
            self._close_file()
            remove_stream(self.folder, self._disk)

    def close(self) -> None:
        """Let go of everything, after the write that is under way; nothing is written."""
        with self._turn:
            self._closed = True
            self._close_file()
            self._lock.release()

    def abandon(self) -> None:
        """`close` in a child just forked, of its copies: a thread that is not there may hold any lock."""
        self._closed = True
        self._close_file()
        self._lock.abandon()

    def _close_file(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def remove_stream(folder: Path, disk: Disk) -> None:
    """Remove the folder of a stream whose lock is held and whose records are all delivered. Raises UnwritableError.

    A crash within leaves an emptier folder, which the next process takes over and removes.
    """
    for path in folder.glob(f"*{TMP_SUFFIX}"):
        disk.unlink(path)
    disk.unlink(folder / DELIVERED)
    # Last, for with it goes the lock: until then nobody else can take the folder over.
    disk.unlink(folder / OWNER)
    with suppress(UnwritableError):  # somebody has just looked into it, and removes it in their turn
        disk.remove_folder(folder)
