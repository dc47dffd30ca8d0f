"""One thread's post in a producer: every append stands in the ledger before and after."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from otel_audit import ActivityRecord
from otel_audit.errors import UndeliveredError
from otel_audit.model.receipts import Receipt
from tests.torture.ledger import Ledger
from tests.torture.plan import Plan
from tests.torture.records import RecordSource
from tests.torture.senders import InDoubt, NotTaken, Sender

_TRIES = 3
_FLUSH_S = 4.0
_RECEIPT_S = 2.0


class Post:
    """For one thread of one process. `name` differs between all posts of a run.

    Attributes:
        rng: for whatever the thread does.
        source: its records.
        stop: set when the process is to end well.
    """

    def __init__(self, plan: Plan, sender: Sender, origin: str, name: str, stop: threading.Event) -> None:
        self.plan, self.sender, self.origin, self.name, self.stop = plan, sender, origin, name, stop
        self.rng: random.Random = plan.rng(name)
        self.source = RecordSource(self.rng, name)
        self.ledger = Ledger(Path(plan.folder) / "ledgers", origin)

    def for_child(self, number: int) -> Post:
        """The post of a forked child, with a ledger of its own."""
        return Post(self.plan, self.sender, self.origin, f"{self.name}-child{number}", self.stop)

    def append(self, records: Sequence[ActivityRecord]) -> None:
        """Append all, and again the same when it raised, as an application does; in the end give up."""
        ids = [str(record.record_id) for record in records]
        self.ledger.intend(ids)
        doubt = False
        for _ in range(_TRIES):
            try:
                receipts = self.sender.append(records)
            except NotTaken:
                self.pause(0.3)
            except InDoubt:
                doubt = True
            else:
                self.ledger.accept(ids)
                self._ask(receipts)
                return
        if not doubt:
            self.ledger.refuse(ids)

    async def aappend(self, record: ActivityRecord) -> None:
        """One append on an event loop; given up at once when nothing was taken."""
        ids = (str(record.record_id),)
        self.ledger.intend(ids)
        try:
            await self.sender.aappend(record)
        except NotTaken:
            self.ledger.refuse(ids)
        except InDoubt:
            return
        else:
            self.ledger.accept(ids)

    def flush(self) -> None:
        """Wait for the peer, and write down what it then must have."""
        covered = self.ledger.begin_flush()
        if self.sender.flush(_FLUSH_S):
            self.ledger.settle(covered)

    def pause(self, longest_s: float) -> None:
        """A moment of the seed's choice."""
        time.sleep(self.rng.uniform(0, longest_s))

    def _ask(self, receipts: Sequence[Receipt]) -> None:
        """Now and then, wait until a receipt knows its record's place in the log."""
        if not receipts or self.rng.random() > 0.02:
            return
        try:
            receipt = self.rng.choice(receipts).wait(_RECEIPT_S)
        except UndeliveredError:
            return
        if receipt.log is not None and receipt.log_index is not None:
            self.ledger.place(str(receipt.record_id), receipt.log, receipt.log_index)
