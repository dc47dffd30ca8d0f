"""A real uWSGI: it forks its workers in C, past `os.register_at_fork`, from a master that has the log open."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.delivery.processes import WAIT_S
from tests.delivery.scripted_peer import Peer, until

_UWSGI = Path(sys.executable).with_name("uwsgi")
_APPLICATION = """
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

pytestmark = pytest.mark.skipif(not _UWSGI.exists(), reason="no uWSGI for this system")


class _OverUnixSocket(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=WAIT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(WAIT_S)
        self.sock.connect(str(self._path))


@contextmanager
def _served(folder: Path, url: str) -> Iterator[Path]:
    (folder / "application.py").write_text(_APPLICATION)
    listens = Path(os.path.relpath(folder / "s"))
    command = [
        str(_UWSGI), "--master", "--processes", "4", "--enable-threads", "--die-on-term", "--need-app",
        "--http-socket", str(listens), "--chdir", str(Path.cwd()), "--pythonpath", str(folder),
        "--module", "application", "--virtualenv", sys.prefix,
    ]  # fmt: skip
    env = os.environ | {"OTEL_AUDIT_ENDPOINT": url}
    with (folder / "said").open("wb") as said, subprocess.Popen(command, env=env, stdout=said, stderr=said) as server:
        try:
            until(lambda: "spawned uWSGI worker 4" in _said(folder))
            yield listens
        finally:
            server.terminate()
            server.wait(WAIT_S)


def _said(folder: Path) -> str:
    return (folder / "said").read_text()


def _ask(listens: Path) -> tuple[str, int]:
    """The id of the record that was appended, and the worker that did."""
    connection = _OverUnixSocket(listens)
    try:
        connection.request("GET", "/")
        answer = connection.getresponse()
        assert answer.status == 200
        return answer.read().decode(), int(answer.headers["X-Pid"])
    finally:
        connection.close()


@pytest.mark.slow
def test_uwsgi_workers_forked_in_c_and_killed_give_every_record_an_id_of_its_own(peer: Peer, tmp_path: Path) -> None:
    with _served(tmp_path, peer.url) as listens, ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: _ask(listens), range(200)))
        for respawned in (1, 2):
            os.kill(answers[-1][1], signal.SIGKILL)
            until(lambda: _said(tmp_path).count("Respawned uWSGI worker") == respawned)  # noqa: B023
            answers += pool.map(lambda _: _ask(listens), range(200))
        ids = [record_id for record_id, _ in answers]
        assert len(set(ids)) == len(ids) == 600
        assert len({worker for _, worker in answers}) > 4
        until(lambda: set(peer.delivered) == set(ids))
