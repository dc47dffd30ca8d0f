"""Any OTLP client can write: the stock OpenTelemetry exporter's records come back by query, next to its other logs."""

from __future__ import annotations

import uuid
from pathlib import Path

from opentelemetry._logs import SeverityNumber
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.resources import Resource

from otel_audit.log.status import folder_status
from otel_audit.query.session import SqlSession
from otel_audit.repos.http_reader import HttpReader
from tests.e2e.processes import CollectorProcess


def test_records_of_the_stock_exporter_come_back_by_http_and_by_sql(tmp_path: Path) -> None:
    ids = [str(uuid.uuid4()) for _ in range(300)]
    with CollectorProcess(tmp_path / "data", min_free_bytes=0) as collector:
        provider = LoggerProvider(resource=Resource.create({"service.name": "shop"}))
        exporter = OTLPLogExporter(endpoint=f"{collector.url}/v1/logs")
        provider.add_log_record_processor(BatchLogRecordProcessor(exporter))
        logger = provider.get_logger("shop.audit")
        for at, record_id in enumerate(ids):
            logger.emit(
                timestamp=1_764_000_000_000_000_000 + at,
                severity_number=SeverityNumber.INFO,
                event_name="order.approve",
                attributes={
                    "audit.record.id": record_id,
                    "audit.actor.id": "ann",
                    "audit.action": "APPROVE",
                    "audit.target.type": "order",
                    "audit.target.id": f"o-{at % 10}",
                    "shop.till": 7,
                    "otel_audit.metadata": {"amount": 12.5, "lines": [1, 2]},
                },
            )
            logger.emit(body="an ordinary log line", severity_number=SeverityNumber.INFO)
        provider.shutdown()
        with HttpReader(collector.url) as reader:
            found = reader.get_by_actor("ann")
            assert sorted(str(record.record_id) for record in found) == sorted(ids)
            assert found[0].metadata == {"amount": 12.5, "lines": [1, 2]}
            assert found[0].outcome == "unknown"
        with SqlSession(tmp_path / "data") as session:
            columns, rows = session.run(
                "SELECT count(*) AS n, min(service_name) AS service, min(attributes->'shop.till'->>'intValue') AS till "
                "FROM by_entity('order', 'o-3')"
            )
            assert (columns, list(rows)) == (["n", "service", "till"], [(30, "shop", "7")])
        assert collector.stop() == 0
    status = folder_status(tmp_path / "data", check=True)
    assert (status.rows, status.quarantined, status.faults) == (300, 0, [])
