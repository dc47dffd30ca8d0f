"""Counts of one log in this process, as an application and a metrics backend see them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from otel_audit.delivery.outcome import QueueState
from otel_audit.delivery.sender import Sender
from otel_audit.spool.survey import observed_ns

__all__ = ["DeliveryStats", "gather"]


@dataclass(frozen=True, slots=True)
class DeliveryStats:
    """Counts of records in this process, and who answers.

    Attributes:
        appended, delivered: since the start.
        acknowledged, forwarded: of the delivered ones, those that our collector has, and those that another OTLP peer
            took.
        rejected: refused by the peer, since the start.
        waiting, waiting_bytes: not answered for yet.
        oldest_s: how long ago the oldest record of the request under way was appended; 0 when there is none.
        refused: refused by the peer and held.
        retries: requests sent again.
        trouble: why delivery does not get on at the moment, or "".
        state: what a delivered record has reached: "acknowledged" by our collector, "forwarded" to another OTLP peer;
            None before the first success.
        log: name of the collector's log, when it is ours.
    """

    appended: int
    delivered: int
    acknowledged: int
    forwarded: int
    rejected: int
    waiting: int
    waiting_bytes: int
    oldest_s: float
    refused: int
    retries: int
    trouble: str
    state: Literal["acknowledged", "forwarded"] | None
    log: str | None


def gather(queue: QueueState, sender: Sender, trouble: str, now_ns: int) -> DeliveryStats:
    """All of it at this moment."""
    log, under_way = sender.log, sender.under_way
    oldest_ns = observed_ns(under_way.records[0]) if under_way is not None and not under_way.is_marker else None
    return DeliveryStats(
        appended=queue.appended,
        delivered=queue.delivered,
        acknowledged=sender.acknowledged,
        forwarded=sender.forwarded,
        rejected=sender.refused,
        waiting=queue.waiting,
        waiting_bytes=queue.waiting_bytes,
        oldest_s=0.0 if oldest_ns is None else max(0.0, (now_ns - oldest_ns) / 1e9),
        refused=queue.refused,
        retries=sender.retries,
        trouble=trouble,
        state="acknowledged" if log else "forwarded" if sender.answered else None,
        log=log,
    )
