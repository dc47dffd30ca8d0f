"""A disk that refuses or fails: nothing is acknowledged that is not on it, and it is used again as soon as it works."""

from __future__ import annotations

import errno
import os
from concurrent.futures import Future
from pathlib import Path

import pytest

from otel_audit.log import health
from otel_audit.log.engine import ActivityLog, Committed
from otel_audit.log.status import folder_status
from otel_audit.otlp.decode import Decoded
from tests.e2e.processes import CollectorProcess
from tests.fire.disks import frozen, read_only, thin_disk
from tests.fire.leaks import held, settles
from tests.fire.served import FAILURES, Trouble, serving
from tests.fire.traffic import Peer, Traffic, fresh_ids, until

QUICK = {"merge_fan_in": 4, "input_keep_s": 0.1, "index_run_rows": 500}


@pytest.mark.slow
@pytest.mark.parametrize(("call", "number"), FAILURES, ids=lambda value: errno.errorcode.get(value, value))
def test_while_a_call_fails_everything_is_refused_and_then_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    data = tmp_path / "data"
    trouble = Trouble(monkeypatch, data)
    with serving(data, **QUICK) as collector:
        peer = Peer(collector.port)
        with Traffic(collector.port, senders=2) as traffic:
            traffic.more(500)
            before = held(os.getpid(), collector.port)
            trouble.failing[call] = number
            traffic.refused()
            acknowledged = len(traffic.acknowledged)
            traffic.refused()
            assert len(traffic.acknowledged) == acknowledged
            until(peer.ready)
            assert peer.metric("otel_audit_ready") == 0
            trouble.failing.clear()
            traffic.more(500)
        until(lambda: not peer.ready())
        settles(os.getpid(), collector.port, before)
        peer.close()
    traffic.check(data)
    assert folder_status(data, check=True).faults == []


@pytest.mark.parametrize("call", ["write", "fsync", "link"])
def test_one_failure_costs_one_resend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    data = tmp_path / "data"
    trouble = Trouble(monkeypatch, data)
    with serving(data) as collector:
        peer = Peer(collector.port)
        ids = fresh_ids(3)
        assert peer.send(fresh_ids(1)) == 200
        trouble.failing[call] = errno.EIO
        assert peer.send(ids) == 503
        assert "Input/output error" in peer.ready()
        trouble.failing.clear()
        assert until(lambda: peer.send(ids) == 200)
        assert peer.ready() == ""
        assert peer.metric("otel_audit_rows") == 4
        peer.close()


@pytest.mark.slow
def test_a_folder_that_is_read_only_for_a_while_is_written_again_after_it(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with CollectorProcess(data, min_free_bytes=0, **QUICK) as collector:
        peer = Peer(collector.port)
        with Traffic(collector.port) as traffic:
            traffic.more(1_000)
            before = held(collector.process.pid, collector.port)
            with read_only(data):
                traffic.refused()
                acknowledged = len(traffic.acknowledged)
                traffic.refused()
                assert len(traffic.acknowledged) == acknowledged
                assert "Read-only file system" in until(peer.ready)
                assert peer.ask("GET", "/v1/audit/records?limit=1")[0] == 200
            traffic.more(1_000)
        until(lambda: not peer.ready())
        settles(collector.process.pid, collector.port, before)
        peer.close()
        assert collector.stop() == 0
    traffic.check(data)


def test_a_folder_that_is_read_only_at_the_start_is_an_error_that_names_it(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with serving(data) as collector:
        Peer(collector.port).send(fresh_ids(1))
    with read_only(data), pytest.raises(Exception, match=rf"{data}.*Read-only file system"), serving(data):
        raise AssertionError("it serves")


@pytest.mark.slow
def test_a_disk_that_does_not_answer_is_told_and_what_waited_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Senders give up waiting and send again; each record is there once in the end."""
    monkeypatch.setattr(health, "_LONG_S", 0.5)
    with thin_disk(tmp_path / "disk", 24) as disk:
        data = disk / "data"
        with serving(data, **QUICK) as collector:
            with Traffic(collector.port, senders=2, timeout_s=1.0) as traffic:
                traffic.more(500)
                peer = Peer(collector.port)
                with frozen(disk):
                    acknowledged = len(traffic.acknowledged)
                    assert "the disk may not answer" in until(peer.ready)
                    until(lambda: traffic.answers["cut"] > 2)
                    assert len(traffic.acknowledged) <= acknowledged + 40
                traffic.more(500)
                until(lambda: not peer.ready())
            assert peer.metric("otel_audit_duplicate_records_total") > 0
            peer.close()
        traffic.check(data)


def test_an_answer_that_does_not_wait_for_the_disk_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug planted: what all the tests here ask in the end must not be answered well whatever is done."""
    data = tmp_path / "data"
    trouble = Trouble(monkeypatch, data)
    submit = ActivityLog.submit

    def hasty(self: ActivityLog, decoded: Decoded) -> Future[Committed]:
        submit(self, decoded)
        done: Future[Committed] = Future()
        done.set_result(Committed(self.name, None, None))
        return done

    monkeypatch.setattr(ActivityLog, "submit", hasty)
    with serving(data) as collector, Traffic(collector.port, senders=1) as traffic:
        traffic.more(100)
        trouble.failing["write"] = errno.EIO
        traffic.more(100)
    with pytest.raises(AssertionError):
        traffic.check(data)
