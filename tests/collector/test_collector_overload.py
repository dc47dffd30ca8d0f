"""What happens when there is too much, too slow or too broken: a resend, never a loss, and others are served on."""

from __future__ import annotations

import contextlib
import gzip
import os
import signal
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from otel_audit.collector import decoding, pace
from otel_audit.errors import UnwritableError

MIB = 1 << 20
HEAD = b"POST /v1/logs HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-protobuf\r\n"


def read_all(connection) -> bytes:
    received = b""
    while piece := connection.recv(65536):
        received += piece
    return received


def until(condition) -> None:
    """Wait for something another thread brings about; the test's own time limit ends a wait in vain."""
    while not condition():
        time.sleep(0.01)


class Wrapped:
    """A real log with one method changed."""

    def __init__(self, log, **changed) -> None:
        self._log = log
        self.__dict__.update(changed)

    def __getattr__(self, name):
        return getattr(self._log, name)


def test_without_room_a_request_is_503_at_once_and_its_body_unread(run, request_body, new_ids):
    server = run(max_request_bytes=MIB, ingest_max_bytes=2 * MIB)
    body = request_body(*new_ids(1))
    holders = [server.client.raw() for _ in range(2)]
    for holder in holders:
        holder.sendall(HEAD + b"content-length: 1048576\r\n\r\n" + bytes(MIB - 1))
    until(lambda: server.metric("otel_audit_queue_bytes") >= 2 * MIB - 2)
    with server.client.raw() as refused:
        refused.sendall(HEAD + b"content-length: 1000\r\n\r\n")  # and never the body
        answer = refused.recv(65536)
        assert answer.startswith(b"HTTP/1.1 503")
        assert b"retry-after: 1\r\n" in answer
    for holder in holders:
        holder.close()
    until(lambda: server.metric("otel_audit_queue_bytes") == 0)
    assert server.client.send(body).status == 200
    assert len(server.rows()) == 1


def test_what_is_only_announced_takes_no_room(run, request_body, new_ids):
    """Four heads that announced 64 MiB of gzip each kept everybody out."""
    server = run(max_request_bytes=MIB, ingest_max_bytes=2 * MIB)
    holders = [server.client.raw() for _ in range(8)]
    for holder in holders:
        holder.sendall(HEAD + b"content-encoding: gzip\r\ncontent-length: 1048576\r\n\r\n" + b"x" * 100)
    until(lambda: server.metric("otel_audit_queue_bytes") >= 800)
    assert server.client.send(request_body(*new_ids(1))).status == 200
    for holder in holders:
        holder.close()
    until(lambda: server.metric("otel_audit_queue_bytes") == 0)


def test_bodies_that_come_slowly_give_way_where_there_is_no_room(run, request_body, new_ids, monkeypatch):
    monkeypatch.setattr(pace, "_CREDIT_S", 0.0)
    monkeypatch.setattr(pace, "_SLOW_S", 0.1)
    server = run(max_request_bytes=MIB, ingest_max_bytes=2 * MIB)
    slow = [server.client.raw() for _ in range(2)]
    for each in slow:
        each.sendall(HEAD + b"content-length: 1048576\r\n\r\n" + bytes(MIB - 1))
    until(lambda: server.metric("otel_audit_queue_bytes") >= 2 * MIB - 2)
    until(lambda: server.client.send(request_body(*new_ids(1))).status == 200)
    answers = b"".join(each.recv(65536) for each in slow[:1])
    assert answers.startswith(b"HTTP/1.1 503")
    for each in slow:
        each.close()
    until(lambda: server.metric("otel_audit_queue_bytes") == 0)


def test_a_body_that_comes_byte_by_byte_is_503_and_one_that_keeps_the_rate_is_read_to_its_end(
    run, request_body, new_ids, monkeypatch
):
    monkeypatch.setattr(pace, "_CREDIT_S", 0.2)
    server = run(read_timeout_s=0.3)
    body = request_body(*new_ids(400))
    step = len(body) // 10
    with server.client.raw() as steady, server.client.raw() as slow:
        for client in (steady, slow):
            client.sendall(HEAD + b"content-length: %d\r\n\r\n" % len(body))
        for at in range(0, len(body), step):
            time.sleep(0.1)
            steady.sendall(body[at : at + step])
            with contextlib.suppress(ConnectionError):
                slow.sendall(b"x")
        assert steady.recv(65536).startswith(b"HTTP/1.1 200")
        assert slow.recv(65536).startswith(b"HTTP/1.1 503")


def test_a_chunked_body_reserves_as_it_comes_and_is_bounded(run, request_body, new_ids):
    server = run(max_request_bytes=MIB, ingest_max_bytes=2 * MIB)
    body = request_body(*new_ids(1))
    with server.client.raw() as client:
        client.sendall(HEAD + b"transfer-encoding: chunked\r\nconnection: close\r\n\r\n")
        for at in range(0, len(body), 50):
            piece = body[at : at + 50]
            client.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
        client.sendall(b"0\r\n\r\n")
        assert read_all(client).startswith(b"HTTP/1.1 200")
    with server.client.raw() as client:
        client.sendall(HEAD + b"transfer-encoding: chunked\r\n\r\n")
        for _ in range(32):
            client.sendall(b"10000\r\n" + bytes(0x10000) + b"\r\n")
        assert client.recv(65536).startswith(b"HTTP/1.1 413")
    assert len(server.rows()) == 1


def test_what_decoding_makes_of_a_body_is_counted_until_it_is_committed(run):
    """2 MiB under 40 records are 2 MiB on the wire and 80 in the table."""
    request = ExportLogsServiceRequest()
    under = request.resource_logs.add()
    under.resource.attributes.add(key="r").value.string_value = "x" * 2 * MIB
    records = under.scope_logs.add().log_records
    for at in range(40):
        record = records.add(time_unix_nano=1_700_000_000_000_000_000)
        for key, value in (("audit.record.id", f"r{at}"), ("audit.actor.id", "ada"), ("audit.action", "test")):
            record.attributes.add(key=key).value.string_value = value
    body = request.SerializeToString()
    handed, may_go_on = threading.Event(), threading.Event()

    def held(log):
        def submit(decoded):
            late = Future()

            def finish() -> None:
                may_go_on.wait()
                late.set_result(log.submit(decoded).result())

            threading.Thread(target=finish).start()
            handed.set()
            return late

        return Wrapped(log, submit=submit)

    server = run(log=held, max_request_bytes=4 * MIB, ingest_max_bytes=90 * MIB)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(server.client.send, body)
        handed.wait()
        other = type(server.client)(server.collector)
        assert len(body) < 3 * MIB
        assert 80 * MIB < server.metric_of(other, "otel_audit_queue_bytes") < 90 * MIB
        assert other.send(body).status == 503
        may_go_on.set()
        assert first.result().status == 200
    assert server.metric_of(other, "otel_audit_queue_bytes") == 0
    assert other.send(body).status == 200
    other.close()
    assert len(server.rows()) == 40


def test_a_client_that_vanishes_leaves_nothing(run, request_body, new_ids):
    server = run()
    body = request_body(*new_ids(5))
    for encoding, sent in ((b"identity", body), (b"gzip", gzip.compress(body))):
        with server.client.raw() as client:
            client.sendall(HEAD + b"content-encoding: %s\r\ncontent-length: %d\r\n\r\n" % (encoding, len(sent)))
            client.sendall(sent[:-1])
    until(lambda: server.metric('otel_audit_refused_requests_total{reason="client_gone"}') == 2)
    assert server.metric("otel_audit_queue_bytes") == 0
    assert server.rows() == []


def test_a_content_length_that_says_too_little_cuts_the_request_and_the_rest_is_no_request(
    shared, request_body, new_ids
):
    ids = new_ids(2)
    body = request_body(*ids)
    with shared.client.raw() as client:
        client.sendall(HEAD + b"content-length: %d\r\n\r\n" % (len(body) - 20) + body)
        answers = read_all(client)
    assert answers.startswith(b"HTTP/1.1 400")
    assert b" 200 " not in answers
    assert shared.kept(ids) == []


@pytest.mark.parametrize("length", [b"-5", b"99999999999999999999999", b"12, 13", b"many"])
def test_a_content_length_that_is_no_number_is_400(shared, length):
    with shared.client.raw() as client:
        client.sendall(HEAD + b"content-length: " + length + b"\r\n\r\n")
        answer = read_all(client)
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"otel-audit-log: " + shared.log.name.encode() in answer


def test_a_body_that_does_not_come_is_503_and_gives_its_room_back(run):
    server = run(read_timeout_s=0.2)
    with server.client.raw() as client:
        client.sendall(HEAD + b"content-length: 100\r\n\r\nx")
        answer = client.recv(65536)
    assert answer.startswith(b"HTTP/1.1 503")
    until(lambda: server.metric("otel_audit_queue_bytes") == 0)


def test_others_are_served_while_one_sends_slowly(shared, request_body, new_ids):
    with shared.client.raw() as slow:
        slow.sendall(HEAD + b"content-length: 100\r\n\r\nx")
        assert shared.client.send(request_body(*new_ids(1))).status == 200
        assert shared.client.ask("GET", "/readyz").status == 200


def test_a_refused_body_is_drained_so_that_its_sender_sees_the_answer(shared):
    """A big body for an unknown path, sent whole before the answer is read: a reset connection would lose it."""
    reply = shared.client.ask("POST", "/v1/traces", bytes(8 * MIB), {"content-type": "application/x-protobuf"})
    assert reply.status == 404
    assert reply.headers["connection"] == "close"


def test_waiting_too_long_for_the_decoder_is_503(run, request_body, new_ids):
    """A commit that does not end does not hold the decoder; a decoder that is held makes others wait, and give up."""
    server = run(queue_wait_s=0, decode_workers=0)
    body = request_body(*new_ids(2000))
    with ThreadPoolExecutor(12) as pool:
        clients = [type(server.client)(server.collector) for _ in range(12)]
        replies = list(pool.map(lambda client: client.send(body), clients))
    statuses = {reply.status for reply in replies}
    assert statuses == {200, 503}
    assert {reply.headers["retry-after"] for reply in replies if reply.status == 503} == {"1"}
    assert len(server.rows()) == 2000


@pytest.mark.parametrize("kind", ["bytes", "values"])
def test_others_are_decoded_beside_a_large_request(run, request_body, new_ids, monkeypatch, kind):
    ballast = bytes(5 * MIB) if kind == "bytes" else b"," * MIB
    large = request_body(*new_ids(1)) + b"\xfa\x01" + _varint(len(ballast)) + ballast  # in an unknown field
    entered, may_go_on, real = threading.Event(), threading.Event(), decoding.decode_logs

    def slow(body, **arguments):
        if len(body) == len(large):
            entered.set()
            may_go_on.wait(20)
        return real(body, **arguments)

    monkeypatch.setattr(decoding, "decode_logs", slow)
    server = run()
    with ThreadPoolExecutor(1) as pool:
        reply = pool.submit(type(server.client)(server.collector).send, large)
        entered.wait()
        statuses = [server.client.send(request_body(*new_ids(1))).status for _ in range(5)]
        may_go_on.set()
        assert (statuses, reply.result().status) == ([200] * 5, 200)
    assert len(server.rows()) == 6


def test_a_log_that_cannot_write_is_503_and_the_reason_is_told(run, request_body, new_ids):
    def refusing(_decoded):
        failed = Future()
        failed.set_exception(UnwritableError("disk full"))
        return failed

    server = run(log=lambda log: Wrapped(log, submit=refusing))
    reply = server.client.send(request_body(*new_ids(1)))
    assert reply.status == 503
    assert reply.headers["retry-after"] == "1"
    assert Status.FromString(reply.body).message == "disk full"
    assert server.metric('otel_audit_refused_requests_total{reason="storage"}') == 1


def test_a_log_that_is_not_ready_takes_nothing(run, request_body, new_ids):
    server = run(log=lambda log: Wrapped(log, ready=False, not_ready_reason="recovering"))
    assert server.client.send(request_body(*new_ids(1))).status == 503
    reply = server.client.ask("GET", "/readyz")
    assert (reply.status, b"recovering" in reply.body) == (503, True)
    assert server.client.ask("GET", "/healthz").status == 200
    assert server.rows() == []


def test_a_fault_of_our_own_is_503_and_the_server_lives_on(run, request_body, new_ids):
    calls = []

    def once_broken(log):
        def submit(decoded):
            calls.append(decoded)
            if len(calls) == 1:
                raise ZeroDivisionError("secret")
            return log.submit(decoded)

        return Wrapped(log, submit=submit)

    server = run(log=once_broken)
    body = request_body(*new_ids(1))
    reply = server.client.send(body)
    assert reply.status == 503
    assert b"secret" not in reply.body
    assert server.client.send(body).status == 200
    assert server.metric('otel_audit_refused_requests_total{reason="internal"}') == 1
    assert len(server.rows()) == 1


def test_a_decoding_process_that_dies_costs_a_resend_and_is_replaced(run, request_body, new_ids):
    before = set(_children(os.getpid()))
    server = run(decode_workers=1)
    body = request_body(*new_ids(1))
    assert server.client.send(body).status == 200
    started = set(_children(os.getpid())) - before
    children = [child for child in started if b"spawn_main" in _command(child)]
    assert len(children) == 1
    os.kill(children[0], signal.SIGKILL)
    until(lambda: b"spawn_main" not in _command(children[0]))
    more = request_body(*new_ids(2))
    statuses = []
    until(lambda: statuses.append(server.client.send(more).status) or statuses[-1] == 200)
    assert set(statuses) <= {503, 200}
    assert len(server.rows()) == 3


def test_requests_under_way_are_answered_before_the_collector_stops(run, request_body, new_ids):
    entered, may_go_on = threading.Event(), threading.Event()

    def held(log):
        def submit(decoded):
            entered.set()
            late = Future()

            def finish() -> None:
                may_go_on.wait()
                late.set_result(log.submit(decoded).result())

            threading.Thread(target=finish).start()
            return late

        return Wrapped(log, submit=submit)

    server = run(log=held)
    with ThreadPoolExecutor(2) as pool:
        reply = pool.submit(server.client.send, request_body(*new_ids(1)))
        entered.wait()
        stopped = pool.submit(server.collector.stop)
        assert not stopped.done()
        may_go_on.set()
        assert reply.result().status == 200
        stopped.result()
    assert len(server.rows()) == 1


def test_a_request_that_outlasts_the_stop_is_503(run, request_body, new_ids):
    entered, never = threading.Event(), Future()

    def submit(_decoded):
        entered.set()
        return never

    server = run(stop_timeout_s=0.1, log=lambda log: Wrapped(log, submit=submit))
    with ThreadPoolExecutor(1) as pool:
        reply = pool.submit(server.client.send, request_body(*new_ids(1)))
        entered.wait()
        server.collector.stop()
        assert reply.result().status == 503
    assert not never.cancelled()


def _varint(number: int) -> bytes:
    return bytes((number & 127 | 128, number >> 7 & 127 | 128, number >> 14 & 127 | 128, number >> 21))


def _children(pid: int) -> list[int]:
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(word) for word in file.read().split()] + [
            int(word)
            for thread in os.listdir(f"/proc/{pid}/task")
            if int(thread) != pid
            for word in open(f"/proc/{pid}/task/{thread}/children").read().split()
        ]


def _command(pid: int) -> bytes:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read()
    except OSError:
        return b""
