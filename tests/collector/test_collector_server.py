"""Routing, health, metrics, administration, and what the collector refuses to start with."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
from google.rpc.status_pb2 import Status

from otel_audit.collector.server import Collector
from otel_audit.config import load_settings
from otel_audit.errors import ConfigError
from otel_audit.log.engine import ActivityLog
from otel_audit.log.folder import read_owner
from otel_audit.log.held import held_records

MIB = 1 << 20


def test_every_answer_names_the_log(shared):
    asked = [("GET", "/healthz"), ("GET", "/nowhere"), ("PUT", "/v1/logs"), ("POST", "/v1/logs"), ("POST", "/admin/x")]
    assert {shared.client.ask(*each).headers["otel-audit-log"] for each in asked} == {shared.log.name}


def test_health_and_readiness_are_200_while_requests_are_taken(shared):
    for path, word in (("/healthz", "ok"), ("/readyz", "ready")):
        reply = shared.client.ask("GET", path)
        assert (reply.status, json.loads(reply.body)["status"]) == (200, word)
        assert shared.client.ask("HEAD", path).body == b""


def test_an_unknown_path_is_404_in_the_clients_own_language(shared):
    otlp = shared.client.ask("POST", "/v1/traces", b"", {"content-type": "application/x-protobuf"})
    assert (otlp.status, otlp.headers["content-type"]) == (404, "application/x-protobuf")
    assert "/v1/traces" in Status.FromString(otlp.body).message
    other = shared.client.ask("GET", "/nowhere")
    assert (other.status, other.headers["content-type"]) == (404, "application/problem+json")
    assert json.loads(other.body)["status"] == 404


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v1/logs", "POST"),
        ("OPTIONS", "/v1/logs", "POST"),
        ("POST", "/healthz", "GET, HEAD"),
        ("DELETE", "/metrics", "GET, HEAD"),
        ("GET", "/admin/seal", "POST"),
    ],
)
def test_a_wrong_method_is_405_and_says_which_are_right(shared, method, path, allowed):
    reply = shared.client.ask(method, path)
    assert (reply.status, reply.headers["allow"]) == (405, allowed)


@pytest.mark.parametrize("path", ["/healthz", "/v1/logs", "/metrics", "/v1/audit/records", "/admin/seal"])
def test_on_loopback_a_foreign_host_is_403_everywhere(shared, path):
    reply = shared.client.ask("POST" if "logs" in path else "GET", path, headers={"host": "evil.example:4318"})
    assert reply.status == 403


def test_reading_is_handed_on_and_404_without_a_reader(run, tmp_path):
    async def reads(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x-path", scope["path"].encode())]})
        await send({"type": "http.response.body", "body": b"read"})

    with_reads, without = run(reads=reads), run(folder=tmp_path / "other")
    for path in ("/v1/audit", "/v1/audit/records"):
        reply = with_reads.client.ask("GET", path)
        assert (reply.status, reply.headers["x-path"], reply.body) == (200, path, b"read")
        assert without.client.ask("GET", path).status == 404
    assert with_reads.client.ask("GET", "/v1/audits").status == 404


def test_a_failing_reader_is_503_and_the_server_lives_on(run):
    async def reads(scope, receive, send):
        raise LookupError("secret")

    server = run(reads=reads)
    reply = server.client.ask("GET", "/v1/audit/records")
    assert reply.status == 503
    assert b"secret" not in reply.body
    assert server.client.ask("GET", "/healthz").status == 200


def test_half_a_read_is_no_whole_answer(run):
    async def reads(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"100")]})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise LookupError

    server = run(reads=reads)
    with server.client.raw() as client:
        client.sendall(b"GET /v1/audit HTTP/1.1\r\nhost: localhost\r\n\r\n")
        received = b""
        while piece := client.recv(65536):
            received += piece
    assert received.endswith(b"half")
    assert server.client.ask("GET", "/healthz").status == 200


def test_metrics_show_what_came_and_what_became_of_it(run, request_body, new_ids):
    server = run()
    body = request_body(*new_ids(3), b"\xff\xff\xff", others=2)
    assert [server.client.send(body).status for _ in range(2)] == [200, 200]
    reply = server.client.ask("GET", "/metrics")
    assert reply.headers["content-type"].startswith("text/plain")
    assert server.metric("otel_audit_received_records_total") == 12
    assert server.metric("otel_audit_committed_records_total") == 3
    assert server.metric("otel_audit_duplicate_records_total") == 3
    assert server.metric("otel_audit_quarantined_records_total") == 1
    assert server.metric("otel_audit_discarded_records_total") == 4
    assert server.metric("otel_audit_rows") == 3
    assert server.metric("otel_audit_hot_files") == 1
    assert server.metric("otel_audit_sealed_files") == 0
    assert server.metric("otel_audit_commit_seconds_count") == 1
    assert server.metric("otel_audit_commit_seconds_sum") > 0
    assert server.metric("otel_audit_conflicting_records_total") == 0
    assert server.metric("otel_audit_ready") == 1


def test_sealing_is_asked_of_the_running_collector(run, request_body, new_ids):
    server = run()
    server.client.send(request_body(*new_ids(3)))
    reply = server.client.ask("POST", "/admin/seal")
    assert (reply.status, json.loads(reply.body)) == (200, {"sealed_files": 1})
    assert json.loads(server.client.ask("POST", "/admin/seal").body) == {"sealed_files": 0}
    assert len(server.rows()) == 3


def test_decisions_about_the_quarantine_are_asked_of_the_running_collector(run, request_body):
    server = run()
    server.client.send(request_body(b"bad\xff"))
    (held,) = held_records(server.folder)
    released = server.client.ask("POST", f"/admin/quarantine/{held.sha256}/release")
    assert released.status == 422
    assert len(held_records(server.folder)) == 1
    dropped = server.client.ask("POST", f"/admin/quarantine/{held.sha256}/drop")
    assert json.loads(dropped.body) == {"sha256": held.sha256, "decision": "dropped"}
    assert held_records(server.folder) == []
    again = server.client.ask("POST", f"/admin/quarantine/{held.sha256}/drop")
    assert (again.status, again.headers["content-type"]) == (404, "application/problem+json")


@pytest.mark.parametrize(
    "header",
    [
        "Forwarded",
        "X-Forwarded-For",
        "X-Forwarded-Host",
        "Via",
        "X-Real-IP",
        "Sec-Fetch-Site",
        "Sec-Fetch-Mode",
        "Referer",
    ],
)
def test_what_a_proxy_or_a_browser_on_this_machine_asks_for_others_is_refused(shared, header):
    assert shared.client.ask("POST", "/admin/seal", headers={header: "1"}).status == 403


def test_a_browser_cannot_administer(shared):
    for headers in ({"origin": "http://evil.example"}, {"origin": "null"}, {"host": "evil.example"}):
        assert shared.client.ask("POST", "/admin/seal", headers=headers).status == 403
    assert shared.client.ask("POST", "/admin/other").status == 404


def test_an_address_that_others_reach_needs_insecure(tmp_path: Path):
    with ActivityLog.open(tmp_path, load_settings({})) as log:
        for host in ("0.0.0.0", "::", "192.0.2.1", "example.org"):
            with pytest.raises(ConfigError, match="insecure"):
                Collector(log, load_settings({}, host=host))
        with Collector(log, load_settings({}, host="0.0.0.0", port=0, insecure=True)) as collector:
            assert collector.url == f"http://127.0.0.1:{collector.port}"


def test_where_it_listens_on_every_address_the_host_may_be_any_name_but_not_for_admin(run):
    server = run(host="0.0.0.0", insecure=True)
    assert server.client.ask("GET", "/healthz", headers={"host": "audit.example.org"}).status == 200
    assert server.client.ask("POST", "/admin/seal", headers={"host": "audit.example.org"}).status == 403
    assert server.client.ask("POST", "/admin/seal").status == 200


def test_limits_that_contradict_each_other_are_refused(tmp_path: Path):
    with ActivityLog.open(tmp_path, load_settings({})) as log, pytest.raises(ConfigError, match="ingest_max_bytes"):
        Collector(log, load_settings({}, max_request_bytes=2 * MIB, ingest_max_bytes=3 * MIB))


def test_a_port_in_use_is_a_configuration_error_that_names_it(run):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=str(port)):
            run(port=port)


def test_localhost_is_reached_by_its_name(run):
    server = run(host="localhost")
    assert server.collector.url == f"http://localhost:{server.collector.port}"
    assert server.client.ask("GET", "/healthz").status == 200


def test_the_lock_file_says_where_the_owner_is_reached(run):
    server = run()
    assert read_owner(server.folder)["url"] == server.collector.url
    server.collector.stop()
    assert read_owner(server.folder) is None


def test_stopping_twice_is_stopping_once(run):
    server = run()
    server.collector.stop()
    server.collector.stop()
    with pytest.raises(ConnectionRefusedError):
        server.client.raw()
