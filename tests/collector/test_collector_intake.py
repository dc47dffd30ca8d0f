"""POST /v1/logs against a real collector and log: 200 means durable, and nothing else is 200."""

from __future__ import annotations

import gzip
import time
import zlib

import pytest
import zstandard
from google.rpc.status_pb2 import Status
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor

MIB = 1 << 20


def test_a_request_answered_200_stands_in_the_files(shared, request_body, new_ids):
    ids = new_ids(3)
    reply = shared.client.send(request_body(*ids))
    assert (reply.status, reply.body) == (200, b"")
    assert reply.headers["content-type"] == "application/x-protobuf"
    rows = [row for row in shared.rows() if row["record_id"] in ids]
    assert [row["record_id"] for row in rows] == ids
    assert {row["received_from"] for row in rows} == {"127.0.0.1"}


@pytest.mark.parametrize(
    ("encoding", "compress"),
    [
        ("identity", bytes),
        ("gzip", gzip.compress),
        ("GZIP", gzip.compress),
        ("deflate", zlib.compress),
        ("zstd", zstandard.ZstdCompressor().compress),
    ],
)
def test_every_encoding_is_read(shared, request_body, new_ids, encoding, compress):
    ids = new_ids(2)
    assert shared.client.send(compress(request_body(*ids)), content_encoding=encoding).status == 200
    assert shared.kept(ids) == ids


def test_processes_decode_the_same(run, request_body, new_ids):
    server = run(decode_workers=1)
    ids = new_ids(3)
    assert server.client.send(request_body(*ids, b"bad\xff", others=2)).status == 200
    assert [row["record_id"] for row in server.rows()] == ids
    assert server.metric("otel_audit_quarantined_records_total") == 1
    assert server.metric("otel_audit_discarded_records_total") == 2


@pytest.mark.parametrize("workers", [0, 1])
def test_a_body_that_is_no_otlp_is_400_and_the_next_request_is_served(run, request_body, new_ids, workers):
    server = run(decode_workers=workers)
    reply = server.client.send(b"this is not protobuf")
    assert reply.status == 400
    assert reply.headers["content-type"] == "application/x-protobuf"
    assert Status.FromString(reply.body).message
    assert server.client.send(request_body(*new_ids(1))).status == 200
    assert len(server.rows()) == 1


def test_an_empty_request_is_a_success_and_adds_nothing(shared):
    before = shared.rows()
    assert shared.client.send(b"").status == 200
    assert shared.rows() == before


def test_records_that_are_no_activities_are_counted_and_not_kept(run, request_body):
    server = run()
    assert server.client.send(request_body(others=7)).status == 200
    assert server.rows() == []
    assert server.metric("otel_audit_received_records_total") == 7
    assert server.metric("otel_audit_discarded_records_total") == 7


def test_invalid_utf8_in_one_record_quarantines_it_alone(run, request_body, new_ids):
    server = run()
    ids = new_ids(4)
    assert server.client.send(request_body(*ids[:2], b"\xff\xfe bad", *ids[2:])).status == 200
    assert [row["record_id"] for row in server.rows()] == ids
    assert server.metric("otel_audit_quarantined_records_total") == 1


def test_a_forged_length_inside_the_protobuf_is_400(shared, request_body, new_ids):
    ids = new_ids(1)
    body = request_body(*ids)
    for forged in (b"\x0a\xff\xff\xff\xff\x0f", b"\x0a" + b"\xff" * 9 + b"\x01", b"\x0a\xf0\x7f"):
        assert shared.client.send(forged + body[2:]).status == 400
    assert shared.kept(ids) == []


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "zstd"])
def test_a_damaged_or_truncated_encoding_is_400(shared, request_body, new_ids, encoding):
    ids = new_ids(20)
    compress = {"gzip": gzip.compress, "deflate": zlib.compress, "zstd": zstandard.ZstdCompressor().compress}
    body = compress[encoding](request_body(*ids))
    assert shared.client.send(body[:-5], content_encoding=encoding).status == 400
    assert shared.client.send(b"no such stream", content_encoding=encoding).status == 400
    assert shared.kept(ids) == []


def test_repeats_are_a_success_and_add_nothing(run, request_body, new_ids):
    server = run()
    body = request_body(*new_ids(5))
    assert [server.client.send(body).status for _ in range(3)] == [200] * 3
    assert len(server.rows()) == 5
    assert server.metric("otel_audit_duplicate_records_total") == 10


def test_too_many_bytes_are_413_before_and_after_decompression(run, request_body, new_ids):
    server = run(max_request_bytes=MIB, ingest_max_bytes=2 * MIB)
    assert server.client.send(bytes(MIB + 1)).status == 413
    for encoding, compress in (("gzip", gzip.compress), ("zstd", zstandard.ZstdCompressor().compress)):
        reply = server.client.send(compress(bytes(MIB + 1)), content_encoding=encoding)
        assert reply.status == 413
        assert "1048576" in Status.FromString(reply.body).message
    assert server.client.send(request_body(*new_ids(1))).status == 200
    assert server.metric('otel_audit_refused_requests_total{reason="too_large"}') == 3
    assert server.metric("otel_audit_queue_bytes") == 0


def test_ten_million_empty_records_in_few_bytes_are_413(shared):
    records = b"\x12\x00" * 10_000_000  # ScopeLogs.log_records, empty, ten million times

    def field(number: int, content: bytes) -> bytes:
        size, length = len(content), b""
        while size > 127:
            length += bytes((size & 127 | 128,))
            size >>= 7
        return bytes((number << 3 | 2,)) + length + bytes((size,)) + content

    body = gzip.compress(field(1, field(2, records)))
    assert len(body) < 32_768
    reply = shared.client.send(body, content_encoding="gzip")
    assert reply.status == 413


def test_more_records_than_allowed_are_413(run, request_body, new_ids):
    server = run(max_request_records=10)
    assert server.client.send(request_body(*new_ids(11))).status == 413
    assert server.client.send(request_body(*new_ids(10))).status == 200


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ({"content-type": "application/json"}, "application/json"),
        ({"content-type": "text/plain"}, "text/plain"),
        ({}, "none"),
        ({"content-type": "application/x-protobuf", "content-encoding": "br"}, "br"),
        ({"content-type": "application/x-protobuf", "content-encoding": "gzip, gzip"}, "gzip,gzip"),
    ],
)
def test_another_content_type_or_encoding_is_415_and_says_which(shared, request_body, new_ids, headers, words):
    ids = new_ids(1)
    reply = shared.client.ask("POST", "/v1/logs", request_body(*ids), headers)
    assert reply.status == 415
    assert words in reply.body.decode("latin-1")
    assert "gzip" in reply.headers["accept-encoding"]
    assert shared.kept(ids) == []


def test_the_content_type_may_have_parameters_and_capitals(shared, request_body, new_ids):
    headers = {"content-type": "Application/X-Protobuf; charset=utf-8"}
    assert shared.client.ask("POST", "/v1/logs", request_body(*new_ids(1)), headers).status == 200


@pytest.mark.parametrize("compression", [Compression.NoCompression, Compression.Gzip, Compression.Deflate])
def test_the_stock_exporter_writes_activities(shared, new_ids, compression):
    exporter = OTLPLogExporter(endpoint=shared.collector.url + "/v1/logs", compression=compression)
    provider = LoggerProvider()
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    ids = new_ids(3)
    for record_id in ids:
        provider.get_logger("app").emit(
            LogRecord(
                timestamp=time.time_ns(),
                severity_number=SeverityNumber.INFO,
                event_name="task.create_task",
                attributes={"audit.record.id": record_id, "audit.actor.id": "ada", "audit.action": "create_task"},
            )
        )
    provider.shutdown()
    assert shared.kept(ids) == ids
    assert {row["action"] for row in shared.rows() if row["record_id"] in ids} == {"create_task"}
