"""Real web servers: uWSGI and gunicorn fork their workers, also from a process that has the log open."""

from __future__ import annotations

import http.client
import os
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.delivery.processes import NOTHING_LEFT, left_in
from tests.delivery.scripted_peer import Peer, until
from tests.delivery.servers import APPLICATION, Server, ask, executable, running

_UWSGI, _GUNICORN = executable("uwsgi"), executable("gunicorn")


@contextmanager
def _uwsgi(folder: Path, url: str) -> Iterator[tuple[Server, Path]]:
    (folder / "application.py").write_text(APPLICATION)
    listens = Path(os.path.relpath(folder / "s"))
    command = [
        _UWSGI, "--master", "--processes", "4", "--enable-threads", "--die-on-term", "--need-app",
        "--http-socket", listens, "--chdir", Path.cwd(), "--pythonpath", folder,
        "--module", "application", "--virtualenv", sys.prefix,
    ]  # fmt: skip
    with running(command, folder, OTEL_AUDIT_ENDPOINT=url) as server:
        until(lambda: "spawned uWSGI worker 4" in server.said)
        yield server, listens


@pytest.mark.slow
@pytest.mark.skipif(not _UWSGI.exists(), reason="no uWSGI for this system")
def test_uwsgi_workers_forked_in_c_and_killed_give_every_record_an_id_of_its_own(peer: Peer, tmp_path: Path) -> None:
    """It forks past `os.register_at_fork`."""
    with _uwsgi(tmp_path, peer.url) as (server, listens), ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: ask(listens), range(200)))
        for respawned in (1, 2):
            os.kill(answers[-1][1], signal.SIGKILL)
            until(lambda: server.said.count("Respawned uWSGI worker") == respawned)  # noqa: B023
            answers += pool.map(lambda _: ask(listens), range(200))
        ids = [record_id for record_id, _ in answers]
        assert len(set(ids)) == len(ids) == 600
        assert len({worker for _, worker in answers}) > 4
        until(lambda: set(peer.delivered) == set(ids))


class _Gunicorn:
    """One with three workers, and what it has answered."""

    def __init__(self, server: Server, listens: Path, spool: Path) -> None:
        self.server, self._listens, self.spool = server, listens, spool
        self.answers: list[tuple[str, int]] = []
        self.unanswered = 0

    def ask(self, _: int = 0) -> None:
        try:
            self.answers.append(ask(self._listens))
        except (OSError, http.client.HTTPException):
            self.unanswered += 1

    @property
    def newest_worker(self) -> int:
        """The one that has answered last."""
        return self.answers[-1][1]

    @property
    def booted(self) -> int:
        return self.server.said.count("Booting worker with pid")

    def check(self, peer: Peer) -> None:
        """Whoever was not answered may have had their record appended before."""
        ids, delivered = [record_id for record_id, _ in self.answers], set(peer.delivered)
        assert len(set(ids)) == len(ids)
        assert set(ids) <= delivered
        assert len(delivered - set(ids)) <= self.unanswered


@pytest.fixture(params=[["--preload"], ["--worker-class", "gthread", "--threads", "4"]], ids=["preload", "gthread"])
def gunicorn(request: pytest.FixtureRequest, peer: Peer, tmp_path: Path) -> Iterator[_Gunicorn]:
    """Its workers send at their end, and before only what others have left."""
    (tmp_path / "application.py").write_text(APPLICATION)
    listens, spool = Path(os.path.relpath(tmp_path / "s")), tmp_path / "spool"
    command = [
        _GUNICORN, "--workers", "3", *request.param, "--bind", f"unix:{listens}", "--no-control-socket", "application",
    ]  # fmt: skip
    env = {
        "OTEL_AUDIT_ENDPOINT": peer.url,
        "OTEL_AUDIT_SPOOL_DIR": str(spool),
        "OTEL_AUDIT_BATCH_DELAY_S": "3600",
    }
    with running(command, tmp_path, **env) as server:
        found = _Gunicorn(server, listens, spool)
        until(lambda: found.booted == 3 and listens.exists())
        yield found


@pytest.mark.slow
@pytest.mark.skipif(not _GUNICORN.exists(), reason="no gunicorn for this system")
def test_what_a_killed_worker_of_gunicorn_leaves_its_siblings_deliver(gunicorn: _Gunicorn, peer: Peer) -> None:
    with ThreadPoolExecutor(8) as pool:
        asking = [pool.submit(gunicorn.ask) for _ in range(300)]
        asking[100].result()
        killed = gunicorn.newest_worker
        os.kill(killed, signal.SIGKILL)
        until(lambda: gunicorn.booted == 4)
        for answer in asking:
            answer.result()
    # Only a worker that has appended something itself takes over what others left.
    until(lambda: gunicorn.newest_worker != killed or gunicorn.ask())
    until(lambda: {record_id for record_id, worker in gunicorn.answers if worker == killed} <= set(peer.delivered))
    gunicorn.server.end()
    assert gunicorn.unanswered <= 8  # as many as were asked at the same time
    gunicorn.check(peer)


@pytest.mark.slow
@pytest.mark.skipif(not _GUNICORN.exists(), reason="no gunicorn for this system")
def test_workers_of_gunicorn_deliver_at_their_end_also_when_it_is_reloaded(gunicorn: _Gunicorn, peer: Peer) -> None:
    with ThreadPoolExecutor(8) as pool:
        asking = [pool.submit(gunicorn.ask) for _ in range(300)]
        asking[100].result()
        before = {worker for _, worker in gunicorn.answers}
        gunicorn.server.process.send_signal(signal.SIGHUP)
        until(lambda: gunicorn.booted == 6)
        for answer in asking:
            answer.result()
    until(lambda: gunicorn.newest_worker not in before or gunicorn.ask())
    gunicorn.server.end()
    gunicorn.check(peer)
    assert left_in(gunicorn.spool) == NOTHING_LEFT
