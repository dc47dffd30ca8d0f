"""Who owns a stream's folder: the process that holds the lock on its file `owner`.

The lock goes with the process, however that ends; then the next process that looks may take the stream over. It is
bound to the open file, which a forked child inherits: so every child closes its copies as it begins, else the parent's
stream would stay locked as long as the child lives. Two owners in one process exclude each other as well.
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from otel_audit.spool.places import OWNER

__all__ = ["OwnerLock", "is_owned", "owner_facts"]

# Held while a file is open whose lock nobody knows of yet: a fork waits for that moment to pass.
_turn = threading.RLock()
_held: set[OwnerLock] = set()


class OwnerLock:
    """A held lock."""

    def __init__(self, folder: Path, handle: int) -> None:
        self.folder = folder
        self._handle = handle
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
            return cls._locked(folder, 0)
        except FileNotFoundError:
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

    def release(self) -> None:
        """Let go."""
        with _turn:
            self.abandon()

    def abandon(self) -> None:
        """Let go of the copy that a forked child has."""
        _held.discard(self)
        if self._handle >= 0:
            handle, self._handle = self._handle, -1
            os.close(handle)


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
    with _turn:
        try:
            handle = os.open(folder / OWNER, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(handle)
        return False
