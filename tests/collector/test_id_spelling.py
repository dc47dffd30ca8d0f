"""An id has one form in the archive, however it was spelled; and what a hop may add makes no other record."""

from __future__ import annotations

import json
import uuid

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from otel_audit import EntityRef, Filter
from otel_audit.query.reader import DuckDBReader


def _request(record_id: str, actor: str, **more: str) -> bytes:
    request = ExportLogsServiceRequest()
    record = request.resource_logs.add().scope_logs.add().log_records.add(time_unix_nano=1_700_000_000_000_000_000)
    named = {"audit.record.id": record_id, "audit.actor.id": actor, "audit.action": "test"} | more
    for key, value in named.items():
        record.attributes.add(key=key).value.string_value = value
    return request.SerializeToString()


@pytest.mark.parametrize("seal", [False, True])
def test_a_uuid_sent_again_in_the_other_case_is_a_repeat(run, seal):
    """Also once the first one is sealed and only the files know its id."""
    server = run(dedupe_window_s=0, index_run_rows=1)
    for make in (uuid.uuid4, lambda: uuid.UUID("01890a5d-ac96-774b-bcce-b302099a8057")):
        record_id, actor = str(make()), str(uuid.uuid4())
        assert server.client.send(_request(record_id.upper(), actor)).headers["otel-audit-rows"].endswith(":n1")
        if seal:
            server.log.seal()
        again = server.client.send(_request(record_id, actor.upper()))
        assert again.headers["otel-audit-rows"] == ":d1"
        assert server.kept([record_id]) == [record_id]


def test_a_uuid_is_found_in_either_case_and_its_record_keeps_what_was_sent(run):
    """Every promoted id, by every way of asking."""
    server = run()
    spelled = {
        key: str(uuid.uuid4()).upper()
        for key in ("otel_audit.owner.id", "audit.target.id", "otel_audit.tenant.id", "otel_audit.on_behalf_of")
    }
    record_id, actor = str(uuid.uuid4()).upper(), str(uuid.uuid4()).upper()
    server.client.send(_request(record_id, actor, **{"audit.target.type": "Task"} | spelled))
    (row,) = server.rows()
    kept = json.loads(row["attributes"])
    assert {key: kept[key]["stringValue"] for key in spelled} == spelled
    assert kept["audit.record.id"]["stringValue"] == record_id
    for turned in (str.upper, str.lower):
        owner, target, tenant, behalf = map(turned, spelled.values())
        with DuckDBReader(server.folder) as reader:
            assert reader.get_by_id(turned(record_id)) is not None
            assert len(reader.get_by_actor(turned(actor))) == 1
            assert len(reader.get_by_owner(owner)) == 1
            assert len(reader.get_by_entity(EntityRef("Task", target))) == 1
            assert len(list(reader.iter_records(Filter(tenant_id=tenant, on_behalf_of=behalf)))) == 1


def test_what_a_hop_adds_does_not_turn_a_retry_into_a_conflict(run):
    """A processor on the way may know the client; the record is the same."""
    server = run()
    record_id = str(uuid.uuid4())
    added = {"client.address": "10.0.0.1", "user_agent.original": "curl/8", "session.id": "s-1"}
    assert server.client.send(_request(record_id, "ann")).headers["otel-audit-rows"] == "0:n1"
    assert server.client.send(_request(record_id, "ann", **added)).headers["otel-audit-rows"] == ":d1"
    assert server.client.send(_request(record_id, "bob", **added)).headers["otel-audit-rows"] == ":c1"
