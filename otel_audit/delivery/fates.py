"""What a receipt's `wait` asks: how did it go with this one record?"""

from __future__ import annotations

import os
from dataclasses import replace

from otel_audit.delivery.outbox import Outbox
from otel_audit.delivery.outcome import Outcome
from otel_audit.errors import PeerRefusedError, ReceiptExpiredError, UndeliveredError
from otel_audit.model.receipts import Receipt

__all__ = ["Fates"]


class Fates:
    """Answers for the records of one outbox, in the process that has it."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._pid = os.getpid()

    def wait(self, receipt: Receipt, timeout_s: float | None) -> Receipt:
        """See `Receipt.wait`."""
        number = self._number(receipt)
        if not number:
            self._outbox.flush(timeout_s)
        return self._judged(receipt, self._outbox.outcome(number, timeout_s))

    async def await_(self, receipt: Receipt, timeout_s: float | None) -> Receipt:
        """See `Receipt.wait`."""
        number = self._number(receipt)
        if not number:
            await self._outbox.aflush(timeout_s)
        return self._judged(receipt, await self._outbox.aoutcome(number, timeout_s))

    def _number(self, receipt: Receipt) -> int:
        """0 for a record that went into a stream apart, because it was appended from within another append."""
        if os.getpid() != self._pid:
            # The parent's threads, which would tell, are not in this process.
            raise UndeliveredError(1, "the receipt is another process's")
        return receipt.stream_number or 0

    def _judged(self, receipt: Receipt, outcome: Outcome | None) -> Receipt:
        number = receipt.stream_number or 0
        if outcome is None and not self._outbox.is_settled(number):
            why = self._outbox.trouble or "no answer yet"
            raise UndeliveredError(1, f"still on its way ({why})", kept=bool(self._outbox.kept))
        if outcome is None:
            raise ReceiptExpiredError(f"record {receipt.record_id}: what became of it is not remembered any more")
        if outcome.state == "refused":
            raise PeerRefusedError(f"record {receipt.record_id}: {outcome.reason}")
        return replace(
            receipt, state=outcome.state, log=outcome.log, log_index=outcome.log_index(number), _settling=None
        )
