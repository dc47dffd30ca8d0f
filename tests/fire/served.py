"""A collector in this process, with its own clock and an operating system whose calls can be made to fail."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from otel_audit import disk
from otel_audit.collector.answers import ASGIApp
from otel_audit.collector.server import Collector
from otel_audit.config import load_settings
from otel_audit.log.engine import ActivityLog

CALLS = ("open", "write", "fsync", "link", "statvfs")
METHODS = ("unlink", "replace", "mkdir")


@contextmanager
def serving(
    data: Path, clock: Callable[[], int] = time.time_ns, reads: ASGIApp | None = None, **arguments: Any
) -> Iterator[Collector]:
    """A collector over a real log on the real disk."""
    settings = load_settings({}, data_dir=str(data), port=0, min_free_bytes=0, **arguments)
    log = ActivityLog.open(data, settings, clock)
    with Collector(log, settings, reads=reads, clock_ns=clock) as collector:
        yield collector


class Trouble:
    """Calls of the disk that fail as the kernel would let them, as long as they stand in `failing`.

    Attributes:
        failing: error number by call: those of `os` that the disk makes, and its methods of Path.
        times: how often a call has failed.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, data: Path) -> None:
        self.failing: dict[str, int] = {}
        self.times = 0
        monkeypatch.setattr(disk, "os", self)
        for name in METHODS:
            monkeypatch.setattr(Path, name, self._method(getattr(Path, name), name, data))

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        if name not in CALLS:
            return real

        def call(*args: Any, **named: Any) -> Any:
            self._fail(name)
            return real(*args, **named)

        return call

    def _method(self, real: Callable[..., Any], name: str, data: Path) -> Callable[..., Any]:
        def method(path: Path, *args: Any, **named: Any) -> Any:
            if path.is_relative_to(data):
                self._fail(name)
            return real(path, *args, **named)

        return method

    def _fail(self, name: str) -> None:
        number = self.failing.get(name)
        if number is not None:
            self.times += 1
            raise OSError(number, os.strerror(number))


FAILURES = [
    ("open", errno.EMFILE),
    ("open", errno.EROFS),
    ("write", errno.EIO),
    ("write", errno.EDQUOT),
    ("fsync", errno.EIO),
    ("link", errno.EIO),
    ("unlink", errno.EIO),
    ("statvfs", errno.EIO),
]
