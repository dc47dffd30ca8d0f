"""Every change to the disk goes through here, so that each kind of failure can be injected in one place.

The order that makes a file durable (write, fsync, folder fsync, publish, folder fsync) is the caller's business; the
comments there say what a crash at each step means.
"""

from __future__ import annotations

import errno
import fcntl
import os
from contextlib import suppress
from pathlib import Path

from otel_audit.errors import UnwritableError

__all__ = ["FILE_MODE", "FOLDER_MODE", "TMP_SUFFIX", "AppendFile", "Disk", "is_full", "sync_handle"]

FOLDER_MODE = 0o750
FILE_MODE = 0o440
TMP_SUFFIX = ".tmp"
_FULL_SYNC: int | None = getattr(fcntl, "F_FULLFSYNC", None)
_FULL = {errno.ENOSPC, errno.EDQUOT}
_WITHOUT_FULL_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOTTY}


def sync_handle(handle: int) -> None:
    """Make a file or folder survive power loss. Raises OSError.

    On macOS fsync leaves the data in the drive's cache; F_FULLFSYNC has the drive write it down. A file system that
    does not know it gets the plain fsync; any other failure is one, and nothing is synced a second time after it.
    """
    if _FULL_SYNC is not None:
        try:
            fcntl.fcntl(handle, _FULL_SYNC)
            return
        except OSError as error:
            if error.errno not in _WITHOUT_FULL_SYNC:
                raise
    os.fsync(handle)


def is_full(error: BaseException | None) -> bool:
    """Whether a write failed for want of room."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _FULL:
            return True
        error = error.__cause__
    return False


class AppendFile:
    """A file that only grows, held open by its one writer. Every method raises UnwritableError naming the path."""

    def __init__(self, path: Path, handle: int) -> None:
        self.path = path
        self._handle = handle

    def append(self, content: bytes) -> None:
        """Write at the end; the operating system has it then. After an error some of it may be there."""
        try:
            if not os.fstat(self._handle).st_nlink:  # else all that follows would be lost without a word
                raise FileNotFoundError(errno.ENOENT, "somebody has removed it")
            view = memoryview(content)
            while view:
                view = view[os.write(self._handle, view) :]
        except OSError as error:
            raise _unwritable("write", self.path, error) from error

    def sync(self) -> None:
        """Make all that was appended durable; never to be called again after it failed."""
        try:
            sync_handle(self._handle)
        except OSError as error:
            raise _unwritable("fsync", self.path, error) from error

    def truncate(self, size: int) -> None:
        """Cut the file back to a size in bytes."""
        try:
            os.ftruncate(self._handle, size)
        except OSError as error:
            raise _unwritable("cut back", self.path, error) from error

    def close(self) -> None:
        """Let go of the file; what it holds stays as it is."""
        if self._handle >= 0:
            handle, self._handle = self._handle, -1
            with suppress(OSError):
                os.close(handle)


class Disk:
    """The real file system. Every method raises UnwritableError naming the path; none hides a failure."""

    def write_new(self, path: Path, content: bytes | memoryview, mode: int = FILE_MODE) -> None:
        """Create a file that does not exist yet, write all of it and fsync it.

        After an error the file is gone again where that was possible; it is never fsynced a second time, because
        the kernel may have dropped the dirty pages that the first fsync failed on.
        """
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
        except OSError as error:
            raise _unwritable("create", path, error) from error
        try:
            try:
                view = memoryview(content)
                while view:
                    view = view[os.write(handle, view) :]
                os.fchmod(handle, mode)
                sync_handle(handle)
            finally:
                os.close(handle)
        except OSError as error:
            with suppress(OSError):
                path.unlink()
            raise _unwritable("write", path, error) from error

    def create(self, path: Path, mode: int) -> AppendFile:
        """Create a file that does not exist yet, to be appended to."""
        try:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            return AppendFile(path, os.open(path, flags, mode))
        except OSError as error:
            raise _unwritable("create", path, error) from error

    def fsync_folder(self, folder: Path) -> None:
        """Make the folder's entries durable."""
        try:
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                sync_handle(handle)
            finally:
                os.close(handle)
        except OSError as error:
            raise _unwritable("fsync the folder", folder, error) from error

    def fsync_file(self, path: Path) -> None:
        """Make a file of unknown history durable (recovery adopts only what it has fsynced itself)."""
        try:
            handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                sync_handle(handle)
            finally:
                os.close(handle)
        except OSError as error:
            raise _unwritable("fsync", path, error) from error

    def publish(self, tmp: Path, final: Path) -> None:
        """Give a finished file its name as well, never replacing another.

        A hard link is the portable no-replace rename. The caller takes the temporary name away once the new one is
        durable: no order of the two on the disk can then lose both.
        """
        try:
            os.link(tmp, final)
        except OSError as error:
            raise _unwritable("publish", final, error) from error

    def replace(self, tmp: Path, final: Path) -> None:
        """Give a finished file its name, in place of an older one (only for state that can be rebuilt)."""
        try:
            tmp.replace(final)
        except OSError as error:
            raise _unwritable("replace", final, error) from error

    def unlink(self, path: Path) -> None:
        """Remove a name; one that is gone already is fine."""
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise _unwritable("remove", path, error) from error

    def remove_folder(self, folder: Path) -> None:
        """Remove an empty folder."""
        try:
            folder.rmdir()
        except OSError as error:
            raise _unwritable("remove the folder", folder, error) from error

    def make_folder(self, folder: Path, mode: int = FOLDER_MODE) -> None:
        """Create a folder and fsync its parent, so that no file in it can outlive the folder's own entry.

        The parent of one that is there already is fsynced too: whoever made it may have ended before it was.
        """
        try:
            folder.mkdir(mode=mode, exist_ok=True)
        except OSError as error:
            raise _unwritable("create the folder", folder, error) from error
        self.fsync_folder(folder.parent)

    def free_bytes(self, folder: Path) -> int:
        """Bytes that may still be written."""
        try:
            stat = os.statvfs(folder)
        except OSError as error:
            raise _unwritable("look at", folder, error) from error
        return stat.f_bavail * stat.f_frsize


def _unwritable(verb: str, path: Path, error: OSError) -> UnwritableError:
    if error.errno is None:
        raise error  # no call to the system failed: a signal handler has raised it, a TimeoutError perhaps
    return UnwritableError(f"cannot {verb} {path}: {error.strerror or error}")
