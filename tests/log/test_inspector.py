"""What is held in quarantine is told in pages that leave none out."""

from __future__ import annotations

from pathlib import Path

import pytest

from otel_audit.errors import InvalidCursorError, NoLogError
from otel_audit.log.inspector import LocalInspector
from otel_audit.model.held_filter import HeldFilter
from tests.log.test_budget import invalid
from tests.log.test_engine import open_log


def test_the_pages_hold_every_held_record_once_and_a_decision_meanwhile_hides_none(tmp_path: Path) -> None:
    with open_log(tmp_path) as log:
        for at in range(7):
            log.submit(invalid("shop", f"r-{at}")).result()
        inspector = LocalInspector(tmp_path)
        whole = inspector.quarantined(HeldFilter(), limit=100)
        assert (len(whole["held"]), whole["next_cursor"]) == (7, None)
        seen, cursor = [], None
        while True:
            page = inspector.quarantined(HeldFilter(service="shop"), limit=2, cursor=cursor)
            assert len(page["held"]) <= 2
            seen += page["held"]
            cursor = page["next_cursor"]
            if cursor is None:
                break
            log.decisions.drop(page["held"][-1]["sha256"])  # the one that the next page goes on from
        assert seen == whole["held"]


def test_what_is_no_cursor_and_what_is_no_log_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NoLogError):
        LocalInspector(tmp_path).quarantined(HeldFilter(), limit=1)
    open_log(tmp_path).close()
    with pytest.raises(InvalidCursorError):
        LocalInspector(tmp_path).quarantined(HeldFilter(), limit=1, cursor="x")
