"""Every change to the disk goes through here, so that each kind of failure can be injected in one place.

The order that makes a file durable (write, fsync, folder fsync, publish, folder fsync) is the caller's business; the
comments there say what a crash at each step means.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from otel_audit.errors import UnwritableError

__all__ = ["FILE_MODE", "FOLDER_MODE", "TMP_SUFFIX", "Disk"]

FOLDER_MODE = 0o750
FILE_MODE = 0o440
TMP_SUFFIX = ".tmp"


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
                os.fsync(handle)
            finally:
                os.close(handle)
        except OSError as error:
            with suppress(OSError):
                path.unlink()
            raise _unwritable("write", path, error) from error

    def fsync_folder(self, folder: Path) -> None:
        """Make the folder's entries durable."""
        try:
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
        except OSError as error:
            raise _unwritable("fsync the folder", folder, error) from error

    def fsync_file(self, path: Path) -> None:
        """Make a file of unknown history durable (recovery adopts only what it has fsynced itself)."""
        try:
            handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(handle)
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

    def make_folder(self, folder: Path) -> None:
        """Create a folder and fsync its parent, so that no file in it can outlive the folder's own entry.

        The parent of one that is there already is fsynced too: whoever made it may have ended before it was.
        """
        try:
            folder.mkdir(mode=FOLDER_MODE, exist_ok=True)
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
    return UnwritableError(f"cannot {verb} {path}: {error.strerror or error}")
