"""Where a request's body begins and ends: what is answered with success was read to its declared end, and is stored."""

from __future__ import annotations

import asyncio
import gzip
import socket
from collections.abc import Iterator
from contextlib import closing

import pytest

from otel_audit.collector.admission import ByteBudget
from otel_audit.collector.request import Incoming, parse_head, read_body
from otel_audit.errors import OverloadedError

POST = b"POST /v1/logs HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-protobuf\r\n"
OF_THE_JDK = b"connection: Upgrade, HTTP2-Settings\r\nhttp2-settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA\r\n"


class RawClient:
    """A connection over which any bytes are sent, and whole answers read."""

    def __init__(self, opened: socket.socket) -> None:
        self._socket = opened
        self._file = opened.makefile("rb")
        self.sendall, self.shutdown = opened.sendall, opened.shutdown

    def line(self) -> bytes:
        return self._file.readline()

    def answer(self) -> tuple[int, bool]:
        """The next answer's status, and whether it ends the connection."""
        status = int(self.line().split()[1])
        headers = {}
        while (line := self.line()) != b"\r\n":
            name, _, value = line.partition(b":")
            headers[name] = value.strip()
        self._file.read(int(headers[b"content-length"]))
        return status, headers.get(b"connection") == b"close"

    @property
    def closed(self) -> bool:
        try:
            return self._file.read(1) == b""
        except ConnectionResetError:
            return True

    def close(self) -> None:
        self._file.close()
        self._socket.close()


@pytest.fixture
def client(shared) -> Iterator[RawClient]:
    with closing(RawClient(shared.client.raw())) as opened:
        yield opened


def length(body: bytes) -> bytes:
    return b"content-length: %d\r\n\r\n" % len(body)


def chunked(body: bytes) -> bytes:
    return b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


@pytest.mark.parametrize("protocol", [b"h2c", b"websocket", b"TLS/1.0"])
@pytest.mark.parametrize("segments", [1, 2, 3])
def test_a_request_to_upgrade_is_read_as_if_it_had_not_asked(shared, client, request_body, new_ids, protocol, segments):
    ids = new_ids(3)
    body = request_body(*ids)
    head = POST + OF_THE_JDK + b"upgrade: %b\r\n" % protocol + length(body)
    sent = head + body
    cuts = {1: [], 2: [len(head)], 3: [len(head) - 10, len(head) + 10]}[segments]
    for start, end in zip([0, *cuts], [*cuts, len(sent)], strict=True):
        client.sendall(sent[start:end])
        if end < len(sent):
            shared.client.ask("GET", "/healthz")  # by then the segment before has been read
    assert client.answer() == (200, False)
    assert shared.kept(ids) == ids
    client.sendall(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
    assert client.answer() == (200, False)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_so_is_one_with_a_chunked_body(shared, client, request_body, new_ids, pack):
    ids = new_ids(3)
    encoding = b"content-encoding: gzip\r\n" if pack is gzip.compress else b""
    head = POST + encoding + b"connection: upgrade\r\nupgrade: h2c\r\n"
    client.sendall(head + chunked(pack(request_body(*ids))))
    assert client.answer() == (200, False)
    assert shared.kept(ids) == ids


def test_a_body_is_never_taken_for_another_request(shared, client):
    """Which a parser does that stops at the upgrade and then reads on."""
    body = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n"
    client.sendall(POST + b"connection: upgrade\r\nupgrade: h2c\r\n" + length(body))
    shared.client.ask("GET", "/healthz")
    client.sendall(body)
    assert client.answer()[0] == 400
    client.sendall(b"GET /nowhere HTTP/1.1\r\nhost: localhost\r\n\r\n")
    assert client.answer()[0] == 404


@pytest.mark.parametrize(
    "lines",
    [
        b"content-length: %(size)d\r\ntransfer-encoding: chunked\r\n",
        b"transfer-encoding: chunked\r\ncontent-length: %(size)d\r\n",
        b"content-length: %(size)d\r\ncontent-length: %(size)d\r\n",
        b"content-length: %(size)d\r\ncontent-length: 1\r\n",
        b"content-length: %(size)d, %(size)d\r\n",
        b"content-length: +%(size)d\r\n",
        b"content-length : %(size)d\r\n",
        b"content-length:\r\n",
        b"transfer-encoding: gzip, chunked\r\n",
        b"transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
        b"transfer-encoding: identity\r\n",
        b"transfer-encoding: xchunked\r\n",
        b"transfer-encoding: \r\n",
    ],
)
def test_a_length_told_in_two_ways_or_in_none_that_is_known_is_400_and_ends_the_connection(
    shared, client, request_body, new_ids, lines
):
    ids = new_ids(1)
    body = request_body(*ids)
    client.sendall(POST + lines % {b"size": len(body)} + b"\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))
    assert client.answer() == (400, True)
    assert client.closed
    assert shared.kept(ids) == []


@pytest.mark.parametrize("version", [b"1.0", b"1.1", b"2.0"])
def test_a_request_that_does_not_tell_the_length_of_its_body_is_411_and_ends_the_connection(
    shared, client, request_body, new_ids, version
):
    """In HTTP/1.0 the body might go on to the end of the connection, in HTTP/1.1 there is none: nobody sends that."""
    ids = new_ids(1)
    client.sendall(POST.replace(b"HTTP/1.1", b"HTTP/" + version) + b"\r\n" + request_body(*ids))
    assert client.answer() == (411, True)
    assert client.closed
    assert shared.kept(ids) == []


def test_a_chunked_body_of_http_1_0_is_read(shared, client, request_body, new_ids):
    ids = new_ids(1)
    client.sendall(POST.replace(b"HTTP/1.1", b"HTTP/1.0") + chunked(request_body(*ids)))
    assert client.answer()[0] == 200
    assert shared.kept(ids) == ids


@pytest.mark.parametrize("cut", [1, 4, 5, 6, 40])
@pytest.mark.parametrize("frame", [length, chunked])
def test_a_body_that_is_cut_short_is_no_success(shared, client, request_body, new_ids, frame, cut):
    ids = new_ids(1)
    body = request_body(*ids)
    framed = frame(body) if frame is chunked else length(body) + body
    client.sendall((POST + framed)[:-cut])
    client.shutdown(socket.SHUT_WR)
    assert client.closed
    assert shared.kept(ids) == []


def test_a_chunk_of_another_size_than_it_says_is_400(shared, client, request_body, new_ids):
    ids = new_ids(1)
    body = request_body(*ids)
    client.sendall(POST + b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body) - 5, body))
    assert client.answer() == (400, True)
    assert shared.kept(ids) == []


@pytest.mark.parametrize("pack", [lambda body: gzip.compress(body)[:-1], lambda body: gzip.compress(body) + b"\0"])
def test_a_gzip_stream_with_another_end_than_its_own_is_400(shared, request_body, new_ids, pack):
    ids = new_ids(1)
    assert shared.client.send(pack(request_body(*ids)), content_encoding="gzip").status == 400
    assert shared.kept(ids) == []


def test_a_gzip_stream_of_several_members_is_read_to_its_end(shared, request_body, new_ids):
    ids = new_ids(2)
    body = b"".join(gzip.compress(request_body(one)) for one in ids)
    assert shared.client.send(body, content_encoding="gzip").status == 200
    assert shared.kept(ids) == ids


def test_a_client_that_waits_for_100_continue_is_told_to_go_on(shared, client, request_body, new_ids):
    ids = new_ids(1)
    body = request_body(*ids)
    client.sendall(POST + b"expect: 100-continue\r\n" + length(body))
    assert (client.line(), client.line()) == (b"HTTP/1.1 100 Continue\r\n", b"\r\n")
    client.sendall(body)
    assert client.answer() == (200, False)
    assert shared.kept(ids) == ids


@pytest.mark.parametrize("together", [True, False])
def test_requests_sent_without_waiting_are_answered_in_order_and_none_is_lost(
    shared, client, request_body, new_ids, together
):
    ids = new_ids(20)
    bodies = [request_body(one) for one in ids]
    sent = [POST + (length(body) + body if at % 2 else chunked(body)) for at, body in enumerate(bodies)]
    for part in [b"".join(sent)] if together else sent:
        client.sendall(part)
    assert [client.answer() for _ in ids] == [(200, False)] * 20
    assert shared.kept(ids) == ids


@pytest.mark.parametrize(
    ("method", "target"), [(b"HEAD", b"/v1/logs"), (b"CONNECT", b"localhost:4318"), (b"CONNECT", b"/v1/logs")]
)
def test_another_method_is_no_success(shared, client, request_body, new_ids, method, target):
    ids = new_ids(1)
    body = request_body(*ids)
    client.sendall(POST.replace(b"POST /v1/logs", method + b" " + target) + length(body) + body)
    assert client.line().startswith((b"HTTP/1.1 400", b"HTTP/1.1 405"))
    assert shared.kept(ids) == []


@pytest.mark.parametrize(
    "line", [b"content-type: application/json\r\n", b"content-encoding: gzip\r\ncontent-encoding: gzip\r\n"]
)
def test_a_header_that_comes_twice_is_415(shared, client, request_body, new_ids, line):
    ids = new_ids(1)
    body = request_body(*ids)
    client.sendall(POST + line + length(body) + body)
    assert client.answer()[0] == 415
    assert shared.kept(ids) == []


@pytest.mark.parametrize(("declared", "came"), [(10, 9), (10, 11), (10, 0)])
def test_a_body_of_another_length_than_was_declared_is_not_acted_on(declared, came):
    """Whatever the parser of HTTP makes of it."""
    head = parse_head({"headers": [(b"content-length", b"%d" % declared)]})

    async def receive():
        return {"type": "http.request", "body": bytes(came), "more_body": False}

    async def read():
        budget = ByteBudget(1000)
        with budget.hold(0) as hold:
            return await read_body(Incoming(head, receive), head, hold, budget, most_bytes=100, timeout_s=1)

    with pytest.raises(OverloadedError, match="10 bytes were declared"):
        asyncio.run(read())
