"""The header `otel-audit-rows`: where each record of a request stands, told only where it is certain; and markers."""

from __future__ import annotations

import pyarrow.parquet as pq
import pytest

from otel_audit.archive.listing import list_log
from otel_audit.log.streams import FOLDER
from otel_audit.otlp.encode import encode_resource, frame_request
from otel_audit.otlp.markers import encode_marker
from otel_audit.otlp.row_runs import parse_row_runs

MARKER = frame_request(encode_resource({"service.name": "shop"}), [encode_marker("s", "closed", 3, 1)])


def test_new_records_get_the_places_they_have_in_the_files(shared, request_body, new_ids):
    shared.client.send(request_body(*new_ids(2)))
    ids = new_ids(3)
    told = parse_row_runs(shared.client.send(request_body(*ids)).headers["otel-audit-rows"])
    assert told.runs == (("n", 3),)
    assert [row["record_id"] for row in shared.rows()[told.first : told.first + 3]] == ids


def test_repeats_among_new_records_are_told_in_order(shared, request_body, new_ids):
    old, new = new_ids(3), new_ids(3)
    shared.client.send(request_body(*old))
    told = parse_row_runs(shared.client.send(request_body(new[0], *old, *new[1:])).headers["otel-audit-rows"])
    assert told.runs == (("n", 1), ("d", 3), ("n", 2))
    assert [row["record_id"] for row in shared.rows()[told.first : told.first + 3]] == new
    assert shared.client.send(request_body(*old)).headers["otel-audit-rows"] == ":d3"


def test_of_a_request_with_anything_else_nothing_is_told(shared, request_body, new_ids):
    for body in (
        request_body(*new_ids(1), others=1),
        request_body(*new_ids(1), b"bad\xff"),
        request_body(*new_ids(1)) + MARKER,
        MARKER,
        b"",
    ):
        reply = shared.client.send(body)
        assert (reply.status, reply.headers["otel-audit-rows"]) == (200, None)


def test_a_refusal_tells_nothing(shared):
    assert "otel-audit-rows" not in shared.client.send(b"this is not protobuf").headers


@pytest.mark.parametrize("workers", [0, 1])
def test_a_marker_is_durable_when_it_is_answered_and_is_no_activity(run, workers):
    server = run(decode_workers=workers)
    assert server.client.send(MARKER).status == 200
    (file,) = list_log(server.folder / FOLDER).files
    (row,) = pq.read_table(file.path, partitioning=None).to_pylist()
    assert (row["kind"], row["stream_id"], row["last_number"], row["records"]) == ("closed", "s", 3, 0)
    assert (row["service_name"], row["received_from"]) == ("shop", "127.0.0.1")
    assert server.rows() == []
    assert server.metric("otel_audit_received_records_total") == 1
    assert server.metric("otel_audit_discarded_records_total") == 0
