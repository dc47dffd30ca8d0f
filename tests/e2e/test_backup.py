"""Each way to back up a busy folder that docs/backup.md gives makes copies that open with all that was acknowledged."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from otel_audit.config import load_settings
from otel_audit.disk import Disk
from otel_audit.log import place
from otel_audit.log.backup import back_up
from otel_audit.log.engine import ActivityLog
from otel_audit.log.status import folder_status
from otel_audit.otlp.encode import encode_record, encode_resource, frame_request
from otel_audit.otlp.stamp import stream_stamp
from otel_audit.query.reader import DuckDBReader
from tests.e2e.processes import CollectorProcess, archived_ids
from tests.log.requests import record

COPIES = int(os.environ.get("OTEL_AUDIT_TEST_COPIES", "3"))
PAGE = Path(__file__).parents[2] / "docs" / "backup.md"
SMALL = {"seal_rows": 400, "merge_fan_in": 3, "input_keep_s": 3, "min_free_bytes": 0, "index_run_rows": 300}
Way = Callable[[CollectorProcess, Path], None]


class Senders:
    """Two threads that post small requests, some with an invalid record, and know what was acknowledged."""

    def __init__(self, url: str) -> None:
        self.acknowledged: set[str] = set()
        self._url = f"{url}/v1/logs"
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._send, args=(f"s{at}",)) for at in range(2)]

    def _send(self, stream: str) -> None:
        stamp, number = stream_stamp(stream), 0
        with requests.Session() as session:
            while not self._stop.wait(0.02):
                ids = [f"{stream}-{number + at}" for at in range(1, 5)]
                encoded = [encode_record(record(id_), 1) + stamp(number + at) for at, id_ in enumerate(ids, start=1)]
                encoded.append(encode_record(record("x"), 1).replace(b"audit.actor.id", b"audit.actor.xx"))
                encoded[-1] += stamp(number + 5)
                body = frame_request(encode_resource({"service.name": stream}), encoded)
                answer = session.post(self._url, data=body, headers={"Content-Type": "application/x-protobuf"})
                if answer.ok:
                    self.acknowledged.update(ids)
                    number += 5

    def __enter__(self) -> Senders:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def by_command(collector: CollectorProcess, copy: Path) -> None:
    """What the command does; every other time into the folder of the time before."""
    back_up(collector.data, copy)


def by_recipe(collector: CollectorProcess, copy: Path) -> None:
    (recipe,) = re.findall(r"<!-- recipe: .*?-->\n\n```sh\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    environment = os.environ | {"DATA": str(collector.data), "COPY": str(copy)}
    environment["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(["sh", "-c", recipe], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def by_snapshot(collector: CollectorProcess, copy: Path) -> None:
    """A process that stands still meanwhile leaves what a snapshot of one instant holds."""
    collector.process.send_signal(signal.SIGSTOP)
    try:
        shutil.copytree(collector.data, copy)
    finally:
        collector.process.send_signal(signal.SIGCONT)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("way", [by_command, by_recipe, by_snapshot], ids=lambda way: way.__name__)
def test_each_copy_of_a_busy_folder_opens_with_all_that_was_acknowledged_before(tmp_path: Path, way: Way) -> None:
    settings = load_settings({}, min_free_bytes=0)
    with CollectorProcess(tmp_path / "data", **SMALL) as collector, Senders(collector.url) as senders:
        for at in range(COPIES):
            copy = tmp_path / f"copy-{at - at % 2 if way is by_command else at}"
            acknowledged = set(senders.acknowledged)
            way(collector, copy)
            opened = tmp_path / "opened"
            shutil.copytree(copy, opened)
            place.claim(opened, Disk())  # as `otel-audit repair --moved`
            with ActivityLog.open(opened, settings):
                there = archived_ids(opened)
            assert acknowledged <= set(there), f"copy {at} lacks records"
            assert max(there.values(), default=1) == 1
            assert folder_status(opened, check=True).faults == []
            with DuckDBReader(opened) as reader:
                assert all(not report.missing for report in reader.stream_reports())
            shutil.rmtree(opened)
            if way is not by_command:
                shutil.rmtree(copy)
        assert acknowledged
