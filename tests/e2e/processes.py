"""A real collector in a process of its own, that can be killed and started again on the same folder and port."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import requests

from otel_audit.archive.listing import list_log


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class CollectorProcess:
    """Starts ready; `kill` is SIGKILL, `stop` is SIGTERM and waits. What it says goes to the file `said`, if given."""

    def __init__(self, data: Path, port: int | None = None, said: Path | None = None, **settings: object) -> None:
        self.data, self.port = data, port or free_port()
        # A file: a pipe that nobody reads would hold the collector up once it is full.
        self._said = tempfile.TemporaryFile() if said is None else open(said, "w+b")  # noqa: SIM115  closed on leaving
        self._env = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
        self._env |= {f"OTEL_AUDIT_{name.upper()}": str(value) for name, value in settings.items()}
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        command = [sys.executable, "-m", "otel_audit.cli.main", "collector", "--data-dir", str(self.data)]
        self.process = subprocess.Popen(
            [*command, "--port", str(self.port)], env=self._env, stdout=subprocess.DEVNULL, stderr=self._said
        )
        end = time.monotonic() + 30
        while True:
            try:
                if requests.get(f"{self.url}/readyz", timeout=1).ok:
                    return
            except requests.RequestException:
                pass
            if self.process.poll() is not None or time.monotonic() > end:
                self.process.kill()
                self.process.wait()
                self._said.seek(0)
                raise AssertionError(f"the collector did not start:\n{self._said.read().decode()}")
            time.sleep(0.02)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)

    def __enter__(self) -> CollectorProcess:
        return self

    def __exit__(self, *exc: object) -> None:
        if self.process.poll() is None:
            self.kill()
        self._said.close()


def archived_ids(data: Path) -> Counter[str]:
    """How often each record id stands in the archive."""
    ids: Counter[str] = Counter()
    for file in list_log(data).files:
        ids.update(pq.read_table(file.path, columns=["record_id"], partitioning=None)["record_id"].to_pylist())
    return ids
