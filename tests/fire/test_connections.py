"""More connections than there is room for, and connections that nothing comes over: real senders are served on."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from otel_audit.collector import connections
from otel_audit.collector.answers import Receive, Scope, Send
from tests.e2e.processes import CollectorProcess
from tests.fire.leaks import Held, held, settles
from tests.fire.served import serving
from tests.fire.traffic import Peer, Traffic, body_of, fresh_ids, head_of, until

MOST = 512
MANY = 1_000


@pytest.fixture(autouse=True)
def room_for_sockets() -> Iterator[None]:
    """The test's own ends take handles too."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4_096)), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextlib.contextmanager
def opened(port: int, count: int, first: bytes = b"") -> Iterator[list[socket.socket]]:
    """So many connections over each of which something was sent, or nothing."""
    found: list[socket.socket] = []
    try:
        for _ in range(count):
            found.append(socket.create_connection(("127.0.0.1", port), timeout=30))
            with contextlib.suppress(ConnectionError):
                found[-1].sendall(first)
        yield found
    finally:
        for each in found:
            each.close()


@contextlib.contextmanager
def dripping(clients: list[socket.socket]) -> Iterator[None]:
    """A byte more over each of them, again and again."""
    stop = threading.Event()

    def drip() -> None:
        while not stop.wait(0.2):
            for each in clients:
                with contextlib.suppress(OSError):
                    each.send(b"a")

    thread = threading.Thread(target=drip)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@contextlib.contextmanager
def collecting(tmp_path: Path, **settings: object) -> Iterator[tuple[CollectorProcess, Peer, Held]]:
    with CollectorProcess(tmp_path / "data", min_free_bytes=0, **settings) as collector:
        with closing(Peer(collector.port)) as peer:
            assert peer.send(fresh_ids(1)) == 200
            before = held(collector.process.pid, collector.port)
            yield collector, peer, before
        settles(collector.process.pid, collector.port, before)
        assert collector.stop() == 0


@pytest.mark.slow
def test_a_thousand_idle_connections_keep_no_sender_out(tmp_path: Path) -> None:
    with collecting(tmp_path) as (collector, peer, before), opened(collector.port, MANY):
        with Traffic(collector.port, senders=2) as traffic:
            traffic.more(500)
        assert set(traffic.answers) == {200}
        assert peer.metric("otel_audit_connections") <= MOST
        assert peer.metric('otel_audit_closed_connections_total{reason="room"}') >= MANY - MOST
        assert held(collector.process.pid, collector.port).handles < before.handles + MOST + 20
        assert peer.ready() == ""
    traffic.check(tmp_path / "data")


@pytest.mark.slow
def test_heads_that_do_not_end_keep_no_sender_out_and_are_cut_off_in_time(tmp_path: Path) -> None:
    """Also when a little more of each head comes all the time."""
    unfinished = head_of(100).removesuffix(b"\r\n") + b"x-more: "
    with (
        collecting(tmp_path, read_timeout_s=1.5) as (collector, peer, _),
        opened(collector.port, MANY, unfinished) as slow,
        dripping(slow),
    ):
        with Traffic(collector.port, senders=2) as traffic:
            traffic.more(500)
        until(lambda: peer.metric("otel_audit_connections") < 10)
        assert peer.metric('otel_audit_closed_connections_total{reason="slow_head"}') > 0
    assert set(traffic.answers) == {200}
    traffic.check(tmp_path / "data")


@pytest.mark.slow
def test_bodies_that_do_not_come_are_answered_later_and_so_are_newcomers_without_room(tmp_path: Path) -> None:
    """Health pages are served even then; and as soon as the time for the bodies is over, everybody is."""
    with collecting(tmp_path, read_timeout_s=3.0) as (collector, peer, _):
        peer.close()
        with opened(collector.port, MOST, head_of(1_000) + b"x") as slow, closing(Peer(collector.port)) as newcomer:
            assert newcomer.send(fresh_ids(1)) == 503
            assert newcomer.ready() == ""
            with Traffic(collector.port, senders=2) as traffic:
                traffic.more(200)
            assert traffic.answers[503] > 0
            assert slow[0].recv(4096).startswith(b"HTTP/1.1 503")
            until(lambda: newcomer.send(fresh_ids(1)) == 200)
    assert set(traffic.answers) <= {200, 503, "cut"}
    traffic.check(tmp_path / "data")


@pytest.mark.slow
def test_bodies_of_one_byte_give_way_to_senders(tmp_path: Path) -> None:
    """Long before their own time is over."""
    with collecting(tmp_path, read_timeout_s=600.0) as (collector, peer, _):
        peer.close()
        with opened(collector.port, 600, head_of(1_000) + b"x"), closing(Peer(collector.port)) as newcomer:
            until(lambda: newcomer.send(fresh_ids(1)) == 200)
            with Traffic(collector.port, senders=4) as traffic:
                traffic.more(500)
            assert newcomer.metric('otel_audit_closed_connections_total{reason="room"}') > 0
    traffic.check(tmp_path / "data")


def test_the_connection_that_waited_longest_makes_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And one that never had a request before any that had."""
    monkeypatch.setattr(connections, "_MOST", 3)
    with (
        serving(tmp_path / "data") as collector,
        closing(Peer(collector.port)) as sender,
        opened(collector.port, 2) as silent,
        closing(Peer(collector.port)) as newcomer,
        closing(Peer(collector.port)) as another,
        closing(Peer(collector.port)) as last,
    ):
        for peer, closed in ((sender, 0), (newcomer, 1), (another, 2), (last, 3)):
            assert peer.send(fresh_ids(1)) == 200
            assert peer.metric('otel_audit_closed_connections_total{reason="room"}') == closed
            assert peer.metric("otel_audit_connections") == 3
            if peer is another:
                assert [each.recv(1) for each in silent] == [b"", b""]
                assert sender.send(fresh_ids(1)) == 200
        assert last.metric("otel_audit_connections") == 3


def test_a_head_without_an_end_is_refused(tmp_path: Path) -> None:
    with serving(tmp_path / "data") as collector, opened(collector.port, 1, b"GET / HTTP/1.1\r\nx: ") as (client,):
        with contextlib.suppress(ConnectionError):
            for _ in range(64):
                client.sendall(b"x" * (1 << 20))
        with closing(Peer(collector.port)) as peer:
            assert peer.metric('otel_audit_closed_connections_total{reason="large_head"}') == 1


@pytest.mark.slow
@pytest.mark.parametrize("first", [b"", b"\r\n"], ids=["nothing", "an empty line"])
def test_a_connection_over_which_nothing_comes_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: bytes
) -> None:
    monkeypatch.setattr(connections, "KEEP_ALIVE_S", 0.3)
    with serving(tmp_path / "data") as collector, opened(collector.port, 1, first) as (client,):
        assert client.recv(1) == b""
        with closing(Peer(collector.port)) as peer:
            assert peer.metric('otel_audit_closed_connections_total{reason="idle"}') == 1


@pytest.mark.slow
def test_a_peer_that_does_not_take_its_answer_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "_STALLED_S", 0.5)
    monkeypatch.setattr(connections, "_CLOSING_S", 0.5)
    asking = b"GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n"
    with serving(tmp_path / "data") as collector, closing(socket.socket()) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", collector.port))
        client.sendall(asking * 2_000)
        with closing(Peer(collector.port)) as peer:
            until(lambda: peer.metric('otel_audit_closed_connections_total{reason="stalled"}') == 1)
            until(lambda: peer.metric("otel_audit_connections") == 1)


@pytest.mark.slow
@pytest.mark.parametrize("version", ["1.1", "1.0"], ids=["kept open", "closed after it"])
def test_a_peer_that_takes_its_answer_slowly_gets_all_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    monkeypatch.setattr(connections, "_STALLED_S", 2.0)
    monkeypatch.setattr(connections, "_CLOSING_S", 2.0)
    size = 32 << 20

    async def large(_: Scope, __: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % size)]})
        await send({"type": "http.response.body", "body": bytes(size)})

    asking = f"GET /v1/audit HTTP/{version}\r\nhost: localhost\r\n\r\n".encode()
    with serving(tmp_path / "data", reads=large) as collector, closing(socket.socket()) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        client.connect(("127.0.0.1", collector.port))
        client.sendall(asking)
        taken = 0
        while taken < size:
            piece = client.recv(1 << 20)
            assert piece, f"cut off after {taken} bytes"
            taken += len(piece)
            time.sleep(len(piece) / (6 << 20))


@pytest.mark.slow
def test_a_connection_that_cannot_be_closed_for_what_is_unsent_is_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "_CLOSING_S", 0.3)

    async def large(_: Scope, __: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % (32 << 20))]})
        await send({"type": "http.response.body", "body": bytes(32 << 20)})

    asking = b"GET /v1/audit HTTP/1.0\r\nhost: localhost\r\n\r\n"
    with (
        serving(tmp_path / "data", reads=large) as collector,
        closing(Peer(collector.port)) as peer,
        opened(collector.port, 1, asking) as (client,),
    ):
        client.recv(1)
        until(lambda: peer.metric("otel_audit_connections") == 1)


def test_many_small_requests_at_once_are_no_large_head(tmp_path: Path) -> None:
    """Cut in the middle of one, wherever the pieces happen to end."""
    asking = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n"
    with serving(tmp_path / "data") as collector, opened(collector.port, 1) as (client,):
        rest = asking * 5_000 + b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
        sender = threading.Thread(target=client.sendall, args=(rest,))
        sender.start()
        answers = b"".join(iter(lambda: client.recv(1 << 16), b""))
        sender.join()
    assert answers.count(b"HTTP/1.1 200 OK") == 5_001


def vanish(client: socket.socket) -> None:
    """Go without a goodbye: the other side gets a reset."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def leave(client: socket.socket) -> None:
    client.close()


@pytest.mark.slow
@pytest.mark.parametrize("how", [vanish, leave])
def test_a_client_that_is_gone_before_its_answer_has_sent_its_records_all_the_same(
    tmp_path: Path, how: Callable[[socket.socket], None]
) -> None:
    """It cannot know that; what it sends again is dropped as repeats."""
    with serving(tmp_path / "data") as collector, closing(Peer(collector.port)) as peer:
        before = held(os.getpid(), collector.port)
        lost = [fresh_ids(5) for _ in range(20)]
        for ids in lost:
            client = socket.create_connection(("127.0.0.1", collector.port))
            body = body_of(ids)
            client.sendall(head_of(len(body)) + body)
            time.sleep(0.02)  # else a reset may overtake the request
            how(client)
        until(lambda: peer.metric("otel_audit_rows") == 100)
        for ids in lost:
            assert peer.send(ids) == 200
        assert peer.metric("otel_audit_rows") == 100
        assert peer.metric("otel_audit_duplicate_records_total") == 100
        settles(os.getpid(), collector.port, before)


@pytest.mark.parametrize("how", [vanish, leave])
def test_a_client_that_is_gone_in_the_middle_of_its_body_leaves_nothing_behind(
    tmp_path: Path, how: Callable[[socket.socket], None]
) -> None:
    with serving(tmp_path / "data") as collector, closing(Peer(collector.port)) as peer:
        before = held(os.getpid(), collector.port)
        for _ in range(50):
            body = body_of(fresh_ids(5))
            client = socket.create_connection(("127.0.0.1", collector.port))
            client.sendall(head_of(len(body)) + body[:-1])
            how(client)
        settles(os.getpid(), collector.port, before)
        assert peer.metric("otel_audit_rows") == 0
        assert peer.send(fresh_ids(1)) == 200
