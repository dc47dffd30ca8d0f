"""One file brought into another folder, so that it has its name there only once it is whole and durable."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from otel_audit.disk import FILE_MODE, TMP_SUFFIX, Disk
from otel_audit.errors import StorageError, UnwritableError

__all__ = ["copy_file", "link_file"]

_PIECE_BYTES = 4 << 20
_NO_LINK = {errno.EXDEV, errno.EPERM, errno.EACCES, errno.EMLINK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOENT}
"""Another file system; one without links, or a user who may not make them; too many; the name has gone."""


def copy_file(source: int, final: Path, disk: Disk) -> int:
    """Copy an open file under a new name; how many bytes that were.

    Raises:
        StorageError: the source cannot be read.
        UnwritableError: as `Disk`; a temporary file may be left.
    """
    tmp = final.with_name(final.name + TMP_SUFFIX)
    size = 0
    # A crash before the name is there leaves a temporary file, complete or not: the next backup removes it, and a log
    # that is opened on it treats it as one of its own.
    file = disk.create(tmp, FILE_MODE)
    try:
        while piece := _read(source, size, final):
            file.append(piece)
            size += len(piece)
        file.sync()
    finally:
        file.close()
    disk.publish(tmp, final)
    disk.fsync_folder(final.parent)
    # A crash here leaves both names; the temporary one goes with the next backup.
    disk.unlink(tmp)
    return size


def link_file(source: Path, final: Path, disk: Disk) -> bool:
    """Give a file a second name; whether that can be done here.

    Raises:
        UnwritableError: it could be, and failed.
    """
    try:
        # A crash here leaves the name or not; the file itself is durable since it was published.
        disk.publish(source, final)
    except UnwritableError as error:
        if isinstance(error.__cause__, OSError) and error.__cause__.errno in _NO_LINK:
            return False
        raise
    disk.fsync_folder(final.parent)
    return True


def _read(source: int, offset: int, final: Path) -> bytes:
    try:
        return os.pread(source, _PIECE_BYTES, offset)
    except OSError as error:
        raise StorageError(f"what is to become {final} cannot be read now: {error.strerror}") from error
