"""A hop that answers success and loses records: the gap is named, healed from the kept copies, and gone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from otel_audit import ActivityRecord, EntityRef, OTelActivityLogRepo
from otel_audit.repos.http_reader import HttpReader
from tests.e2e.processes import CollectorProcess, archived_ids

RECORDS, LOST = 60, (21, 40)


class Hop:
    """The hop's process; `lose` says which numbers it loses from now on."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.url = f"http://127.0.0.1:{int(self._line())}"

    def lose(self, first: int = 0, last: int = 0) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{first} {last}\n" if first else "\n")
        self._process.stdin.flush()
        assert self._line() == "ready\n"

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()


@contextmanager
def lossy_hop(target: str) -> Iterator[Hop]:
    words = [sys.executable, "-m", "tests.e2e.lossy_hop", target]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield Hop(process)
    finally:
        process.kill()
        process.communicate()


def otel_audit(*words: str) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    command = [sys.executable, "-m", "otel_audit.cli.main", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, env=env)


def until_archived(collector: CollectorProcess, count: int) -> None:
    """The hop answers before it forwards: wait for the last of it."""
    end = time.monotonic() + 15
    with HttpReader(collector.url) as reader:
        while reader.count() < count or any(report.state == "open" for report in reader.stream_reports()):
            assert time.monotonic() < end, "the hop did not forward"
            time.sleep(0.02)


@pytest.mark.slow
def test_what_a_hop_lost_after_answering_for_it_is_named_and_sent_again(tmp_path: Path) -> None:
    spool = str(tmp_path / "spool")
    with CollectorProcess(tmp_path / "data", min_free_bytes=0) as collector, lossy_hop(collector.url) as hop:
        hop.lose(*LOST)
        with OTelActivityLogRepo(hop.url, durability="disk", spool_dir=spool, resource={"service.name": "shop"}) as log:
            records = [
                ActivityRecord.create(actor_id="a", owner_id="o", action="buy", entity_ref=EntityRef("Cart", at))
                for at in range(RECORDS)
            ]
            for record in records:
                log.append(record)
            log.flush(15)  # everybody along the way has said yes
            assert log.stats.delivered == RECORDS
        until_archived(collector, RECORDS - 20)

        gaps = otel_audit("gaps", "--url", collector.url, "--wait", "0")
        assert gaps.returncode == 3, gaps.stderr
        (report,) = [json.loads(line) for line in gaps.stdout.splitlines()]
        assert (report["missing"], report["emitted"], report["state"]) == ([list(LOST)], RECORDS, "closed")

        hop.lose()
        resend = ("spool", "resend", "--missing", "--spool-dir", spool, "--endpoint", hop.url)
        healed = otel_audit(*resend, "--url", collector.url)
        assert healed.returncode == 0, healed.stderr
        assert json.loads(healed.stdout) == {"wanted": 20, "delivered": 20, "refused": 0, "state": "forwarded"}
        until_archived(collector, RECORDS)

        status = otel_audit("spool", "status", "--spool-dir", spool)
        expect = tmp_path / "counts.jsonl"
        expect.write_text(status.stdout, encoding="utf-8")
        clean = otel_audit("gaps", "--url", collector.url, "--wait", "0", "--expect", str(expect))
        assert (clean.returncode, clean.stdout) == (0, "")
        again = otel_audit(*resend, "--url", collector.url)
        assert json.loads(again.stdout)["delivered"] == 0
        with HttpReader(collector.url) as reader:
            (whole,) = reader.stream_reports()
            assert (whole.archived, whole.repeats, whole.service_name) == (RECORDS, 0, "shop")
        assert collector.stop() == 0
    assert archived_ids(tmp_path / "data") == {str(record.record_id): 1 for record in records}
