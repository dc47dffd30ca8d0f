"""What a collector tells its operator: once per cause and interval, however many requests there are."""

from __future__ import annotations

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from otel_audit import __version__
from tests.logs import capture_events


def told(events: list[dict], event: str) -> list[dict]:
    return [entry for entry in events if entry["event"] == event]


def test_at_its_start_it_tells_version_folder_address_and_log(run, tmp_path):
    with capture_events() as events:
        server = run()
    (started,) = told(events, "listening")
    assert started["version"] == __version__
    assert started["data"] == str(tmp_path / "data")
    assert (started["url"], started["log"]) == (server.collector.url, server.log.name)


def test_an_outage_is_told_once_and_its_end_as_well(run, request_body, new_ids):
    server = run()
    health = server.log._stores.health
    before = health._min_free_bytes
    with capture_events() as events:
        health._min_free_bytes = 1 << 60
        assert {server.client.send(request_body(*new_ids(1))).status for _ in range(20)} == {503}
        health._min_free_bytes = before
        assert {server.client.send(request_body(*new_ids(1))).status for _ in range(3)} == {200}
    (refused,) = told(events, "refused")
    assert (refused["reason"], refused["requests"], refused["log_level"]) == ("storage", 1, "warning")
    assert "low-space mark" in refused["why"]
    (recovered,) = told(events, "recovered")
    assert (recovered["refused_requests"], recovered["log_level"]) == (20, "info")


def test_quarantined_records_are_told_once_per_reason_and_service(run, request_body, new_ids):
    """1,000 records without an actor in 20 requests are one line; a conflict is another."""
    server = run()
    (known,) = new_ids(1)
    invalid = request_body(*new_ids(50)).replace(b"audit.actor.id", b"audit.actor.ix")
    other = request_body(known).replace(b"test", b"tost")
    with capture_events() as events:
        for _ in range(20):
            assert server.client.send(invalid).status == 200
        for body in (request_body(known), other, other):
            assert server.client.send(body).status == 200
    lines = told(events, "quarantined")
    assert len(lines) == 2
    assert "audit.actor.id" in lines[0]["reason"]
    assert (lines[0]["records"], lines[0]["peer"]) == (50, "127.0.0.1")
    assert "same id" in lines[1]["reason"]


def test_reasons_that_a_peer_makes_up_are_told_of_in_few_lines(run, new_ids):
    """Each of 200 records is wrong in another way, in one request and in 200."""
    server = run()
    request = ExportLogsServiceRequest()
    records = request.resource_logs.add().scope_logs.add().log_records
    for at, record_id in enumerate(new_ids(200)):
        record = records.add()
        for key, text in (("audit.record.id", record_id), ("audit.actor.id", "ada"), ("audit.action", "test")):
            record.attributes.add(key=key).value.string_value = text
        for _ in range(2):
            record.attributes.add(key=f"doubled {at}").value.string_value = "x"
    with capture_events() as events:
        assert server.client.send(request.SerializeToString()).status == 200
        for record in list(records):
            del records[:]
            record.attributes[3].key = record.attributes[4].key = record.attributes[3].key + " again"
            records.append(record)
            assert server.client.send(request.SerializeToString()).status == 200
    lines = told(events, "quarantined")
    assert len(lines) == 21
    assert "otel-audit quarantine list" in lines[-1]["reason"]
    assert server.metric("otel_audit_quarantined_records_total") == 400
