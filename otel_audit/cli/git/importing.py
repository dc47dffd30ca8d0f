"""Sends a history through a writer, in batches, and counts what happened to it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from otel_audit.cli.git.activities import activities, commit_time
from otel_audit.cli.git.repository import Repository
from otel_audit.errors import UndeliveredError
from otel_audit.model.record import ActivityRecord
from otel_audit.ports import ActivityLogWriter

__all__ = ["Tally", "flush_patiently", "import_history"]

_BATCH = 1_000
_FLUSH_STEP_S = 1.0


@dataclass(slots=True)
class Tally:
    """What an import did.

    Attributes:
        sent: activities handed to the writer; all of them acknowledged once the import returned.
        committer_dates: commits whose author date was unusable, and the committer's taken instead.
        undated: commits without any usable date; they stand at the beginning of 1970, and their metadata says so.
    """

    commits: int = 0
    sent: int = 0
    committer_dates: int = 0
    undated: int = 0
    seconds: float = 0.0


def import_history(
    repository: Repository,
    writer: ActivityLogWriter,
    owner: str,
    *,
    patience_s: float,
    progress: Callable[[int, int], None] = lambda commits, activities: None,
) -> Tally:
    """Send every commit's activities and wait until all are acknowledged.

    Memory is bounded by one batch, the largest commit and the writer's queue.

    Args:
        owner: the repository's name, part of every id.
        patience_s: how long to go on without any acknowledgement before giving up.
        progress: called with the commits and activities so far.

    Raises:
        ImportSourceError: the history cannot be read.
        BacklogFullError, UndeliveredError: nothing was acknowledged for `patience_s`, or the peer refused.
    """
    began = time.monotonic()
    tally = Tally()
    batch: list[ActivityRecord] = []

    def send() -> None:
        writer.append_many(batch, timeout_s=patience_s)
        tally.sent += len(batch)
        batch.clear()
        progress(tally.commits, tally.sent)

    for commit in repository.history():
        tally.commits += 1
        source = commit_time(commit)[1]
        tally.committer_dates += source == "committer"
        tally.undated += source == "none"
        for record in activities(commit, owner, boundary=commit.id in repository.boundary):
            batch.append(record)
            if len(batch) >= _BATCH:
                send()
    if batch:
        send()
    flush_patiently(writer, patience_s)
    progress(tally.commits, tally.sent)
    tally.seconds = time.monotonic() - began
    return tally


def flush_patiently(writer: ActivityLogWriter, patience_s: float) -> None:
    """Flush for as long as records are still being acknowledged.

    Raises:
        UndeliveredError: nothing was acknowledged for `patience_s`, or the peer refused some for good.
    """
    least, moved_at = None, time.monotonic()
    while True:
        began = time.monotonic()
        try:
            writer.flush(timeout_s=_FLUSH_STEP_S)
            return
        except UndeliveredError as error:
            now = time.monotonic()
            if least is None or error.count < least:
                least, moved_at = error.count, now
            # An answer before the time was up is a refusal, which waiting does not change.
            if now - moved_at >= patience_s or now - began < _FLUSH_STEP_S / 2:
                raise
