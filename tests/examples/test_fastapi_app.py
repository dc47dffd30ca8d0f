"""The FastAPI example: its activities carry its spans' trace ids, in memory and through a real collector."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.util._once import Once

from otel_audit import InMemoryActivityLogRepo
from otel_audit.collector.server import Collector
from otel_audit.config import load_settings
from otel_audit.hooks import AmbientContext, CurrentTrace
from otel_audit.log.engine import ActivityLog
from otel_audit.query.reader import DuckDBReader
from otel_audit.web import create_app

EXAMPLE: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "fastapi_app.py"))
CALLER = "4bf92f3577b34da6a3ce929d0e0e4736"
HEADERS = {"x-user": "alice", "traceparent": f"00-{CALLER}-00f067aa0ba902b7-01", "user-agent": "test/1"}


def test_an_activity_names_the_span_it_happened_in_and_the_callers_trace() -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    log = InMemoryActivityLogRepo(hooks=[CurrentTrace(), AmbientContext()])
    with TestClient(EXAMPLE["create_app"](log, provider.get_tracer("test")), client=("192.0.2.7", 5)) as client:
        assert client.post("/tasks", json={"title": "Buy milk"}, headers=HEADERS).status_code == 201
        found = client.get("/v1/audit/owners/alice").json()["records"]
    (record,) = log.records
    spans: dict[str, ReadableSpan] = {span.name: span for span in exporter.get_finished_spans()}
    inner = spans["store task"].get_span_context()
    outer = spans["POST /tasks"].get_span_context()
    assert inner is not None
    assert outer is not None
    assert record.trace_id == trace.format_trace_id(inner.trace_id) == trace.format_trace_id(outer.trace_id) == CALLER
    assert record.span_id == trace.format_span_id(inner.span_id)
    assert record.trace_flags == 1
    assert (record.client_address, record.user_agent) == ("192.0.2.7", "test/1")
    assert [r["trace_id"] for r in found] == [CALLER]


def test_the_application_as_it_runs_ends_in_a_row_with_its_trace_and_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
    monkeypatch.setattr(trace, "_TRACER_PROVIDER_SET_ONCE", Once())
    settings = load_settings({}, data_dir=str(tmp_path / "data"), port=0)
    opened = ActivityLog.open(tmp_path / "data", settings)
    with Collector(opened, settings, reads=create_app(DuckDBReader(tmp_path / "data"))) as collector:
        monkeypatch.setenv("OTEL_AUDIT_ENDPOINT", collector.url)
        with TestClient(EXAMPLE["build"]()) as client:
            task = client.post("/tasks", json={"title": "Buy milk"}, headers=HEADERS).json()
        # The application is closed now, so everything is delivered.
        with DuckDBReader(tmp_path / "data") as reader:
            (record,) = reader.get_by_owner("alice")
    rows = [row for file in (tmp_path / "data" / "hot").iterdir() for row in pq.read_table(file).to_pylist()]
    assert {row["service_name"] for row in rows} == {"tasks"}
    assert (record.trace_id, record.metadata) == (CALLER, {"title": "Buy milk"})
    assert record.entity_ref is not None
    assert str(record.entity_ref.entity_id) == task["id"]
