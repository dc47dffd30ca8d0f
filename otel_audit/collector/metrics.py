"""What `/metrics` shows, in a registry of its own: the log's figures are read when somebody looks."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, SummaryMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector as MetricSource

from otel_audit.log.engine import ActivityLog
from otel_audit.log.stats import LogStats

__all__ = ["CLOSE_REASONS", "REFUSAL_REASONS", "Metrics"]

CLOSE_REASONS = ("idle", "room", "slow_head", "large_head", "large_trailer", "stalled", "failed")

REFUSAL_REASONS = (
    "malformed",
    "media_type",
    "too_large",
    "overloaded",
    "storage",
    "internal",
    "client_gone",
    "stopping",
    "host",
    "path",
    "method",
    "length",
    "signal",
    "http2",
    "tls",
    "no_http",
)

_COUNTERS: tuple[tuple[str, str, str], ...] = (
    ("otel_audit_committed_records", "committed", "Records committed to the log."),
    ("otel_audit_duplicate_records", "duplicates", "Repeats of a record that was already there; dropped."),
    ("otel_audit_conflicting_records", "conflicts", "Records with a known id and other content; quarantined."),
    ("otel_audit_quarantined_records", "quarantined", "Records that are no valid activity; quarantined."),
    ("otel_audit_merges", "merges", "Merges of hot files."),
    ("otel_audit_seals", "seals", "Sealed files written."),
    ("otel_audit_failed_commits", "failures", "Commits that the disk refused; their requests were answered 503."),
    ("otel_audit_failed_maintenance", "maintenance_failures", "Merges, seals and removals that failed; tried again."),
)
_GAUGES: tuple[tuple[str, str, str], ...] = (
    ("otel_audit_rows", "rows", "Rows in the log."),
    ("otel_audit_hot_files", "hot_files", "Files committed or merged, not sealed yet."),
    ("otel_audit_sealed_files", "sealed_files", "Sealed files."),
    ("otel_audit_hot_bytes", "hot_bytes", "Bytes of hot files."),
    ("otel_audit_sealed_bytes", "sealed_bytes", "Bytes of sealed files."),
    ("otel_audit_quarantine_rows", "quarantine_rows", "Rows of the quarantine."),
    ("otel_audit_quarantine_bytes", "quarantine_bytes", "Bytes of the quarantine."),
    ("otel_audit_stream_rows", "stream_rows", "Rows of the streams log."),
    ("otel_audit_stream_bytes", "stream_bytes", "Bytes of the streams log."),
    ("otel_audit_free_bytes", "free_bytes", "Bytes that may still be written to the data folder's file system."),
    (
        "otel_audit_quarantine_held_bytes",
        "quarantine_held_bytes",
        "Bytes, as sent, of records that wait for a decision.",
    ),
    ("otel_audit_quarantine_max_bytes", "quarantine_max_bytes", "How many of those there may be."),
    (
        "otel_audit_quarantine_short",
        "quarantine_short",
        "1 when the quarantine, or the half of it that one service may use, is nearly or wholly full.",
    ),
    ("otel_audit_damaged_files", "damaged_files", "Files whose bytes are not what was written."),
    (
        "otel_audit_scrub_completed_timestamp_seconds",
        "scrub_completed_s",
        "When every file had been read back and checked, since 1970; 0 for never.",
    ),
    ("otel_audit_commit_seconds_last", "commit_seconds_last", "How long the last commit took."),
)


class Metrics:
    """The collector's own counters, and everything else at the time of asking."""

    content_type = CONTENT_TYPE_LATEST.encode()

    def __init__(self, log: ActivityLog, queue_bytes: Callable[[], int], connections: Callable[[], int]) -> None:
        self._registry = CollectorRegistry()
        self.received = Counter(
            "otel_audit_received_records", "Log records in requests that could be decoded.", registry=self._registry
        )
        self.discarded = Counter(
            "otel_audit_discarded_records", "Log records that are no activities; not kept.", registry=self._registry
        )
        self.refused = Counter(
            "otel_audit_refused_requests", "Requests not answered with success.", ["reason"], registry=self._registry
        )
        self.closed = Counter(
            "otel_audit_closed_connections", "Connections closed by the collector.", ["reason"], registry=self._registry
        )
        for counter, reasons in ((self.refused, REFUSAL_REASONS), (self.closed, CLOSE_REASONS)):
            for reason in reasons:
                counter.labels(reason)  # shown as 0 from the start, so that a first one is a change
        self._registry.register(_Figures(log, queue_bytes, connections))

    def exposition(self) -> bytes:
        """All of them in Prometheus' text format."""
        return generate_latest(self._registry)


class _Figures(MetricSource):
    def __init__(self, log: ActivityLog, queue_bytes: Callable[[], int], connections: Callable[[], int]) -> None:
        self._log = log
        self._queue_bytes = queue_bytes
        self._connections = connections

    def describe(self) -> list[Metric]:
        return []  # or registering would ask for the figures once

    def collect(self) -> Iterator[Metric]:
        stats: LogStats = self._log.stats()
        for name, field, text in _COUNTERS:
            yield CounterMetricFamily(name, text, value=getattr(stats, field))
        for name, field, text in _GAUGES:
            yield GaugeMetricFamily(name, text, value=getattr(stats, field))
        yield SummaryMetricFamily(
            "otel_audit_commit_seconds",
            "Time a commit took, from sorting its records out to the durable file.",
            count_value=stats.commits,
            sum_value=stats.commit_seconds_sum,
        )
        yield GaugeMetricFamily(
            "otel_audit_queue_bytes", "Bytes of requests being read, decoded or committed.", value=self._queue_bytes()
        )
        yield GaugeMetricFamily("otel_audit_connections", "Connections that are open.", value=self._connections())
        yield GaugeMetricFamily(
            "otel_audit_ready", "1 when requests are taken.", value=float(not self._log.not_ready_reason)
        )
