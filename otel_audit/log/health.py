"""Whether the disk takes what is written, as far as that is known: its room by asking, the rest by how it went last."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from otel_audit.disk import Disk
from otel_audit.errors import UnwritableError

__all__ = ["Health"]

_REMEMBERED_S = 10.0
_LONG_S = 10.0


class Health:
    """Written by the committing and the maintaining thread, asked by any.

    `failures`: commits that could not be made, `maintenance_failures` likewise, since the log was opened.
    """

    def __init__(
        self, root: Path, disk: Disk, min_free_bytes: int, monotonic_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._root = root
        self._disk = disk
        self._min_free_bytes = min_free_bytes
        self._monotonic_s = monotonic_s
        self._last: tuple[float, str] | None = None
        self._began_s: float | None = None
        self.failures = 0
        self.maintenance_failures = 0

    def free_bytes(self) -> int:
        """What may still be written; nothing where the file system does not even say how much."""
        try:
            return self._disk.free_bytes(self._root)
        except UnwritableError:
            return 0

    def need_room(self, size_bytes: int = 0) -> None:
        """Raises UnwritableError unless so much can be written with the low-space mark still kept."""
        free = self._disk.free_bytes(self._root)
        if free < self._min_free_bytes + size_bytes:
            wanted = f"{size_bytes} bytes to be written above" if size_bytes else "below"
            raise UnwritableError(
                f"{self._root}: {free} bytes free, {wanted} the low-space mark of {self._min_free_bytes}"
            )

    def began(self) -> None:
        """A commit is under way."""
        self._began_s = self._monotonic_s()

    def failed(self, error: Exception) -> None:
        """It could not be made."""
        self.failures += 1
        self._last, self._began_s = (self._monotonic_s(), str(error)), None

    def worked(self) -> None:
        """It was made."""
        self._last = self._began_s = None

    @property
    def lack_of_room(self) -> str:
        """Why nothing is accepted, or ""."""
        try:
            self.need_room()
        except UnwritableError as error:
            return str(error)
        return ""

    @property
    def trouble(self) -> str:
        """Why the next commit may fail or never end, or "".

        A failure is forgotten after a while: only a request can tell that the disk is well again, and whoever keeps
        requests away from a collector that is not ready must hear something else at last.
        """
        began_s, last = self._began_s, self._last
        if began_s is not None and (taken_s := self._monotonic_s() - began_s) > _LONG_S:
            return f"a commit has been under way for {taken_s:.0f} s; the disk may not answer"
        if last is None or self._monotonic_s() - last[0] > _REMEMBERED_S:
            return ""
        return f"the last commit failed: {last[1]}"
