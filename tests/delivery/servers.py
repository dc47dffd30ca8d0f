"""Servers that run an application's code in processes of their own: begun, asked, and ended with all their workers."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.delivery.processes import WAIT_S

APPLICATION = """
import os
from otel_audit import ActivityRecord, EntityRef, OTelActivityLogRepo
log = OTelActivityLogRepo()
def made():
    return ActivityRecord.create(actor_id=1, owner_id=1, action="do", entity_ref=EntityRef("Thing", 1))
made()
def application(environ, start_response):
    record = made()
    log.append(record)
    start_response("200 OK", [("X-Pid", str(os.getpid()))])
    return [str(record.record_id).encode()]
"""
"""A WSGI application that answers with the id of the record that it has appended."""


def executable(name: str) -> Path:
    """Where a server of this environment is, if it is there."""
    return Path(sys.executable).with_name(name)


class Server:
    """A server's first process, and what it and its workers say."""

    def __init__(self, process: subprocess.Popen[bytes], said: Path) -> None:
        self.process, self._said = process, said

    @property
    def said(self) -> str:
        return self._said.read_text(errors="replace")

    def end(self) -> None:
        """As an init system does: ask it to end, and wait for that."""
        self.process.terminate()
        self.process.wait(WAIT_S)


@contextmanager
def running(command: Sequence[str | Path], folder: Path, **env: str) -> Iterator[Server]:
    """A server that can import what is in a folder; ended at last, if it still runs, and its workers with it."""
    # A machine that is busy may take more than the second that an exit waits by default.
    variables = {"PYTHONPATH": os.pathsep.join([str(folder), str(Path.cwd())]), "OTEL_AUDIT_EXIT_FLUSH_S": "10"}
    said = folder / "said"
    with said.open("wb") as out:
        process = subprocess.Popen(
            [str(word) for word in command],
            env=os.environ | variables | env,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    server = Server(process, said)
    try:
        yield server
        if process.poll() is None:
            server.end()
    finally:
        print(server.said)  # shown where the test fails
        with suppress(ProcessLookupError):  # the group has this process's id as long as any worker is in it
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


class _OverUnixSocket(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=WAIT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(WAIT_S)
        self.sock.connect(str(self._path))


def ask(listens: Path) -> tuple[str, int]:
    """Of `APPLICATION`: the id of the record that was appended, and the worker that did.

    Raises:
        OSError, http.client.HTTPException: the worker ended before it answered.
    """
    connection = _OverUnixSocket(listens)
    try:
        connection.request("GET", "/")
        answer = connection.getresponse()
        assert answer.status == 200
        return answer.read().decode(), int(answer.headers["X-Pid"])
    finally:
        connection.close()
