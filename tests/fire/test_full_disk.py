"""A disk without room: everything is refused with "later", and taken again by itself when there is room."""

from __future__ import annotations

from pathlib import Path

import pytest

from otel_audit.log.status import folder_status
from tests.e2e.processes import CollectorProcess
from tests.fire.disks import Ballast, thin_disk, tmpfs
from tests.fire.leaks import held, settles
from tests.fire.traffic import Peer, Traffic, until

pytestmark = pytest.mark.slow
MIB = 1 << 20
QUICK = {"merge_fan_in": 4, "input_keep_s": 0.2, "index_run_rows": 2_000}


def test_a_full_disk_refuses_until_there_is_room_and_the_log_file_on_it_does_no_harm(tmp_path: Path) -> None:
    """Also when it was killed meanwhile: it starts on the full disk, and what it holds can be read there."""
    with tmpfs(tmp_path / "disk", 24) as disk:
        data = disk / "data"
        with CollectorProcess(data, said=disk / "log", min_free_bytes=0, **QUICK) as collector:
            peer = Peer(collector.port)
            with Traffic(collector.port) as traffic:
                traffic.more(1_000)
                ballast = Ballast(disk)
                traffic.refused()
                assert "No space left on device" in until(peer.ready)
                assert peer.metric("otel_audit_ready") == 0
                assert peer.metric("otel_audit_failed_commits_total") > 0
                collector.kill()
                peer.close()
                collector.start()
                assert peer.ask("GET", "/v1/audit/records?limit=1")[0] == 200
                before = held(collector.process.pid, collector.port)
                traffic.refused()
                ballast.drop()
                traffic.more(1_000)
                until(lambda: not peer.ready())
            settles(collector.process.pid, collector.port, before)
            peer.close()
            assert collector.stop() == 0
        traffic.check(data)
        assert folder_status(data, check=True).faults == []


def test_below_the_low_space_mark_nothing_is_written_and_reading_goes_on(tmp_path: Path) -> None:
    with tmpfs(tmp_path / "disk", 48) as disk:
        data = disk / "data"
        with CollectorProcess(data, min_free_bytes=16 * MIB, **QUICK) as collector:
            peer = Peer(collector.port)
            with Traffic(collector.port) as traffic:
                traffic.more(1_000)
                ballast = Ballast(disk, leave=15 * MIB)
                traffic.refused()
                until(lambda: peer.metric("otel_audit_hot_bytes") and "low-space mark" in peer.ready())
                assert peer.metric("otel_audit_ready") == 0
                assert peer.metric("otel_audit_free_bytes") < 16 * MIB
                rows = peer.metric("otel_audit_rows")
                traffic.refused(20)
                assert peer.metric("otel_audit_rows") == rows
                assert peer.metric("otel_audit_free_bytes") > 14 * MIB
                assert peer.ask("GET", "/v1/audit/records?limit=1")[0] == 200
                ballast.drop()
                traffic.more(1_000)
            assert not peer.ready()
            peer.close()
            assert collector.stop() == 0
        traffic.check(data)


def test_a_device_that_cannot_keep_what_it_took_is_noticed_at_fsync(tmp_path: Path) -> None:
    """The write went well; only the fsync says that the data is lost. Nothing of it may have been acknowledged."""
    with thin_disk(tmp_path / "disk", 24) as disk:
        data = disk / "data"
        with CollectorProcess(data, min_free_bytes=0, **QUICK) as collector:
            peer = Peer(collector.port)
            with Traffic(collector.port) as traffic:
                traffic.more(1_000)
                ballast = Ballast(tmp_path / "below")
                traffic.refused()
                until(peer.ready)
                ballast.drop()
                traffic.more(1_000)
            peer.close()
            collector.kill()
            collector.start()
            assert collector.stop() == 0
        traffic.check(data)
        assert folder_status(data, check=True).faults == []
