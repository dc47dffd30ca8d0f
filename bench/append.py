"""What an append costs the application, against the OpenTelemetry SDK's own log pipeline.

Rounds take turns: ours, then each peer, all in one process, so that a noisy minute hits all alike. Every call is timed
alone. What the pipeline does behind the call (encoding, sending) takes the same interpreter lock, so it is counted too:
CPU of the process over a round and its flush, less the CPU of the calling thread.
"""

from __future__ import annotations

import argparse
import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from opentelemetry._logs import Logger, LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, LogRecordExporter, LogRecordExportResult

from bench.records import BenchRecords
from bench.report import percentile, publish, ratio
from bench.sink import running_sink
from otel_audit import ActivityRecord, OTelActivityLogRepo
from otel_audit.config import load_settings

_OTEL_QUEUE = 1 << 17  # larger than a round, for a full queue of the SDK drops records instead of waiting
_OURS = "otel-audit, memory, OTLP sent"
_PEER = "OTel SDK, batch processor, OTLP sent"
_OURS_MADE = "otel-audit, with ActivityRecord.create"
_PEER_MADE = "OTel SDK, with LogRecord(...)"
_PEER_OF = {_OURS_MADE: _PEER_MADE, _PEER_MADE: _PEER_MADE}


class _NullExporter(LogRecordExporter):
    def export(self, batch: Sequence[Any]) -> LogRecordExportResult:
        return LogRecordExportResult.SUCCESS

    def shutdown(self) -> None:
        """Nothing to let go of."""

    def force_flush(self, timeout_millis: int = 0) -> bool:
        return True


@dataclass
class _Contender:
    """One way to append: `prepare` makes what the application would hold, `call` is what is timed."""

    name: str
    prepare: Callable[[ActivityRecord], Any]
    call: Callable[[Any], Any]
    flush: Callable[[], Any]
    call_us: list[float] = field(default_factory=list)
    background_us: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)

    def run(self, records: Sequence[ActivityRecord], pause_s: float) -> None:
        """One round: every call timed, a pause between the bursts, the flush at the end."""
        prepared = [self.prepare(record) for record in records]
        call, clock, spent = self.call, time.perf_counter_ns, []
        cpu_before, own_before, begin = time.process_time(), time.thread_time(), clock()
        for at in range(0, len(prepared), 100):
            for item in prepared[at : at + 100]:
                start = clock()
                call(item)
                spent.append(clock() - start)
            time.sleep(pause_s)
        self.flush()
        cpu, own = time.process_time() - cpu_before, time.thread_time() - own_before
        self.rates.append(len(records) / ((clock() - begin) / 1e9))
        self.call_us += [ns / 1_000 for ns in spent]
        self.background_us.append((cpu - own) * 1e6 / len(records))


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


def _contenders(url: str, stack: ExitStack) -> list[_Contender]:
    settings = load_settings({}, endpoint=url)
    repo = stack.enter_context(OTelActivityLogRepo(settings=settings))
    contenders = [
        _Contender(_OURS, _same, repo.append, repo.flush),
        _Contender(_OURS_MADE, _same, lambda record: repo.append(_create(record)), repo.flush),
    ]
    url_logs = f"{url}/v1/logs"
    null, flush_null = _sdk(_NullExporter(), stack)
    otlp, flush_otlp = _sdk(OTLPLogExporter(endpoint=url_logs), stack)
    return [
        *contenders,
        _Contender("OTel SDK, batch processor, null exporter", _otel_record, null.emit, flush_null),
        _Contender(_PEER, _otel_record, otlp.emit, flush_otlp),
        _Contender(_PEER_MADE, _same, lambda record: otlp.emit(_otel_record(record)), flush_otlp),
    ]


def _sdk(exporter: LogRecordExporter, stack: ExitStack) -> tuple[Logger, Callable[[], Any]]:
    """A logger of the SDK in front of an exporter, and what flushes it."""
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(BatchLogRecordProcessor(exporter, max_queue_size=_OTEL_QUEUE))
    stack.callback(provider.shutdown)
    return provider.get_logger("bench"), provider.force_flush


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=5_000, help="per round and contender")
    parser.add_argument("--seconds", type=float, default=20.0, help="about how long in all")
    parser.add_argument("--pause-ms", type=float, default=5.0, help="after every 100 calls; 0: as fast as it goes")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    with running_sink() as url, ExitStack() as stack:
        contenders = _contenders(url, stack)
        source = BenchRecords(seed=1)
        for contender in contenders:  # warm up: connections, caches
            contender.run(source.records(500), 0)
            contender.call_us.clear()
            contender.background_us.clear()
            contender.rates.clear()
        end = time.monotonic() + options.seconds
        while not contenders[-1].rates or time.monotonic() < end:
            records = source.records(options.records)
            for contender in contenders:
                contender.run(records, options.pause_ms / 1_000)
        threads = threading.active_count()
    by_name = {contender.name: contender for contender in contenders}
    rows, facts = [], {}
    for contender in contenders:
        peer = by_name[_PEER_OF.get(contender.name, _PEER)]
        marks = [percentile(contender.call_us, share) for share in (0.5, 0.99, 0.999)]
        background = median(contender.background_us)
        total = marks[0] + background
        rows.append(
            [
                contender.name,
                *(f"{mark:,.1f}" for mark in marks),
                f"{background:.1f}",
                ratio(marks[0], percentile(peer.call_us, 0.5)),
                ratio(total, percentile(peer.call_us, 0.5) + median(peer.background_us)),
            ]
        )
        facts[contender.name] = {"us": marks, "background_us": background, "calls": len(contender.call_us)}
    publish(
        "append",
        ["one append, µs", "p50", "p99", "p99.9", "background CPU", "p50, ratio", "p50 + CPU, ratio"],
        rows,
        [
            f"{len(peer.call_us):,} calls each in {len(peer.rates)} rounds that took turns",
            f"the peer is '{_PEER}'; where the record is made within the call, '{_PEER_MADE}'",
            f"bursts of 100, {options.pause_ms:g} ms apart; the sink is a process of its own; {threads} threads",
        ],
        {"contenders": facts},
    )


if __name__ == "__main__":
    main()
