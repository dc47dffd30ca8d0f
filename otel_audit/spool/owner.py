"""Who owns a stream's folder: the process that holds the lock on its file `owner`.

Whatever sweeps old files away may remove `owner` under a living process. The owner notices that (`is_held`); and for
whoever comes before it does, it holds its newest spool files as well.

The lock goes with the process, however that ends; then the next process that looks may take the stream over. It is
bound to the open file, which a forked child inherits: so every child closes its copies as it begins, else the parent's
stream would stay locked as long as the child lives. Two owners in one process exclude each other as well.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from otel_audit.spool.places import OWNER, segments

__all__ = ["OwnerLock", "is_owned", "owner_facts"]

# Held while a file is open whose lock nobody knows of yet: a fork waits for that moment to pass.
_turn = threading.RLock()
_held: set[OwnerLock] = set()
_GUARDS = 2


class OwnerLock:
    """A held lock."""

    def __init__(self, folder: Path, handle: int) -> None:
        self.folder = folder
        self._handle = handle
        self._path = folder / OWNER
        self._guards: list[int] = []
        _held.add(self)

    @classmethod
    def create(cls, folder: Path, facts: Mapping[str, Any]) -> OwnerLock | None:
        """Be the first owner of a folder that was just made; None if somebody was faster.

        The facts (who it is) are for people; nothing depends on them, so they need not be durable. Raises OSError.
        """
        lock = cls._locked(folder, os.O_EXCL)
        if lock is not None:
            with suppress(OSError):
                os.write(lock._handle, json.dumps(dict(facts)).encode() + b"\n")
        return lock

    @classmethod
    def take_over(cls, folder: Path) -> OwnerLock | None:
        """The lock on a folder whose owner is gone; None while there is one, or when the folder has gone too. Raises
        OSError."""
        try:
            lock = cls._locked(folder, 0)
        except FileNotFoundError:
            return None
        if lock is None:
            return None
        try:
            if not _is_guarded(folder):
                return lock
        except FileNotFoundError:
            pass
        except BaseException:
            lock.release()
            raise
        lock.release()
        return None

    @classmethod
    def _locked(cls, folder: Path, flags: int) -> OwnerLock | None:
        with _turn:
            handle = os.open(folder / OWNER, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | flags, 0o600)
            lock = cls(folder, handle)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # Before it was locked another process may have removed the whole folder: then this locks nothing.
                if os.path.samestat((folder / OWNER).stat(), os.fstat(handle)):
                    return lock
            except (BlockingIOError, FileNotFoundError):
                pass
            except BaseException:
                lock.release()
                raise
            lock.release()
            return None

    def is_held(self) -> bool:
        """Whether this lock is still the folder's: somebody may have removed the file or the whole folder, and another
        process may have made and locked its own since."""
        try:
            return os.path.samestat(self._path.stat(), os.fstat(self._handle))
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            return error.errno != errno.EBADF  # else it cannot be looked at now, which says nothing

    def guard(self, path: Path) -> None:
        """Hold a spool file of the folder as well, and the one before it: while the next one gets its name there is
        always one that is held. Raises OSError."""
        with _turn:
            handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            self._guards.append(handle)
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            while len(self._guards) > _GUARDS:
                os.close(self._guards.pop(0))

    def touch(self) -> None:
        """Let nothing that goes by a file's age take what is held for forgotten."""
        for handle in (self._handle, *self._guards):
            with suppress(OSError):
                os.utime(handle)
        with suppress(OSError):
            os.utime(self.folder)

    def release(self) -> None:
        """Let go."""
        with _turn:
            self.abandon()

    def abandon(self) -> None:
        """Let go of the copy that a forked child has."""
        _held.discard(self)
        if self._handle >= 0:
            handle, self._handle = self._handle, -1
            with suppress(OSError):  # a daemon has closed all there was
                os.close(handle)
        while self._guards:
            with suppress(OSError):
                os.close(self._guards.pop())


def _in_a_child() -> None:
    for lock in tuple(_held):
        lock.abandon()
    _turn.release()


os.register_at_fork(before=_turn.acquire, after_in_parent=_turn.release, after_in_child=_in_a_child)


def owner_facts(folder: Path) -> dict[str, Any]:
    """What the owner wrote about itself, {} if nothing can be read."""
    try:
        facts = json.loads((folder / OWNER).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return facts if isinstance(facts, dict) else {}


def is_owned(folder: Path) -> bool:
    """Whether a living process holds a folder; looks without taking anything."""
    try:
        return _is_locked(folder / OWNER) or _is_guarded(folder)
    except OSError:
        return False


def _is_guarded(folder: Path) -> bool:
    """Whether a living process holds the newest spool file of a folder. Raises OSError."""
    files = segments(folder)
    return bool(files) and _is_locked(files[-1][1])


def _is_locked(path: Path) -> bool:
    with _turn:
        try:
            handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(handle)
        return False
