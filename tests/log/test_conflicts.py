"""Records that contradict others are held once, however often and however many at once they are sent."""

from __future__ import annotations

from pathlib import Path

import pytest

from otel_audit.errors import OverloadedError
from otel_audit.log import writer
from otel_audit.log.held import held_records
from otel_audit.otlp.rows import rows_to_request, rows_to_single_requests
from tests.log.requests import record, request
from tests.log.test_engine import open_log, rows


def _two(count: int, **fields: str) -> list:  # type: ignore[type-arg]
    return [record(f"r{at}", **fields) for at in range(count)]


def test_a_conflict_sent_again_is_not_encoded_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until a restart: then it is, and found in the quarantine's index."""
    encoded: list[int] = []
    real = rows_to_single_requests

    def counting(table):  # type: ignore[no-untyped-def]
        encoded.append(table.num_rows)
        return real(table)

    monkeypatch.setattr(writer, "rows_to_single_requests", counting)
    for _ in range(2):
        with open_log(tmp_path) as log:
            log.submit(request(*_two(3))).result()
            for _ in range(3):
                assert log.submit(request(*_two(3, action="other"))).result().conflicts == 3
            assert log.submit(request(record("r0", action="third"))).result().conflicts == 1
    assert [count for count in encoded if count] == [3, 1, 3, 1]
    assert len(held_records(tmp_path)) == 4


def test_more_conflicts_than_a_window_takes_are_all_held_after_some_tries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each try gets further, its valid records are committed, and nobody is told that all is held before it is."""
    monkeypatch.setattr(writer, "_MAX_CONFLICTS", 4)
    with open_log(tmp_path) as log:
        log.submit(request(*_two(10))).result()
        again = request(*_two(10, action="other"), record("valid"))
        for held in (4, 8):
            with pytest.raises(OverloadedError, match="contradict others"):
                log.submit(again).result()
            assert len(held_records(tmp_path)) == held
        assert log.submit(again).result().conflicts == 10
        assert log.submit(request(record("neighbour"))).result().committed == 1
    assert len(held_records(tmp_path)) == 10
    assert rows(tmp_path)[10:] == ["valid", "neighbour"]


def test_what_is_known_to_be_held_is_held_byte_for_byte(tmp_path: Path) -> None:
    """A conflict that differs in what is no content, its place in a stream, is another record to hold."""
    with open_log(tmp_path) as log:
        log.submit(request(record("a"))).result()
        for number in (1, 2, 1):
            log.submit(request(record("a", action="other"), stream=("s", number))).result()
    assert len(held_records(tmp_path)) == 2


def test_a_conflict_that_a_full_quarantine_refuses_is_not_known(tmp_path: Path) -> None:
    with open_log(tmp_path, quarantine_max_bytes=0) as log:
        log.submit(request(record("a"))).result()
        for _ in range(2):
            with pytest.raises(OverloadedError, match="quarantine is full"):
                log.submit(request(record("a", action="other"))).result()


def test_requests_of_single_rows_are_those_of_a_table_of_one() -> None:
    table = request(*_two(5), record("x", metadata={"deep": [{"a": 1}]})).table
    assert list(rows_to_single_requests(table)) == [rows_to_request(table.slice(at, 1)) for at in range(6)]
