"""What became of records, in numbers and in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from otel_audit.errors import BacklogFullError, PeerBytesError, UndeliveredError
from otel_audit.otlp.row_runs import parse_row_runs

__all__ = ["Outcome", "QueueState", "Refusal", "backlog_full", "undelivered"]

_ANSWERS_NAMED = 5


@dataclass(frozen=True, slots=True)
class Refusal:
    """Records that the peer refused for good, with its answer.

    Attributes:
        records: encoded LogRecords, as they were sent.
        rejected: how many of them were refused; fewer than `records` when the peer took some and did not say which.
    """

    reason: str
    records: tuple[bytes, ...]
    rejected: int


@dataclass(frozen=True, slots=True)
class QueueState:
    """Counters since the outbox was made, and what it holds now (`waiting` includes a batch under way)."""

    appended: int
    delivered: int
    waiting: int
    waiting_bytes: int
    refused: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one request with records of the own stream ended.

    Attributes:
        first, last: their numbers.
        state: "refused" with the peer's `reason`, else who has them now.
        log, rows: what our collector said of itself and of the rows.
    """

    first: int
    last: int
    state: Literal["forwarded", "acknowledged", "refused"]
    log: str | None = None
    rows: str = ""
    reason: str = ""

    def log_index(self, number: int) -> int | None:
        """The place of a record in the log; None where the collector had it before, or did not say."""
        try:
            return parse_row_runs(self.rows).log_index(number - self.first)
        except PeerBytesError:
            return None


def undelivered(
    waiting: int, trouble: str, refused: Sequence[tuple[str, int]], kept: str = ""
) -> UndeliveredError | None:
    """The error of a flush after which records still wait or are refused; None when all is well.

    Args:
        refused: (why, mostly the peer's answer, and how many records) each.
        kept: where what waits survives this process, or "".
    """
    rejected = sum(count for _, count in refused)
    reasons = []
    if waiting:
        where = f"in the spool {kept}, to be sent from there" if kept else "queued"
        reasons.append(f"{waiting} still {where} ({trouble or 'no answer yet'})")
    if rejected:
        answers = dict.fromkeys(answer for answer, _ in refused[-_ANSWERS_NAMED:])
        reasons.append(f"{rejected} refused ({'; '.join(answers)})")
    return UndeliveredError(waiting + rejected, ", ".join(reasons), kept=bool(kept)) if reasons else None


def backlog_full(what: str, trouble: str, refused: Sequence[tuple[str, int]]) -> BacklogFullError:
    """The error of an append that found no room, with what takes the room."""
    count = sum(count for _, count in refused)
    held = f", {count} of them refused ({refused[-1][0]})" if refused else ""
    last = f"; last trouble: {trouble}" if trouble else ""
    return BacklogFullError(f"no room: {what}{held}{last}")
