"""Real job queues: Celery and RQ fork the processes that run jobs, interrupt jobs by signals, and end those processes
by `os._exit`."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.delivery.processes import NOTHING_LEFT, WAIT_S, left_in, named
from tests.delivery.scripted_peer import Peer, until
from tests.delivery.servers import executable, running

_CELERY, _RQ, _OTEL_AUDIT = executable("celery"), executable("rq"), executable("otel-audit")
_SHORT, _ENDLESS = named("short", 9), named("endless", 4)

_JOBS = """
import itertools, os
from otel_audit import OTelActivityLogRepo
from otel_audit.errors import SpoolUnwritableError
from tests.delivery.processes import record
log = OTelActivityLogRepo()
journal = {
    word: os.open(os.path.join(os.environ["JOURNAL"], word), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    for word in ("began", "returned", "refused", "done", "interrupted", "failed")
}
def note(word, name):
    os.write(journal[word], f"{name}\\n".encode())
def append(name):
    note("began", name)
    try:
        log.append(record(name))
    except SpoolUnwritableError:
        note("refused", name)
    else:
        note("returned", name)
def work(name, interrupt):
    try:
        for at in itertools.count() if name.startswith("endless") else range(5):
            append(f"{name}-{at}")
    except interrupt:
        note("interrupted", name)
    except BaseException as error:
        note("failed", f"{name} {error!r}")
    else:
        note("done", name)
"""
_IN_CELERY = f"""
from celery import Celery
from celery.exceptions import SoftTimeLimitExceeded
from pathlib import Path
app = Celery("jobs", broker="filesystem://")
app.conf.broker_transport_options = {{
    name: str(Path(__file__).with_name(folder))
    for name, folder in
    [("data_folder_in", "queue"), ("data_folder_out", "queue"), ("control_folder", "control")]
}}
app.conf.worker_max_tasks_per_child = 3
app.conf.worker_prefetch_multiplier = 1
@app.task(ignore_result=True)
def job(name):
    work(name, SoftTimeLimitExceeded)
if __name__ == "__main__":
    for short in {_SHORT}:
        job.delay(short)
    for endless in {_ENDLESS}:
        job.apply_async((endless,), soft_time_limit=0.5)
"""
_IN_RQ = f"""
import redis, rq, sys
from rq.timeouts import JobTimeoutException
# What the stand-in for Redis does not tell.
setattr(redis.Redis, "__rq_redis_server_version", (6, 2, 0))
class Worker(rq.Worker):
    def _set_ip_address(self, connection):
        self.ip_address = "unknown"
def job(name):
    work(name, JobTimeoutException)
if __name__ == "__main__":
    queue = rq.Queue(connection=redis.Redis.from_url(sys.argv[1]))
    for short in {_SHORT}:
        queue.enqueue("jobs.job", short)
    for endless in {_ENDLESS}:
        queue.enqueue("jobs.job", endless, job_timeout=1)
"""


class _Journal:
    """What jobs have written down, under a word for each kind of thing."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir()

    def of(self, *words: str) -> list[str]:
        return [name for word in words for name in (self._folder / word).read_text().splitlines()]


@pytest.fixture
def journal(tmp_path: Path, peer: Peer, monkeypatch: pytest.MonkeyPatch) -> _Journal:
    """Of jobs whose records are sent when a thousand wait, or when somebody takes their stream over."""
    monkeypatch.setenv("JOURNAL", str(tmp_path / "journal"))
    monkeypatch.setenv("OTEL_AUDIT_ENDPOINT", peer.url)
    monkeypatch.setenv("OTEL_AUDIT_SPOOL_DIR", str(tmp_path / "spool"))
    monkeypatch.setenv("OTEL_AUDIT_BATCH_DELAY_S", "3600")
    return _Journal(tmp_path / "journal")


def _enqueued(folder: Path, program: str, *arguments: str) -> None:
    (folder / "jobs.py").write_text(_JOBS + program)
    with running([sys.executable, folder / "jobs.py", *arguments], folder) as producer:
        assert producer.process.wait(WAIT_S) == 0


def _check(journal: _Journal, peer: Peer, spool: Path) -> None:
    """What no job after it has delivered, a shell does. Of what an exception interrupted nothing is promised."""
    assert left_in(spool)["streams"]
    subprocess.run([_OTEL_AUDIT, "spool", "deliver"], timeout=WAIT_S, check=True)
    delivered = set(peer.delivered)
    assert journal.of("failed", "refused") == []
    assert set(journal.of("returned")) <= delivered <= set(journal.of("began"))
    assert left_in(spool) == NOTHING_LEFT


@pytest.mark.slow
@pytest.mark.skipif(not _CELERY.exists(), reason="no Celery for this system")
def test_what_jobs_of_celery_append_arrives_also_when_they_run_out_of_time(
    peer: Peer, tmp_path: Path, journal: _Journal
) -> None:
    """Its processes are forked from one that has the log open, and replaced after three jobs."""
    for folder in ("queue", "control"):
        (tmp_path / folder).mkdir()
    _enqueued(tmp_path, _IN_CELERY)
    command = [
        _CELERY, "-A", "jobs", "worker", "--pool", "prefork", "--concurrency", "3", "--loglevel", "info",
        "--without-gossip", "--without-mingle", "--without-heartbeat",
    ]  # fmt: skip
    with running(command, tmp_path) as server:
        until(lambda: len(journal.of("done", "interrupted", "failed")) == len(_SHORT + _ENDLESS))
        server.end()
    assert sorted(journal.of("done")) == sorted(_SHORT)
    assert sorted(journal.of("interrupted")) == sorted(_ENDLESS)
    _check(journal, peer, tmp_path / "spool")


@contextmanager
def _redis() -> Iterator[str]:
    """A server that speaks the protocol of Redis; its URL."""
    from fakeredis import TcpFakeServer

    server = TcpFakeServer(("127.0.0.1", 0))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"redis://127.0.0.1:{server.server_address[1]}/0"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.slow
@pytest.mark.skipif(not _RQ.exists(), reason="no RQ for this system")
def test_what_jobs_of_rq_append_arrives_also_when_they_run_out_of_time(
    peer: Peer, tmp_path: Path, journal: _Journal
) -> None:
    """A process is forked for each, from one that has the log open."""
    with _redis() as url:
        _enqueued(tmp_path, _IN_RQ, url)
        command = [_RQ, "worker", "--burst", "--worker-class", "jobs.Worker", "--url", url]
        with running(command, tmp_path) as server:
            assert server.process.wait(2 * WAIT_S) == 0
    assert sorted(journal.of("done")) == sorted(_SHORT)
    assert sorted(journal.of("interrupted")) == sorted(_ENDLESS)
    _check(journal, peer, tmp_path / "spool")
