"""Whose a data folder is: it is written only by the user it belongs to, and never through a planted link.

What another user owns, that user can replace at any moment by a link to something of ours; and what root writes into
somebody's folder, that somebody's collector could neither read nor remove. So root is refused as well as anybody; a
folder that root owns is fine for all, for root can do anything anyway (volumes are often mounted that way).
"""

from __future__ import annotations

import errno
import os
import pwd
import stat
from pathlib import Path

from otel_audit.errors import StorageError, WrongOwnerError

__all__ = ["open_lock", "refuse_others"]

_ROOT = 0
_SAFELY = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def refuse_others(*folders: Path) -> None:
    """Refuse folders that belong to another user; those that are not there yet are passed over. Links to folders are
    followed, for it is what stands at their end that is written.

    Raises:
        WrongOwnerError: naming the folder and its owner.
        StorageError: it cannot be looked at.
    """
    for folder in folders:
        try:
            owner = folder.stat().st_uid
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise StorageError(f"cannot look at {folder}: {error.strerror}") from error
        if owner not in {os.geteuid(), _ROOT}:
            raise _wrong_owner(folder, owner)


def open_lock(path: Path, flags: int) -> int:
    """Open a lock file without following a link, and without waiting should it be a pipe.

    Raises:
        WrongOwnerError: it is no regular file, or belongs to another user.
        OSError: as `os.open`.
    """
    try:
        handle = os.open(path, flags | _SAFELY, 0o640)
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.EMLINK}:  # what a link is answered with, by Linux and macOS or by BSD
            raise WrongOwnerError(f"{path} is a symbolic link, and no lock file of otel-audit") from error
        if error.errno in {errno.EISDIR, errno.ENXIO}:
            raise WrongOwnerError(f"{path} is no regular file, and so no lock file of otel-audit") from error
        raise
    status = os.fstat(handle)
    if stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid():
        return handle
    os.close(handle)
    if not stat.S_ISREG(status.st_mode):
        raise WrongOwnerError(f"{path} is no regular file, and so no lock file of otel-audit")
    raise _wrong_owner(path, status.st_uid)


def _wrong_owner(path: Path, owner: int) -> WrongOwnerError:
    return WrongOwnerError(f"{path} belongs to {_user(owner)}, and this process runs as {_user(os.geteuid())}")


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"
