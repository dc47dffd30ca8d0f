"""How much memory a peer can make a collector take, measured as its process grows."""

from __future__ import annotations

import contextlib
import gzip
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import requests

from otel_audit.otlp.frame import length_delimited as field
from tests.e2e.processes import CollectorProcess
from tests.fire.traffic import OTLP, Peer, fresh_ids

pytestmark = pytest.mark.slow
MIB = 1 << 20
CHUNKED = (
    b"POST /v1/logs HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-protobuf\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[CollectorProcess]:
    with CollectorProcess(tmp_path / "data", min_free_bytes=0) as running:
        with closing(Peer(running.port)) as peer:
            assert peer.send(fresh_ids(100)) == 200
        yield running
        with closing(Peer(running.port)) as peer:
            assert peer.send(fresh_ids(1)) == 200
        assert running.stop() == 0


class Growth:
    """By how much a process has grown at most since this was made."""

    def __init__(self, pid: int) -> None:
        self._process = Path(f"/proc/{pid}")
        (self._process / "clear_refs").write_text("5")  # the peak is the present size
        self._before = self._peak_mib()

    def _peak_mib(self) -> int:
        lines = (self._process / "status").read_text().splitlines()
        return next(int(line.split()[1]) >> 10 for line in lines if line.startswith("VmHWM"))

    @property
    def mib(self) -> int:
        return self._peak_mib() - self._before


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=30)


@pytest.mark.parametrize(
    "endless",
    [b"0\r\n" + b"a: b\r\n" * (16 * MIB // 6), b"0\r\na: " + b"x" * 64 * MIB, b"5;a=" + b"x" * 64 * MIB],
    ids=["many trailers", "a long trailer", "a long chunk extension"],
)
def test_what_follows_a_body_without_an_end(collector, endless):
    growth = Growth(collector.process.pid)
    with connect(collector.port) as client, contextlib.suppress(ConnectionError):
        client.sendall(CHUNKED + endless)
        client.recv(1)
    assert growth.mib < 50
    with closing(Peer(collector.port)) as peer:
        assert peer.metric('otel_audit_closed_connections_total{reason="large_trailer"}') == 1


def test_requests_sent_ahead(collector):
    growth = Growth(collector.process.pid)
    many = b"GET / HTTP/1.1\r\n\r\n" * (256 * 1024 // 18)
    with contextlib.ExitStack() as opened:
        for _ in range(150):
            client = opened.enter_context(connect(collector.port))
            client.settimeout(0.2)
            with contextlib.suppress(TimeoutError):
                client.sendall(many)
        assert requests.get(f"{collector.url}/healthz", timeout=30).ok
        assert growth.mib < 200


@pytest.mark.parametrize("records", [8, 600])
def test_control_characters_that_take_six_in_json(collector, records):
    growth = Growth(collector.process.pid)
    value = field(1, b"\x01" * (56 * MIB // records))
    ours = b"".join(
        [
            field(6, field(1, b"audit.%b" % key) + field(2, field(1, b"a")))
            for key in (b"record.id", b"actor.id", b"action")
        ]
    )
    record = ours + field(6, field(1, b"x") + field(2, value))
    body = gzip.compress(field(1, field(2, field(2, record) * records)), 6)
    answer = requests.post(f"{collector.url}/v1/logs", body, headers=OTLP | {"content-encoding": "gzip"}, timeout=60)
    assert answer.status_code == (200 if records == 8 else 413)
    assert growth.mib < 450
