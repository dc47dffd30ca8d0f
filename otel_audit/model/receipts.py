"""What `append` gives back, and the event that follows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from otel_audit.model.ids import Id
from otel_audit.model.record import ActivityRecord

__all__ = ["ActivityRecorded", "Receipt", "ReceiptState"]

ReceiptState = Literal["accepted", "acknowledged"]


@dataclass(frozen=True, slots=True)
class Receipt:
    """Who has promised what for one record.

    Attributes:
        state: "accepted" (held by this process with its durability) or "acknowledged" (in an fsynced archive file).
        log, log_index: the record's fixed place, where the writer knows it.
    """

    record_id: Id
    state: ReceiptState
    log: str | None = None
    log_index: int | None = None


@dataclass(frozen=True, slots=True)
class ActivityRecorded:
    """The event that `after_append` hooks get; `version` grows when a field changes its meaning."""

    record: ActivityRecord
    receipt: Receipt
    version: int = 1
