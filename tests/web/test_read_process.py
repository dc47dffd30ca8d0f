"""Reads of a collector, answered by a process of their own: how it is kept, bounded, and ended."""

from __future__ import annotations

import http.client
import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from otel_audit.bootstrap import open_collector
from otel_audit.collector.server import Collector
from otel_audit.config import load_settings
from otel_audit.log.folder import read_owner
from otel_audit.model.record import ActivityRecord, EntityRef
from otel_audit.repos.otel import OTelActivityLogRepo
from otel_audit.web.serving import serve_reads

WAIT_S = 60.0
RECORDS = "/v1/audit/records"


def eventually(met: Callable[[], Any]) -> Any:
    """What `met` gives once it is true."""
    end = time.monotonic() + WAIT_S
    while not (value := met()):
        assert time.monotonic() < end, "it never came to be"
        time.sleep(0.02)
    return value


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except FileNotFoundError:
        return False


def children(pid: int) -> dict[int, str]:
    """A process's own children, and how each was started."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(") ")[2].split()[1])
                if parent == pid:
                    found[int(entry.name)] = (entry / "cmdline").read_text()
            except (FileNotFoundError, ProcessLookupError):
                continue
    return found


@contextmanager
def running(folder: Path, **settings: Any) -> Iterator[Collector]:
    known = load_settings({}, data_dir=str(folder), port=0, min_free_bytes=0, **settings)
    with open_collector(known, serve_reads=serve_reads) as collector, collector:
        yield collector


def append(url: str, *metadata: dict[str, Any]) -> list[Any]:
    """Ids of records that are acknowledged."""
    records = [
        ActivityRecord.create(actor_id="a", owner_id="o", action="do", entity_ref=EntityRef("T", 1), metadata=one)
        for one in metadata
    ]
    with OTelActivityLogRepo(url, durability="memory", settings=load_settings({}, batch_delay_s=0.001)) as repo:
        repo.append_many(records)
    return [record.record_id for record in records]


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collector]:
    with running(tmp_path_factory.mktemp("data"), reads_at_once=1, reads_waiting=1) as collector:
        append(collector.url, *({"text": "x" * 60_000} for _ in range(200)))
        yield collector


def read_process(collector: Collector) -> Any:
    """What keeps the collector's read process."""
    return collector._reads._process  # type: ignore[union-attr]


def test_a_read_sees_what_was_acknowledged_before_it_and_runs_in_another_process(collector: Collector) -> None:
    eventually(lambda: read_process(collector).path)
    (record_id,) = append(collector.url, {"n": 1})
    assert requests.get(f"{collector.url}{RECORDS}/{record_id}", timeout=30).json()["metadata"] == {"n": 1}
    pid = read_process(collector).pid
    assert pid in children(os.getpid())
    threads = [int(each.name) for each in Path(f"/proc/{pid}/task").iterdir()]
    assert {os.getpriority(os.PRIO_PROCESS, thread) for thread in threads} == {10}


def test_nobody_else_can_enter_the_folder_of_its_socket(collector: Collector) -> None:
    path = Path(eventually(lambda: read_process(collector).path))
    assert stat.S_ISSOCK(path.stat().st_mode)
    for folder in (path.parent, path.parent.parent):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_killed_read_process_is_replaced_while_records_are_taken(collector: Collector) -> None:
    eventually(lambda: read_process(collector).path)
    before = read_process(collector).pid
    os.kill(before, signal.SIGKILL)
    (record_id,) = append(collector.url, {"n": 2})
    eventually(lambda: requests.get(f"{collector.url}{RECORDS}/{record_id}", timeout=30).status_code == 200)
    assert read_process(collector).pid != before


def test_more_reads_than_there_is_room_for_are_told_to_come_later(collector: Collector) -> None:
    address = urlsplit(collector.url)
    eventually(lambda: requests.get(f"{collector.url}{RECORDS}?limit=1", timeout=30).status_code == 200)
    with ExitStack() as slow:
        # Two clients that ask and do not read: one place is for a read at work, one for a read that waits.
        for _ in range(2):
            client = slow.enter_context(closing(http.client.HTTPConnection(address.netloc, timeout=30)))
            client.request("GET", f"{RECORDS}?limit=200")
            assert client.getresponse().status == 200
        refused = requests.get(f"{collector.url}{RECORDS}?limit=1", timeout=30)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert refused.headers["content-type"] == "application/problem+json"
        assert requests.get(f"{collector.url}/healthz", timeout=30).status_code == 200
        append(collector.url, {"n": 3})
    eventually(lambda: requests.get(f"{collector.url}{RECORDS}?limit=1", timeout=30).status_code == 200)


def test_an_answer_is_cut_off_visibly_when_the_process_ends_within_it(collector: Collector) -> None:
    eventually(lambda: read_process(collector).path)
    with closing(http.client.HTTPConnection(urlsplit(collector.url).netloc, timeout=30)) as client:
        client.request("GET", f"{RECORDS}?limit=200")
        answer = client.getresponse()
        answer.read(1000)
        os.kill(read_process(collector).pid, signal.SIGKILL)
        with pytest.raises(http.client.IncompleteRead):
            answer.read()


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A folder for temporary files with a short name: the path of a socket is in it."""
    with tempfile.TemporaryDirectory(prefix="t-") as folder:
        yield Path(folder)


@contextmanager
def process(folder: Path, temporary: Path, **settings: object) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """`otel-audit collector` on its own, with temporary files in a folder of their own, and its URL."""
    data = folder / "data"
    known = {f"OTEL_AUDIT_{name.upper()}": str(value) for name, value in settings.items()}
    collector = subprocess.Popen(
        [sys.executable, "-m", "otel_audit.cli.main", "collector", "--data-dir", str(data), "--port", "0"],
        env={**os.environ, **known, "TMPDIR": str(temporary)},
        stderr=subprocess.DEVNULL,
    )
    try:
        told = eventually(lambda: data.is_dir() and (told := read_owner(data)) and told.get("url") and told)
        yield collector, told["url"]
    finally:
        collector.kill()
        collector.wait()


@pytest.mark.slow
def test_the_process_and_its_folder_go_with_a_killed_collector(tmp_path: Path, temporary: Path) -> None:
    with process(tmp_path, temporary) as (collector, url):
        eventually(lambda: requests.get(f"{url}{RECORDS}", timeout=60).status_code == 200)
        pids = set(children(collector.pid))
        assert pids
        assert list(temporary.iterdir())
    eventually(lambda: not any(alive(pid) for pid in pids))
    eventually(lambda: not list(temporary.iterdir()))


@pytest.mark.slow
def test_a_client_that_does_not_take_its_answer_holds_up_no_stop(tmp_path: Path, temporary: Path) -> None:
    with process(tmp_path, temporary, stop_timeout_s=1) as (collector, url), ExitStack() as slow:
        append(url, *({"text": "x" * 60_000} for _ in range(200)))
        eventually(lambda: requests.get(f"{url}{RECORDS}?limit=1", timeout=60).status_code == 200)
        for _ in range(3):
            client = slow.enter_context(closing(http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)))
            client.request("GET", f"{RECORDS}?limit=200")
            assert client.getresponse().status == 200
        pids = set(children(collector.pid))
        collector.send_signal(signal.SIGTERM)
        assert collector.wait(WAIT_S) == 0
        eventually(lambda: not any(alive(pid) for pid in pids))
        assert not list(temporary.iterdir())


@pytest.mark.slow
def test_reads_are_answered_where_the_folder_for_temporary_files_has_a_long_path(tmp_path: Path) -> None:
    """The path of a Unix socket may have some hundred bytes."""
    far = tmp_path / ("x" * 100)
    far.mkdir()
    with process(tmp_path, far) as (_, url):
        eventually(lambda: requests.get(f"{url}{RECORDS}", timeout=60).status_code == 200)
