"""Reads that fail once: of every file and folder the engine looks at, in the ways in which a machine refuses.

What is patched is where the engine's reads leave it: Arrow's reader of Parquet files, the handle that their bytes are
checked through, and the few calls by which state files, runs of the index, folders and sizes are looked at. Only calls
that stand in the package count, and of the thread that made this; what a test reads to check a folder does not.
"""

from __future__ import annotations

import builtins
import errno
import io
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import otel_audit
from otel_audit.archive import footer, verify
from otel_audit.log import runs

PACKAGE = str(Path(otel_audit.__file__).parent) + os.sep
PARQUET = ("parquet", "rows")
CALLS = ("bytes", "run", "listing", "size", "open", "piece")

ERRORS: dict[str, Callable[[], BaseException]] = {
    "EIO": lambda: OSError(errno.EIO, os.strerror(errno.EIO)),
    "ENOMEM": lambda: OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)),
    # As Arrow reports them, seen with little address space left and with a limit on threads.
    "no memory": lambda: pa.ArrowMemoryError("malloc of size 65536 failed"),
    "no thread": lambda: pa.ArrowException(
        "Unknown error: Failed to launch worker thread: Resource temporarily unavailable"
    ),
}
HOW = dict.fromkeys(PARQUET, ("EIO", "no memory", "no thread")) | dict.fromkeys(CALLS, ("EIO", "ENOMEM"))


class FailingReads:
    """Counts the engine's reads; one of them fails, unless `at` is None.

    Attributes:
        trace: the reads so far, by kind.
        error: what the chosen read fails with, a key of ERRORS.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.trace: list[str] = []
        self.at: int | None = None
        self.error = "EIO"
        self._thread = threading.get_ident()
        counted = self._counted

        class Reader(pq.ParquetFile):  # type: ignore[misc]
            def __init__(self, source: Any, **named: Any) -> None:
                if not isinstance(source, pa.BufferReader):
                    counted("parquet")
                super().__init__(source, **named)

            def read_row_group(self, *args: Any, **named: Any) -> pa.Table:
                counted("rows")
                return super().read_row_group(*args, **named)

        class Handle(io.FileIO):
            def read(self, *args: Any) -> bytes:
                counted("piece")
                return super().read(*args) or b""

        def opened(path: Path, mode: str, buffering: int) -> Handle:
            counted("open")
            assert (mode, buffering) == ("rb", 0)
            return Handle(path)

        for module in (footer, verify):
            monkeypatch.setattr(module, "open", opened, raising=False)
        monkeypatch.setattr(pq, "ParquetFile", Reader)
        monkeypatch.setattr(Path, "read_bytes", self._before("bytes", Path.read_bytes))
        monkeypatch.setattr(Path, "stat", self._before("size", Path.stat))
        monkeypatch.setattr(os, "listdir", self._before("listing", os.listdir))
        monkeypatch.setattr(runs, "open", self._before("run", builtins.open), raising=False)

    def begin(self, at: int | None, error: str) -> None:
        """Count from nothing; the read with this number fails."""
        self.trace, self.at, self.error = [], at, error

    def _before(self, kind: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **named: Any) -> Any:
            self._counted(kind)
            return real(*args, **named)

        return call

    def _counted(self, kind: str) -> None:
        if threading.get_ident() != self._thread or not sys._getframe(2).f_code.co_filename.startswith(PACKAGE):
            return
        self.trace.append(kind)
        if len(self.trace) - 1 == self.at:
            raise ERRORS[self.error]()
