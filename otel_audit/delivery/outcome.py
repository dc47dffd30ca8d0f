"""What became of records in the queue, in numbers and in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from otel_audit.errors import BacklogFullError, UndeliveredError

__all__ = ["QueueState", "Refusal", "backlog_full", "undelivered"]

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
    """Counters since the queue was made, and what it holds now (`waiting` includes a batch under way)."""

    appended: int
    delivered: int
    waiting: int
    waiting_bytes: int
    refused: int


def undelivered(waiting: int, trouble: str, refusals: Sequence[Refusal]) -> UndeliveredError | None:
    """The error of a flush after which records still wait or are refused; None when all is well."""
    rejected = sum(refusal.rejected for refusal in refusals)
    reasons = []
    if waiting:
        reasons.append(f"{waiting} still queued ({trouble or 'no answer yet'})")
    if rejected:
        answers = dict.fromkeys(refusal.reason for refusal in refusals[-_ANSWERS_NAMED:])
        reasons.append(f"{rejected} refused by the peer ({'; '.join(answers)})")
    return UndeliveredError(waiting + rejected, ", ".join(reasons)) if reasons else None


def backlog_full(records: int, size: int, trouble: str, refusals: Sequence[Refusal]) -> BacklogFullError:
    """The error of an append that found no room, with what takes the room."""
    refused = sum(len(refusal.records) for refusal in refusals)
    held = f", {refused} of them refused by the peer ({refusals[-1].reason})" if refused else ""
    last = f"; last trouble: {trouble}" if trouble else ""
    return BacklogFullError(f"no room: {records} records, {size} bytes wait{held}{last}")
