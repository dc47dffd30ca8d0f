"""What the engine counts, and what it can say of the disk at any moment."""

from __future__ import annotations

from dataclasses import dataclass

from otel_audit.archive.names import Stage
from otel_audit.log.budget import Budget
from otel_audit.log.health import Health
from otel_audit.log.scrub import Scrubbed
from otel_audit.log.store import Store

__all__ = ["Counters", "LogStats"]


@dataclass(frozen=True, slots=True)
class LogStats:
    """Counts since the log was opened (records, files, seconds) and sizes on disk now (rows, bytes).

    `scrub_completed_s`: when every file had been checked once more, in seconds since 1970; 0 for never.
    """

    committed: int
    duplicates: int
    conflicts: int
    quarantined: int
    commits: int
    commit_seconds_sum: float
    commit_seconds_last: float
    merges: int
    seals: int
    hot_files: int
    sealed_files: int
    hot_bytes: int
    sealed_bytes: int
    rows: int
    quarantine_rows: int
    quarantine_bytes: int
    stream_rows: int
    stream_bytes: int
    failures: int
    maintenance_failures: int
    free_bytes: int
    quarantine_held_bytes: int
    quarantine_max_bytes: int
    quarantine_short: int
    damaged_files: int
    scrub_completed_s: float


class Counters:
    """Added to by the committing and the maintaining thread, each its own fields."""

    def __init__(self) -> None:
        self.committed = self.duplicates = self.conflicts = self.quarantined = 0
        self.commits = self.merges = self.seals = 0
        self.commit_seconds_sum = self.commit_seconds_last = 0.0

    def rows(self, committed: int, duplicates: int, conflicts: int) -> None:
        """Count one request's rows."""
        self.committed += committed
        self.duplicates += duplicates
        self.conflicts += conflicts

    def commit(self, seconds: float) -> None:
        """Count one commit."""
        self.commits += 1
        self.commit_seconds_sum += seconds
        self.commit_seconds_last = seconds

    def stats(
        self, health: Health, scrubbed: Scrubbed, budget: Budget, activity: Store, quarantine: Store, streams: Store
    ) -> LogStats:
        """A snapshot."""
        files = {Stage.COMMITTED: [0, 0], Stage.MERGED: [0, 0], Stage.SEALED: [0, 0]}
        for name, known in activity.maximal():
            files[name.stage][0] += 1
            files[name.stage][1] += known.footer.size_bytes
        return LogStats(
            committed=self.committed,
            duplicates=self.duplicates,
            conflicts=self.conflicts,
            quarantined=self.quarantined,
            commits=self.commits,
            commit_seconds_sum=self.commit_seconds_sum,
            commit_seconds_last=self.commit_seconds_last,
            merges=self.merges,
            seals=self.seals,
            hot_files=files[Stage.COMMITTED][0] + files[Stage.MERGED][0],
            sealed_files=files[Stage.SEALED][0],
            hot_bytes=files[Stage.COMMITTED][1] + files[Stage.MERGED][1],
            sealed_bytes=files[Stage.SEALED][1],
            rows=activity.next_index,
            quarantine_rows=quarantine.next_index,
            quarantine_bytes=quarantine.size_bytes(),
            stream_rows=streams.next_index,
            stream_bytes=streams.size_bytes(),
            failures=health.failures,
            maintenance_failures=health.maintenance_failures,
            free_bytes=health.free_bytes(),
            quarantine_held_bytes=budget.held_bytes,
            quarantine_max_bytes=budget.max_bytes,
            quarantine_short=int(bool(budget.notice)),
            damaged_files=len(scrubbed.damaged),
            scrub_completed_s=scrubbed.completed_us / 1e6,
        )
