"""Small file systems that can be filled to the last byte and freed again."""

from __future__ import annotations

import errno
import os
import subprocess
from contextlib import suppress
from pathlib import Path

_STEPS = (1 << 20, 1 << 12, 1)


class SmallDisk:
    """A folder with a tmpfs of its own, or a plain folder where nothing may be mounted.

    Attributes:
        real: whether it is a file system of its own; only such a one can be filled.
        fills: how often it was.
        full: whether it is now.
    """

    def __init__(self, folder: Path, size_bytes: int, *, mount: bool) -> None:
        folder.mkdir(parents=True)
        self.folder, self.real, self.fills, self.full = folder, mount, 0, False
        self._ballast = folder / ".ballast"
        self.home = folder / "home"
        if mount:
            subprocess.run(
                ["mount", "-t", "tmpfs", "-o", f"size={size_bytes},mode=0700", "torture", str(folder)],
                check=True,
                timeout=10,
            )
        self.home.mkdir()

    def fill(self) -> None:
        """Leave no room at all. Others write meanwhile, so what they free is taken as well."""
        self.fills += 1
        self.full = True
        handle = os.open(self._ballast, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            end = 0
            stat = os.fstatvfs(handle)
            for step in (stat.f_bavail * stat.f_frsize, *_STEPS):
                with suppress(_Full):
                    while step:
                        _take(handle, end, step)
                        end += step
        finally:
            os.close(handle)

    def free(self) -> None:
        """Give the room back."""
        self._ballast.unlink(missing_ok=True)
        self.full = False

    def unmount(self) -> None:
        """Take the file system away, with all it holds."""
        if self.real:
            self.real = False
            subprocess.run(["umount", "--lazy", str(self.folder)], check=True, timeout=10)


class _Full(Exception):
    """There is no room for that much."""


def _take(handle: int, offset: int, size: int) -> None:
    try:
        os.posix_fallocate(handle, offset, size)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise _Full from error
