"""What the operating system allows a process runs out: everything is refused with "later", and goes on after it."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from tests.e2e.processes import CollectorProcess
from tests.fire.leaks import held, settles
from tests.fire.traffic import Peer, Traffic, until

pytestmark = pytest.mark.slow
QUICK = {"merge_fan_in": 4, "input_keep_s": 0.2, "index_run_rows": 2_000}
UNLIMITED = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)


def nothing_gets_through(traffic: Traffic) -> None:
    """What was under way when the limit came may still have been acknowledged; nothing after it is."""
    traffic.refused(20)
    acknowledged = len(traffic.acknowledged)
    traffic.refused(20)
    assert len(traffic.acknowledged) == acknowledged


def test_a_limit_on_the_size_of_files_refuses_until_it_is_lifted(tmp_path: Path) -> None:
    """Needs no privileges: what `ulimit -f` or a quota does, in the middle of a file, to the data and to the log."""
    data = tmp_path / "data"
    with CollectorProcess(data, said=tmp_path / "log", min_free_bytes=0, **QUICK) as collector:
        pid = collector.process.pid
        peer = Peer(collector.port)
        with Traffic(collector.port) as traffic:
            traffic.more(1_000)
            before = held(pid, collector.port)
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
            nothing_gets_through(traffic)
            assert "File too large" in until(peer.ready)
            resource.prlimit(pid, resource.RLIMIT_FSIZE, UNLIMITED)
            traffic.more(1_000)
        settles(pid, collector.port, before)
        assert not peer.ready()
        peer.close()
        assert collector.stop() == 0
    traffic.check(data)


def test_without_handles_those_connected_are_refused_until_there_are_some(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with CollectorProcess(data, min_free_bytes=0, **QUICK) as collector:
        pid = collector.process.pid
        peer = Peer(collector.port)
        with Traffic(collector.port) as traffic:
            traffic.more(1_000)
            before = held(pid, collector.port)
            assert not peer.ready()  # is connected now, and could not be later
            limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (10, limits[1]))
            nothing_gets_through(traffic)
            assert "Too many open files" in until(peer.ready)
            resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
            traffic.more(1_000)
        settles(pid, collector.port, before)
        assert not peer.ready()
        peer.close()
        assert collector.stop() == 0
    traffic.check(data)


def test_without_memory_requests_are_refused_or_cut_off_and_none_is_blamed(tmp_path: Path) -> None:
    """Native code may also end the process, as running out of memory often does; then it is started again."""
    data = tmp_path / "data"
    with CollectorProcess(data, min_free_bytes=0, **QUICK) as collector:
        pid = collector.process.pid
        with Traffic(collector.port, records=2_000, timeout_s=5.0) as traffic:
            traffic.more(8_000)
            pages = int(Path(f"/proc/{pid}/statm").read_text().split()[0])
            resource.prlimit(pid, resource.RLIMIT_AS, (pages * resource.getpagesize(), resource.RLIM_INFINITY))
            refused = traffic.answers[503] + traffic.answers["cut"]
            until(lambda: traffic.failed or traffic.answers[503] + traffic.answers["cut"] > refused + 20)
            if collector.process.poll() is None:
                resource.prlimit(pid, resource.RLIMIT_AS, UNLIMITED)
            else:
                collector.start()
            traffic.more(8_000)
        peer = Peer(collector.port)
        until(lambda: not peer.ready())
        assert peer.metric("otel_audit_queue_bytes") == 0
        assert peer.metric("otel_audit_quarantined_records_total") == 0
        peer.close()
        assert collector.stop() == 0
    assert set(traffic.answers) <= {200, 503, "cut"}
    traffic.check(data)
