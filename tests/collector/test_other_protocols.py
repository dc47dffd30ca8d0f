"""What is no OTLP/HTTP of logs is told what to set instead: the client in its answer, the operator in one line."""

from __future__ import annotations

import logging
import ssl
from contextlib import closing

import pytest
from google.rpc.status_pb2 import Status
from opentelemetry._logs import LogRecord
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor

from otel_audit.events import FACTS


def lines(caplog, reason: str) -> list[dict]:
    facts = [getattr(record, FACTS, {}) for record in caplog.records]
    return [each for each in facts if each.get("reason") == reason]


def test_a_grpc_client_is_told_of_in_one_line(run, caplog):
    server = run()
    provider = LoggerProvider()
    exporter = GrpcExporter(endpoint=server.collector.url, insecure=True, timeout=1)
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    with caplog.at_level(logging.WARNING, "otel_audit"):
        provider.get_logger("app").emit(LogRecord(body="x"))
        provider.shutdown()
        for _ in range(3):
            with closing(server.client.raw()) as client:
                client.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
                assert b"OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf" in client.recv(65536)
    (line,) = lines(caplog, "http2")
    assert (line["peer"], line["requests"]) == ("127.0.0.1", 1)
    assert "http/protobuf" in line["why"]
    assert server.metric('otel_audit_refused_requests_total{reason="http2"}') >= 4


def test_so_is_one_that_speaks_tls(run, caplog):
    server = run()
    with caplog.at_level(logging.WARNING, "otel_audit"):
        for _ in range(2):
            with closing(server.client.raw()) as client, pytest.raises(ssl.SSLError):
                ssl.create_default_context().wrap_socket(client, server_hostname="localhost")
    (line,) = lines(caplog, "tls")
    assert line["peer"] == "127.0.0.1"
    assert "https://" in line["why"]
    assert server.metric('otel_audit_refused_requests_total{reason="tls"}') == 2


def test_and_one_that_speaks_something_else(run, caplog):
    server = run()
    with caplog.at_level(logging.WARNING, "otel_audit"):
        for _ in range(2):
            with closing(server.client.raw()) as client:
                client.sendall(b"HELO there\r\n\r\n")
                assert client.recv(65536).startswith(b"HTTP/1.1 400")
    assert len(lines(caplog, "no_http")) == 1
    assert server.metric('otel_audit_refused_requests_total{reason="no_http"}') == 2


@pytest.mark.parametrize(("path", "signal"), [("/v1/traces", "TRACES"), ("/v1/metrics", "METRICS")])
def test_another_signal_is_told_what_to_set(run, path, signal):
    server = run()
    reply = server.client.ask("POST", path, b"", {"content-type": "application/x-protobuf"})
    assert reply.status == 404
    message = Status.FromString(reply.body).message
    for name in (f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT", f"OTEL_{signal}_EXPORTER=none", "OTEL_AUDIT_ENDPOINT"):
        assert name in message
    assert server.client.ask("POST", path, b"{}", {"content-type": "application/json"}).headers["content-type"] == (
        "application/json"
    )
    assert server.metric('otel_audit_refused_requests_total{reason="signal"}') == 2


def test_an_endpoint_without_its_path_is_told_the_path(run):
    reply = run().client.ask("POST", "/", b"", {"content-type": "application/x-protobuf"})
    assert (reply.status, "/v1/logs" in Status.FromString(reply.body).message) == (404, True)
