"""What `append` gives back, and the event that follows it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Protocol

from otel_audit.model.ids import Id
from otel_audit.model.record import ActivityRecord

__all__ = ["ActivityRecorded", "Receipt", "ReceiptState", "Settling"]

ReceiptState = Literal["accepted", "forwarded", "acknowledged"]


class Settling(Protocol):
    """Where a receipt asks what became of its record."""

    def wait(self, receipt: Receipt, timeout_s: float | None) -> Receipt:
        """See `Receipt.wait`."""
        ...

    async def await_(self, receipt: Receipt, timeout_s: float | None) -> Receipt:
        """See `Receipt.wait`."""
        ...


@dataclass(frozen=True, slots=True)
class Receipt:
    """Who has promised what for one record.

    Attributes:
        state: "accepted" (held on this side with its durability), "forwarded" (some OTLP peer answered success; what
            that is worth is the peer's own business) or "acknowledged" (our collector has it in an fsynced file).
        log, log_index: the record's fixed place, where it is known. A record that the collector had already (sent
            again after a lost answer, say) is acknowledged without an index.
        stream_number: the record's number in its producer's stream, where it has one yet.
    """

    record_id: Id
    state: ReceiptState
    log: str | None = None
    log_index: int | None = None
    stream_number: int | None = None
    _settling: Settling | None = field(default=None, repr=False, compare=False)

    def wait(self, timeout_s: float | None = None) -> Receipt:
        """The receipt once a peer has the record: state "forwarded" or "acknowledged". None waits without end.

        Raises:
            UndeliveredError: time ran out; the record is still accepted and on its way.
            PeerRefusedError: the peer refused it.
            ReceiptExpiredError: so many records were answered for since that this one is not remembered any more.
        """
        return self if self._settling is None else self._settling.wait(self, timeout_s)

    async def await_(self, timeout_s: float | None = None) -> Receipt:
        """`wait`, awaited."""
        return self if self._settling is None else await self._settling.await_(self, timeout_s)


@dataclass(frozen=True, slots=True)
class ActivityRecorded:
    """The event that `after_append` hooks get; `version` grows when a field changes its meaning."""

    record: ActivityRecord
    receipt: Receipt
    version: int = 1
