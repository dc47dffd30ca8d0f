"""`otel-audit spool export`: the spool's records as OTLP that any tool reads, and nothing changed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from otel_audit.model.record import ActivityRecord, EntityRef
from otel_audit.otlp.encode import encode_record, encode_resource, frame_request
from otel_audit.otlp.file_format import delimited, request_to_json
from tests.cli.conftest import Done, Invoke
from tests.spool.filled import FilledSpool, ids_of

SMALL = 600
"""A file of this size holds two records."""


@pytest.fixture
def spool(tmp_path: Path) -> FilledSpool:
    """Stream s1: 1-4 delivered and kept, 5 and 6 parked, 7-9 waiting. Stream t1: 1 waiting."""
    spool = FilledSpool(tmp_path / "spool")
    stream = spool.stream("s1", segment_bytes=SMALL).write(4).deliver(4).write(2)
    stream.park(2, "HTTP 403")
    stream.write(3)
    spool.stream("t1", service="till").write(1).leave()
    return spool


def export(invoke: Invoke, spool: FilledSpool, *words: str) -> Done:
    return invoke("spool", "export", "--spool-dir", str(spool.root), *words)


def ids(done: Done) -> list[str]:
    return [
        attribute["value"]["stringValue"]
        for line in done.out.splitlines()
        for resource_logs in json.loads(line)["resourceLogs"]
        for scope_logs in resource_logs["scopeLogs"]
        for record in scope_logs["logRecords"]
        for attribute in record["attributes"]
        if attribute["key"] == "audit.record.id"
    ]


def test_what_waits_and_what_is_parked_is_exported_unless_told(invoke: Invoke, spool: FilledSpool) -> None:
    done = export(invoke, spool)
    assert done.code == 0
    assert ids(done) == ["s1-7", "s1-8", "s1-9", "s1-5", "s1-6", "t1-1"]
    assert done.err.startswith("6 records in ")


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("--part", "waiting", "--stream", "s"), ["s1-7", "s1-8", "s1-9"]),
        (("--part", "parked"), ["s1-5", "s1-6"]),
        (("--part", "sent"), ["s1-1", "s1-2", "s1-3", "s1-4"]),
        (("--part", "aside"), []),
        (("--stream", "t1"), ["t1-1"]),
    ],
)
def test_parts_and_streams_can_be_chosen(
    invoke: Invoke, spool: FilledSpool, words: tuple[str, ...], found: list[str]
) -> None:
    assert ids(export(invoke, spool, *words)) == found


def test_a_damaged_file_that_is_set_aside_gives_its_sound_records(invoke: Invoke, spool: FilledSpool) -> None:
    path = spool.root / "aside" / "u1.00000001-0000000000000001.spool"
    (source,) = (spool.root / "streams" / "t1").glob("*.spool")
    path.write_bytes(source.read_bytes() + b"rubbish")
    assert ids(export(invoke, spool, "--part", "aside")) == ["t1-1"]


def test_each_record_goes_with_its_own_resource_and_number(invoke: Invoke, spool: FilledSpool) -> None:
    (line,) = export(invoke, spool, "--stream", "t1").out.splitlines()
    request = json_format.Parse(line, ExportLogsServiceRequest())
    (resource_logs,) = request.resource_logs
    assert [(a.key, a.value.string_value) for a in resource_logs.resource.attributes] == [("service.name", "till")]
    (record,) = resource_logs.scope_logs[0].log_records
    values = {a.key: a.value for a in record.attributes}
    assert values["audit.sequence.stream_id"].string_value == "t1"
    assert values["audit.sequence.number"].int_value == 1


def test_raw_is_protobuf_behind_its_length(spool: FilledSpool) -> None:
    """As a process of its own: bytes must come through the real stdout."""
    words = [sys.executable, "-m", "otel_audit.cli.main", "spool", "export", "--spool-dir", str(spool.root), "--raw"]
    content = subprocess.run(words, capture_output=True, check=True, timeout=20).stdout
    found: list[str] = []
    while content:
        size = shift = 0
        while True:
            byte, content = content[0], content[1:]
            size |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        request, content = ExportLogsServiceRequest.FromString(content[:size]), content[size:]
        found += ids_of(request.resource_logs[0].scope_logs[0].log_records)
    assert sorted(found) == ["s1-5", "s1-6", "s1-7", "s1-8", "s1-9", "t1-1"]


def test_nothing_is_changed_in_the_spool(invoke: Invoke, spool: FilledSpool) -> None:
    def tree() -> dict[Path, tuple[int, bytes]]:
        files = (path for path in spool.root.rglob("*") if path.is_file())
        return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files}

    before = tree()
    for part in ("waiting", "parked", "sent", "aside"):
        export(invoke, spool, "--part", part)
    assert tree() == before


def test_json_is_that_of_otlp_with_ids_in_hex_and_numbers_as_its_rules_say() -> None:
    record = ActivityRecord.create(
        actor_id="a",
        owner_id="o",
        action="edit",
        entity_ref=EntityRef("Page", 1),
        metadata={"traceId": "kept", "big": 2**60, "share": 0.5},
        trace_id="0af7651916cd43dd8448eb211c80319c",
        span_id="b7ad6b7169203331",
    )
    request = frame_request(encode_resource({"service.name": "shop"}), [encode_record(record, 5)], "http://schema")
    value = request_to_json(request)
    assert value["resourceLogs"][0]["schemaUrl"] == "http://schema"
    (written,) = value["resourceLogs"][0]["scopeLogs"][0]["logRecords"]
    assert (written["traceId"], written["spanId"]) == ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331")
    assert (written["severityNumber"], written["observedTimeUnixNano"]) == (9, "5")
    metadata: Any = next(a["value"] for a in written["attributes"] if a["key"] == "otel_audit.metadata")
    assert {item["key"]: item["value"] for item in metadata["kvlistValue"]["values"]} == {
        "traceId": {"stringValue": "kept"},
        "big": {"intValue": str(2**60)},
        "share": {"doubleValue": 0.5},
    }


def test_a_delimited_message_is_what_protobuf_reads() -> None:
    assert delimited(b"x" * 300) == b"\xac\x02" + b"x" * 300
