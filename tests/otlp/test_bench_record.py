"""The benchmark record is what the design fixes, in both of its forms."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from otel_audit.otlp.encode import encode_record

from .wire import canonical_record, decode

sys.path.append(str(Path(__file__).parents[2]))
records = pytest.importorskip("bench.records")


def test_both_forms_are_the_same_records() -> None:
    """Ready requests hold what `encode_record` makes of the ActivityRecords of the same seed, in another key order."""
    activities = records.BenchRecords().records(50)
    request = ExportLogsServiceRequest.FromString(records.BenchRecords().request(50))
    sent = request.resource_logs[0].scope_logs[0].log_records
    assert [canonical_record(record) for record in sent] == [
        canonical_record(LogRecord.FromString(encode_record(activity, record.observed_time_unix_nano)))
        for activity, record in zip(activities, sent, strict=True)
    ]
    assert len({tuple(attribute.key for attribute in record.attributes) for record in sent}) > 1


def test_size_and_shape() -> None:
    """About 750 bytes, 14 attributes, all accepted with nothing left over, from two services."""
    bench = records.BenchRecords()
    requests = list(bench.requests(400, 200))
    assert 700 < sum(map(len, requests)) / 400 < 800
    tables = [decode(request).table for request in requests]
    assert [table.num_rows for table in tables] == [200, 200]
    assert all(table.column("attributes").null_count == 200 for table in tables)
    assert {table.column("service_name")[0].as_py() for table in tables} == {"task-service", "billing-service"}
    (first,) = ExportLogsServiceRequest.FromString(bench.request(1)).resource_logs[0].scope_logs[0].log_records
    assert len(first.attributes) == 14
