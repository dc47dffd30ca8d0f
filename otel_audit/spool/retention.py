"""How long delivered files are kept: copies, of which the oldest go when they are too old or too many.

One process does it for all that share a spool, and seldom: where a hundred thousand files are kept, looking at them
takes a while. Whose turn it is the time of a file says, `expired` in the spool. Two that see it at the same moment do
the same work twice, which does no harm.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from otel_audit.disk import TMP_SUFFIX, Disk
from otel_audit.errors import UnwritableError
from otel_audit.spool.places import EXPIRED, PARKED, SENT, PoolFile
from otel_audit.spool.stream import MODE

__all__ = ["Retention"]

_UNFINISHED_FOR_S = 3600.0
_SELDOM_S = 300.0
_OF_KEEP_S = 0.01
"""A file may stay this part of `keep_s` longer than it has to."""
_OF_KEEP_BYTES = 1 / 16
"""Each process may add this part of `keep_bytes` before somebody looks."""


class Retention:
    """Of one spool; `keep_s` and `keep_bytes` as for `Pools`."""

    def __init__(self, root: Path, disk: Disk, keep_s: float, keep_bytes: int, wall_s: Callable[[], float]) -> None:
        self._root = root
        self._disk = disk
        self._keep_s, self._keep_bytes = keep_s, keep_bytes
        self._wall_s = wall_s
        self._every_s = min(_SELDOM_S, keep_s * _OF_KEEP_S)
        self._looked_s = float("-inf")
        self._added_bytes = 0

    def added(self, path: Path) -> None:
        """A file is about to be kept."""
        with suppress(OSError):
            self._added_bytes += path.stat().st_size

    def expire_in_turn(self) -> None:
        """`expire`, when it is time and no other process has done it."""
        if self._added_bytes > self._keep_bytes * _OF_KEEP_BYTES or self._is_our_turn():
            self.expire()

    def _is_our_turn(self) -> bool:
        now_s = self._wall_s()
        if 0 <= now_s - self._looked_s < self._every_s:
            return False
        self._looked_s = now_s
        stamp = self._root / EXPIRED
        try:
            if 0 <= now_s - stamp.stat().st_mtime < self._every_s:
                return False
        except FileNotFoundError:
            with suppress(OSError):
                stamp.touch(MODE)
        except OSError:
            return False  # not ours to look at, so not ours to clear
        # A crash from here on leaves it to the next turn. Where the file is another user's, each looks for itself.
        with suppress(OSError):
            os.utime(stamp, (now_s, now_s))
        return True

    def expire(self, keep_bytes: int | None = None) -> int:
        """Remove delivered files that are too old or too many, and what a crash left unfinished; returns how many bytes
        of delivered files.

        Args:
            keep_bytes: keep no more than this; default: the setting.
        """
        self._added_bytes = 0
        for path in (self._root / PARKED).glob(f"*{TMP_SUFFIX}"):
            with suppress(FileNotFoundError, UnwritableError):
                if path.stat().st_mtime < self._wall_s() - _UNFINISHED_FOR_S:
                    self._disk.unlink(path)
        most = self._keep_bytes if keep_bytes is None else keep_bytes
        kept = freed = 0
        oldest = self._wall_s() - self._keep_s
        for moved_s, size, name in sorted(self._delivered(), reverse=True):
            if moved_s >= oldest and kept + size <= most:
                kept += size
            elif PoolFile.parse(name) is not None:
                with suppress(UnwritableError):
                    self._disk.unlink(self._root / SENT / name)
                    freed += size
        return freed

    def _delivered(self) -> list[tuple[float, int, str]]:
        """(when it was moved here, its size, its name) of each file."""
        found = []
        with suppress(FileNotFoundError), os.scandir(self._root / SENT) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):
                    status = entry.stat(follow_symlinks=False)
                    found.append((status.st_ctime, status.st_size, entry.name))  # a rename is a file's last change
        return found
