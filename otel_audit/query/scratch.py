"""Where DuckDB puts what does not fit in memory: rows of the log, so a private folder that does not outlive its use.

Made by `mkdtemp`: nobody can know its name beforehand, and nobody but this user can enter it. It is removed when it is
closed, and at the latest when the process ends. One whose process was killed is removed by the next one that is made:
each holds a file that its process keeps locked.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import tempfile
import weakref
from contextlib import suppress
from pathlib import Path

from otel_audit.errors import ReaderUnavailableError

__all__ = ["Scratch"]

_PREFIX = "otel-audit-query-"
_LOCK = "lock"


class Scratch:
    """A temporary folder of this process's own.

    Raises:
        ReaderUnavailableError: none can be made.
    """

    def __init__(self) -> None:
        _remove_abandoned(Path(tempfile.gettempdir()))
        try:
            self.path, handle = _made()
            while not (self.path / _LOCK).exists():
                # Somebody took it for abandoned before it was locked.
                os.close(handle)
                self.path, handle = _made()
        except OSError as error:
            raise ReaderUnavailableError(f"no folder for temporary files can be made: {error}") from error
        # At exit, too; a forked child must leave its parent's folder alone.
        self._finalizer = weakref.finalize(self, _remove, self.path, handle, os.getpid())

    def close(self) -> None:
        """Remove it; a second call does nothing."""
        self._finalizer()


def _made() -> tuple[Path, int]:
    path = Path(tempfile.mkdtemp(prefix=_PREFIX))
    handle = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    fcntl.flock(handle, fcntl.LOCK_EX)
    return path, handle


def _remove(path: Path, handle: int, pid: int) -> None:
    if os.getpid() == pid:
        shutil.rmtree(path, ignore_errors=True)
        os.close(handle)


def _remove_abandoned(folder: Path) -> None:
    """Remove this user's folders whose processes have ended. Nothing here is worth an error."""
    with suppress(OSError):
        for path in folder.glob(f"{_PREFIX}*"):
            with suppress(OSError):
                _remove_if_abandoned(path)


def _remove_if_abandoned(path: Path) -> None:
    status = path.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
        return
    # Without a lock file it is being made this moment, or another release's, which had none.
    handle = os.open(path / _LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(path, ignore_errors=True)
    finally:
        os.close(handle)
