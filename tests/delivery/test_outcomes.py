"""How requests ended, for receipts that ask later."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest

from otel_audit.delivery.fates import Fates
from otel_audit.delivery.outcome import Outcome
from otel_audit.delivery.outcomes import Outcomes
from otel_audit.disk import Disk
from otel_audit.errors import PeerRefusedError, ReceiptExpiredError
from otel_audit.model.receipts import Receipt
from tests.delivery.outboxes import Maker, refuse, settle, taken


def ended(number: int, state: Literal["forwarded", "acknowledged", "refused"] = "forwarded", rows: str = "") -> Outcome:
    return Outcome(number, number, state, "log" if state == "acknowledged" else None, rows, "no" * (state == "refused"))


def test_an_old_outcome_keeps_its_state_however_many_follow() -> None:
    known = Outcomes(most=4)
    known.add(ended(1, "acknowledged", "0-0"))
    known.add(ended(2, "refused"))
    for number in range(3, 1_000):
        known.add(ended(number))
    first, second, third = known.find(1), known.find(2), known.find(3)
    assert first is not None
    assert (first.state, first.log, first.log_index(1)) == ("acknowledged", "log", None)
    assert second is not None
    assert (second.state, second.reason) == ("refused", "no")
    assert third is not None
    assert third.state == "forwarded"
    assert known.find(1_000) is None


def test_what_ended_differently_each_time_is_forgotten_in_the_end() -> None:
    known = Outcomes(most=4)
    for number in range(1, 101):
        known.add(ended(number, "refused" if number % 2 else "forwarded"))
    assert known.find(92) is None
    assert known.find(93) == ended(93, "refused")


def test_a_receipt_that_is_not_remembered_any_more_says_so_and_one_that_was_refused_never_says_forwarded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("otel_audit.delivery.outbox.Outcomes", lambda: Outcomes(most=1))
    box = Maker("memory", tmp_path, Disk())(batch=1)
    box.put([b"x"] * 5, 0)
    for number in range(1, 6):
        (refuse if number % 2 else settle)(box, taken(box))
    fates = Fates(box)
    with pytest.raises(ReceiptExpiredError, match="not remembered"):
        fates.wait(Receipt("one", "accepted", stream_number=1), 0)
    assert fates.wait(Receipt("four", "accepted", stream_number=4), 0).state == "forwarded"
    with pytest.raises(PeerRefusedError):
        fates.wait(Receipt("five", "accepted", stream_number=5), 0)
