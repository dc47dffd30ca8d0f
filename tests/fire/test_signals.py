"""Stopped, frozen and thawed under load: what was acknowledged is there, and nobody is left without an end."""

from __future__ import annotations

import signal
import socket
import time
from pathlib import Path

import pytest

from tests.e2e.processes import CollectorProcess
from tests.fire.leaks import held, settles
from tests.fire.traffic import Peer, Traffic, head_of, until

pytestmark = pytest.mark.slow
STOP_S = 2.0


def test_sigterm_under_load_ends_in_time_whoever_holds_a_connection(tmp_path: Path) -> None:
    """Idle connections, bodies that do not come, and senders in full swing: exit 0 within the time for stopping."""
    data = tmp_path / "data"
    with CollectorProcess(data, min_free_bytes=0, stop_timeout_s=STOP_S) as collector:
        open_ones = [socket.create_connection(("127.0.0.1", collector.port)) for _ in range(60)]
        for slow in open_ones[:30]:
            slow.sendall(head_of(1_000) + b"x")
        with Traffic(collector.port) as traffic:
            traffic.more(1_000)
            began = time.monotonic()
            collector.process.send_signal(signal.SIGTERM)
            assert collector.process.wait(30) == 0
            assert time.monotonic() - began < STOP_S + 5
        assert set(traffic.answers) <= {200, 503, "cut"}
        for slow in open_ones[:30]:
            answer = b"".join(iter(lambda slow=slow: slow.recv(4096), b""))
            assert answer == b"" or (answer.startswith(b"HTTP/1.1 503") and b"retry-after: 1" in answer)
        for each in open_ones:
            each.close()
    traffic.check(data)


def test_frozen_for_a_while_it_goes_on_where_it_was(tmp_path: Path) -> None:
    """Times that ran out meanwhile end in resends; what senders sent again is there once."""
    data = tmp_path / "data"
    with CollectorProcess(data, min_free_bytes=0, read_timeout_s=0.5, queue_wait_s=0.5) as collector:
        pid = collector.process.pid
        with Traffic(collector.port, timeout_s=1.0) as traffic:
            traffic.more(1_000)
            before = held(pid, collector.port)
            for _ in range(2):
                cut = traffic.answers["cut"]
                collector.process.send_signal(signal.SIGSTOP)
                until(lambda cut=cut: traffic.answers["cut"] > cut + 4)
                collector.process.send_signal(signal.SIGCONT)
                traffic.more(1_000)
        settles(pid, collector.port, before)
        peer = Peer(collector.port)
        assert peer.ready() == ""
        assert peer.metric("otel_audit_duplicate_records_total") > 0
        peer.close()
        assert collector.stop() == 0
    traffic.check(data)
