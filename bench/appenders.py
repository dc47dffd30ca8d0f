"""The ways to append that are compared: ours in each durability, the OpenTelemetry SDK, and what people build."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from opentelemetry._logs import Logger, LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, LogRecordExporter, LogRecordExportResult

from otel_audit import ActivityRecord, OTelActivityLogRepo
from otel_audit.config import load_settings
from otel_audit.model.record_json import record_to_json

__all__ = ["OURS", "OURS_MADE", "SDK", "SDK_MADE", "Way", "ways"]

_OTEL_QUEUE = 1 << 17  # larger than a round, for a full queue of the SDK drops records instead of waiting
OURS = {
    "memory": "otel-audit, memory",
    "process": "otel-audit, process: survives kill -9",
    "disk": "otel-audit, disk: survives power loss",
}
OURS_MADE = "otel-audit, memory, with ActivityRecord.create"
SDK = "OTel SDK, batch processor, OTLP sent"
SDK_MADE = "OTel SDK, with LogRecord(...)"
FILE = "JSON line to a file, flushed"
FILE_SYNCED = "JSON line to a file, fsynced"
SQLITE = "SQLite, WAL, synchronous=FULL, a row in JSON"


@dataclass(frozen=True)
class Way:
    """One way to append: `prepare` makes what the application would hold, `call` is what is timed."""

    name: str
    peer: str
    prepare: Callable[[ActivityRecord], Any]
    call: Callable[[Any], Any]
    flush: Callable[[], Any]


class _NullExporter(LogRecordExporter):
    def export(self, batch: Sequence[Any]) -> LogRecordExportResult:
        return LogRecordExportResult.SUCCESS

    def shutdown(self) -> None:
        """Nothing to let go of."""

    def force_flush(self, timeout_millis: int = 0) -> bool:
        return True


def _otel_record(record: ActivityRecord) -> LogRecord:
    """The same facts as the attributes of an ordinary log record."""
    ref = record.entity_ref
    assert ref is not None
    attributes = {
        "audit.record.id": str(record.record_id),
        "audit.actor.id": str(record.actor_id),
        "audit.actor.type": record.actor_type,
        "audit.action": record.action,
        "audit.outcome": record.outcome,
        "audit.target.type": ref.entity_type,
        "audit.target.id": str(ref.entity_id),
        "audit.schema.version": "1",
        "otel_audit.owner.id": str(record.owner_id),
        "otel_audit.metadata": record.metadata,
        "otel_audit.tenant.id": str(record.tenant_id),
        "otel_audit.reason": record.reason,
        "client.address": record.client_address,
        "user_agent.original": record.user_agent,
    }
    return LogRecord(
        timestamp=int(record.occurred_at.timestamp() * 1e6) * 1_000,
        severity_number=SeverityNumber.INFO,
        event_name=f"{ref.entity_type}.{record.action}".lower(),
        attributes=attributes,
    )


def _create(record: ActivityRecord) -> ActivityRecord:
    """A new record with the same facts, as the application writes it down."""
    assert record.owner_id is not None and record.entity_ref is not None
    return ActivityRecord.create(
        actor_id=record.actor_id,
        actor_type=record.actor_type,
        owner_id=record.owner_id,
        action=record.action,
        entity_ref=record.entity_ref,
        metadata=record.metadata,
        outcome=record.outcome,
        reason=record.reason,
        tenant_id=record.tenant_id,
        client_address=record.client_address,
        user_agent=record.user_agent,
    )


def _same(record: Any) -> Any:
    return record


def ways(url: str, folder: Path, stack: ExitStack) -> list[Way]:
    """All of them, open; closed with the stack.

    Args:
        url: of an OTLP endpoint that takes everything.
        folder: for their files; on the disk that is to be measured.
    """
    found = []
    for durability, name in OURS.items():
        settings = load_settings({}, endpoint=url, durability=durability, spool_dir=str(folder / f"spool-{durability}"))
        repo = stack.enter_context(OTelActivityLogRepo(settings=settings))
        peer = {"memory": SDK, "process": FILE, "disk": SQLITE}[durability]
        found.append(Way(name, peer, _same, repo.append, repo.flush))
        if durability == "memory":
            found.append(
                Way(OURS_MADE, SDK_MADE, _same, lambda record, repo=repo: repo.append(_create(record)), repo.flush)
            )
    null, flush_null = _sdk(_NullExporter(), stack)
    otlp, flush_otlp = _sdk(OTLPLogExporter(endpoint=f"{url}/v1/logs"), stack)
    return [
        *found,
        Way("OTel SDK, batch processor, null exporter", SDK, _otel_record, null.emit, flush_null),
        Way(SDK, SDK, _otel_record, otlp.emit, flush_otlp),
        Way(SDK_MADE, SDK_MADE, _same, lambda record: otlp.emit(_otel_record(record)), flush_otlp),
        Way(FILE, FILE, _same, _to_file(folder / "flushed.jsonl", False, stack), _nothing),
        Way(FILE_SYNCED, SQLITE, _same, _to_file(folder / "fsynced.jsonl", True, stack), _nothing),
        Way(SQLITE, SQLITE, _same, _to_sqlite(folder / "audit.db", stack), _nothing),
    ]


def _nothing() -> None:
    """These have nothing to flush."""


def _to_file(path: Path, synced: bool, stack: ExitStack) -> Callable[[ActivityRecord], None]:
    """What a careful application writes by hand: a lock, a line, and an fsync each."""
    file, lock = stack.enter_context(path.open("ab")), threading.Lock()

    def append(record: ActivityRecord) -> None:
        line = json.dumps(record_to_json(record)).encode() + b"\n"
        with lock:
            file.write(line)
            file.flush()
            if synced:
                os.fdatasync(file.fileno())

    return append


def _to_sqlite(path: Path, stack: ExitStack) -> Callable[[ActivityRecord], None]:
    """A table with the id as its key, a transaction for each record, a connection for each thread."""
    local, opened = threading.local(), []

    def connection() -> sqlite3.Connection:
        made = sqlite3.connect(path, isolation_level=None, timeout=30, check_same_thread=False)
        made.execute("PRAGMA journal_mode=WAL")
        made.execute("PRAGMA synchronous=FULL")
        made.execute("CREATE TABLE IF NOT EXISTS audit (id TEXT PRIMARY KEY, record TEXT)")
        opened.append(made)
        return made

    def append(record: ActivityRecord) -> None:
        if not hasattr(local, "connection"):
            local.connection = connection()
        local.connection.execute(
            "INSERT INTO audit VALUES (?, ?)", (str(record.record_id), json.dumps(record_to_json(record)))
        )

    stack.callback(lambda: [made.close() for made in opened])
    return append


def _sdk(exporter: LogRecordExporter, stack: ExitStack) -> tuple[Logger, Callable[[], Any]]:
    """A logger of the SDK in front of an exporter, and what flushes it."""
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(BatchLogRecordProcessor(exporter, max_queue_size=_OTEL_QUEUE))
    stack.callback(provider.shutdown)
    return provider.get_logger("bench"), provider.force_flush
