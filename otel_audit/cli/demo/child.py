"""A collector as a process of its own, for as long as the demo needs it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import requests

from otel_audit.errors import StorageError
from otel_audit.log.folder import read_owner

__all__ = ["CollectorProcess"]

_START_S = 60.0
_STOP_S = 60.0
_POLL_S = 0.05


class CollectorProcess:
    """`otel-audit collector` on a free loopback port; a context manager that stops it as an operator would.

    Attributes:
        url: its base URL, once entered.
        pid: its process.

    Raises (on entering):
        StorageError: it did not come up; its last words are the message.
    """

    def __init__(self, data_dir: Path) -> None:
        self.url = ""
        self.pid = 0
        self._data_dir = data_dir
        self._log: IO[bytes] | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._log = tempfile.TemporaryFile()
        # The demo's collector is as this command says, whatever the environment sets for another one.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_AUDIT_")}
        words = ["collector", "--data-dir", str(self._data_dir), "--host", "127.0.0.1", "--port", "0"]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "otel_audit.cli.main", *words],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._log,
            # Ctrl-C is for the demo, which then stops its collector in order.
            start_new_session=True,
        )
        self.pid = self._process.pid
        try:
            self.url = self._wait_until_ready()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        code = self._end()
        if code and error is None:
            raise StorageError(f"the collector ended with code {code}: {self._last_words()}")

    def _wait_until_ready(self) -> str:
        assert self._process is not None
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise StorageError(f"the collector did not start: {self._last_words()}")
            owner = read_owner(self._data_dir) or {}
            if owner.get("pid") == self.pid and owner.get("url") and _is_ready(owner["url"]):
                return str(owner["url"])
            time.sleep(_POLL_S)
        raise StorageError(f"the collector was not ready after {_START_S:g} s: {self._last_words()}")

    def _end(self) -> int:
        assert self._process is not None
        self._process.terminate()
        try:
            return self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def _last_words(self) -> str:
        assert self._log is not None
        self._log.seek(0)
        lines = self._log.read().decode("utf-8", "replace").strip().splitlines()
        return " / ".join(lines[-3:]) or "it said nothing"


def _is_ready(url: str) -> bool:
    try:
        with requests.Session() as session:
            session.trust_env = False
            return session.get(f"{url}/readyz", timeout=_POLL_S * 20).ok
    except requests.RequestException:
        return False
