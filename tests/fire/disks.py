"""Small file systems of our own, to be filled, worn out and made read-only."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode and os.geteuid() != 0:
        pytest.skip(f"only root may do this: {' '.join(command)}")
    assert not done.returncode, f"{' '.join(command)}: {done.stderr}"


def _unmount(folder: Path) -> None:
    for _ in range(10):
        if not subprocess.run(["umount", str(folder)], capture_output=True).returncode:
            return
        time.sleep(0.1)  # the device behind a loop mount is let go of a little later
    _run("umount", "--lazy", str(folder))


@contextmanager
def tmpfs(folder: Path, mib: int) -> Iterator[Path]:
    """A file system that holds so much and no more."""
    folder.mkdir()
    _run("mount", "-t", "tmpfs", "-o", f"size={mib}m", "tmpfs", str(folder))
    try:
        yield folder
    finally:
        _unmount(folder)


@contextmanager
def thin_disk(folder: Path, mib: int) -> Iterator[Path]:
    """An ext4 that takes itself for larger than the disk below it, which is `below` and has room for `mib`.

    When that is full, writes still go well, and fsync fails: the device itself reports the error.
    """
    with tmpfs(folder.with_name("below"), mib) as below:
        image = below / "image"
        with open(image, "wb") as file:
            file.truncate(4 * mib << 20)
        _run("mkfs.ext4", "-q", "-F", "-O", "^has_journal", "-E", "lazy_itable_init=0", str(image))
        folder.mkdir()
        _run("mount", "-o", "loop,errors=continue", str(image), str(folder))
        try:
            yield folder
        finally:
            _unmount(folder)


@contextmanager
def frozen(folder: Path) -> Iterator[None]:
    """A file system that answers no write meanwhile, as one behind a network or a dying controller may not."""
    _run("fsfreeze", "--freeze", str(folder))
    try:
        yield
    finally:
        _run("fsfreeze", "--unfreeze", str(folder))


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """The folder is read-only meanwhile.

    Its file system cannot be mounted anew while a file is open for writing, as the lock is. So another view of it is
    laid over it.
    """
    view = folder.with_name("view")
    view.mkdir()
    _run("mount", "--bind", str(folder), str(view))
    try:
        _run("mount", "-o", "remount,ro,bind", str(view))
        _run("mount", "--bind", str(view), str(folder))
        try:
            yield
        finally:
            _unmount(folder)
    finally:
        _unmount(view)


class Ballast:
    """A file that takes all the room there is but `leave` bytes, until it is dropped."""

    def __init__(self, folder: Path, leave: int = 0) -> None:
        self._path = folder / "ballast"
        with open(self._path, "wb", buffering=0) as file:
            for block in (1 << 20, 1 << 12, 1):
                try:
                    while _free(folder) >= leave + block:
                        if not file.write(b"\xff" * block):
                            break
                except OSError:
                    continue

    def drop(self) -> None:
        self._path.unlink()


def _free(folder: Path) -> int:
    stat = os.statvfs(folder)
    return stat.f_bavail * stat.f_frsize
