"""What fails on our side is never called the peer's fault, nor a 500, which no sender repeats."""

from __future__ import annotations

import pytest

from otel_audit.collector import app, connections

HEAD = b"POST /v1/logs HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-protobuf\r\n"


def read_all(connection) -> bytes:
    received = b""
    while piece := connection.recv(65536):
        received += piece
    return received


@pytest.mark.parametrize("step", ["on_url", "on_headers_complete", "on_body", "on_message_complete"])
def test_a_want_of_memory_while_a_request_comes_in_is_503(run, request_body, new_ids, monkeypatch, step):
    """The library takes every error on that way for a malformed request: 400, and its sender would drop the records."""
    server = run()
    body = request_body(*new_ids(1))
    with monkeypatch.context() as patched:

        def no_memory(*_):
            raise MemoryError

        patched.setattr(connections.Connection, step, no_memory)
        with server.client.raw() as client:
            client.sendall(HEAD + b"content-length: %d\r\n\r\n" % len(body) + body)
            answer = read_all(client)
    assert answer.startswith(b"HTTP/1.1 503")
    assert b"retry-after: 1\r\n" in answer
    assert server.client.send(body).status == 200
    assert server.metric('otel_audit_closed_connections_total{reason="failed"}') == 1
    assert server.metric("otel_audit_queue_bytes") == 0


@pytest.mark.parametrize("sent", [b"GET\r\n\r\n", b"GET http://[ HTTP/1.1\r\n\r\n", b"GET /\xff HTTP/1.1\r\n\r\n"])
def test_what_is_no_http_is_still_400(run, sent):
    server = run()
    with server.client.raw() as client:
        client.sendall(sent)
        assert read_all(client).startswith(b"HTTP/1.1 400")
    assert server.metric('otel_audit_closed_connections_total{reason="failed"}') == 0


@pytest.mark.parametrize("error", [MemoryError, ZeroDivisionError])
def test_an_application_that_fails_without_an_answer_is_503(run, request_body, new_ids, monkeypatch, error):
    server = run()
    body = request_body(*new_ids(1))
    with monkeypatch.context() as patched:

        def broken(_scope):
            raise error

        patched.setattr(app, "parse_head", broken)
        reply = server.client.send(body)
        assert (reply.status, reply.headers["retry-after"]) == (503, "1")
    assert server.client.send(body).status == 200
