"""The bed's own checks: each kind of wrong is found, and none is where all is well."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.torture.checks import Findings, judge
from tests.torture.ledger import Ledger, Ledgers, read_ledgers
from tests.torture.rows import Notes, Row, files_of, read_notes, read_rows

LOG = "a" * 16
GOOD = [Row(LOG, at, f"id-{at}", "s", at + 1, "0.0") for at in range(4)]


def ledgers(**changes: object) -> Ledgers:
    """Four records meant and accepted; the last one was placed by its receipt."""
    ids = [row.record_id for row in GOOD]
    facts = Ledgers(origin=dict.fromkeys(ids, "0.0"), accepted=set(ids), settled=set(ids), places={"id-3": (LOG, 3)})
    return replace(facts, **changes)  # type: ignore[arg-type]


NO_NOTES = Notes({}, {})


def judged(rows: Sequence[Row], facts: Ledgers | None = None, notes: Notes = NO_NOTES) -> Findings:
    facts = facts or ledgers()
    return judge(rows, facts, required=facts.accepted, before={row.record_id for row in rows}, notes=notes)


def test_a_good_archive_has_nothing_wrong() -> None:
    assert judged(GOOD) == Findings(archived=4, rows_of={"s": 4})


def test_an_accepted_record_that_is_not_there_is_lost() -> None:
    assert judged(GOOD[:-1]).lost == ["id-3"]


def test_a_record_that_only_a_replay_brought_was_lost_and_is_told_as_added() -> None:
    facts = ledgers()
    found = judge(GOOD, facts, required=facts.accepted, before={"id-0", "id-1", "id-2"}, notes=NO_NOTES)
    assert (found.lost, found.added) == (["id-3"], ["id-3"])


def test_a_record_that_stands_twice_is_doubled() -> None:
    assert judged([*GOOD, replace(GOOD[0], index=4, number=5)]).doubled == ["id-0"]


def test_a_record_nobody_meant_to_append_is_a_stranger() -> None:
    assert judged([*GOOD, replace(GOOD[0], record_id="x", index=4, number=5)]).strangers == ["x"]


def test_a_record_meant_and_never_accepted_may_be_there_or_not() -> None:
    facts = ledgers(origin=ledgers().origin | {"half": "0.0", "other": "0.0"})
    found = judged([*GOOD, replace(GOOD[0], record_id="half", index=4, number=5)], facts)
    assert (found.in_doubt, found.in_doubt_archived, found.strangers, found.lost) == (2, 1, [], [])


def test_a_refused_record_that_is_there_is_found() -> None:
    facts = ledgers(accepted={"id-0", "id-1", "id-2"}, refused={"id-3"})
    assert judged(GOOD, facts).taken_after_all == ["id-3"]


def test_a_record_elsewhere_than_its_receipt_said_is_found() -> None:
    assert judged(GOOD, ledgers(places={"id-1": (LOG, 2)})).misplaced == ["id-1"]
    assert judged(GOOD, ledgers(places={"id-1": ("b" * 16, 1)})).misplaced == ["id-1"]


def test_a_record_under_another_producers_name_is_found() -> None:
    assert judged([*GOOD[:3], replace(GOOD[3], origin="1.0")]).renamed == ["id-3"]


def test_a_number_no_row_has_is_missing_unless_a_repeat_had_it() -> None:
    rows = [row for row in GOOD if row.number != 2]
    assert judged(rows).missing == [("s", 2)]
    assert judged(rows, notes=Notes({"s": {2}}, {})).missing == []


def test_a_number_is_missing_up_to_the_end_that_a_stream_is_known_to_have() -> None:
    assert judged(GOOD, notes=Notes({"s": {6}}, {"s": 7, "t": 2, "u": 0})).missing == [
        ("s", 5),
        ("s", 7),
        ("t", 1),
        ("t", 2),
    ]


def test_a_number_that_two_records_have_is_found() -> None:
    assert judged([*GOOD[:3], replace(GOOD[3], number=3)]).reused == [("s", 3)]


def test_what_never_arrived_is_counted_also_where_nothing_was_promised() -> None:
    facts = ledgers(settled={"id-0"})
    found = judge(GOOD[2:], facts, required=set(), before={"id-2", "id-3"}, notes=NO_NOTES)
    assert (found.lost, found.never_arrived, found.settled_in_vain) == ([], 2, 1)


# --- the ledger ---


def test_a_ledger_comes_back_as_it_was_written(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, "1.2")
    ledger.intend(("a", "b", "c"))
    ledger.accept(("a",))
    ledger.refuse(("b",))
    ledger.settle(ledger.begin_flush())
    assert ledger.begin_flush() == []
    ledger.place("a", LOG, 7)
    assert read_ledgers(tmp_path) == Ledgers(
        origin=dict.fromkeys("abc", "1.2"), accepted={"a"}, refused={"b"}, settled={"a"}, places={"a": (LOG, 7)}
    )


@pytest.mark.parametrize("cut", range(1, 5))
def test_a_line_cut_off_by_a_kill_was_never_written(tmp_path: Path, cut: int) -> None:
    ledger = Ledger(tmp_path, "1.2")
    ledger.intend(("a",))
    ledger.accept(("a",))
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-cut])
    assert read_ledgers(tmp_path) == Ledgers(origin={"a": "1.2"})


# --- the rows ---


def write(path: Path, first: int, last: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    count = last - first + 1
    table = pa.table(
        {
            "log_index": range(first, last + 1),
            "record_id": [f"id-{at}" for at in range(first, last + 1)],
            "stream_id": ["s"] * count,
            "stream_number": range(first + 1, last + 2),
            "service_name": ["0.0"] * count,
        }
    )
    pq.write_table(table, path)


def hot(data: Path, first: int, last: int, kind: str = "c") -> Path:
    return data / "hot" / f"{LOG}-{first:016}-{last:016}.{kind}.parquet"


def sealed(data: Path, first: int, last: int) -> Path:
    return data / "archive" / "date=2026-01-01" / f"{LOG}-{first:016}-{last:016}.parquet"


def test_rows_are_read_once_however_many_files_hold_them(tmp_path: Path) -> None:
    for path in (sealed(tmp_path, 0, 1), hot(tmp_path, 0, 1, "m"), hot(tmp_path, 0, 0), hot(tmp_path, 2, 3)):
        first, last = (int(part.split(".")[0]) for part in path.name.split("-")[1:])
        write(path, first, last)
    faults: list[str] = []
    assert list(read_rows(tmp_path, faults)) == GOOD
    assert faults == []
    assert [file.path for file in files_of(tmp_path, faults)] == [sealed(tmp_path, 0, 1), hot(tmp_path, 2, 3)]


@pytest.mark.parametrize(
    ("ranges", "said"),
    [
        (((0, 1), (3, 3)), "known up to 1, and goes on at 3"),
        (((1, 3),), "known up to -1, and goes on at 1"),
        (((0, 2), (1, 3)), "known up to 2, and goes on at 1"),
    ],
    ids=["a hole", "no beginning", "an overlap"],
)
def test_holes_and_overlaps_are_faults(tmp_path: Path, ranges: tuple[tuple[int, int], ...], said: str) -> None:
    for first, last in ranges:
        write(hot(tmp_path, first, last), first, last)
    faults: list[str] = []
    list(read_rows(tmp_path, faults))
    assert len(faults) == 1
    assert said in faults[0]


def test_rows_that_are_not_what_the_name_says_are_a_fault(tmp_path: Path) -> None:
    write(hot(tmp_path, 0, 3), 1, 3)
    faults: list[str] = []
    list(read_rows(tmp_path, faults))
    assert "not what its name says" in faults[0]


def test_a_foreign_file_is_a_fault(tmp_path: Path) -> None:
    write(tmp_path / "hot" / "copy of something.parquet", 0, 1)
    faults: list[str] = []
    assert files_of(tmp_path, faults) == []
    assert "no file of a log" in faults[0]


def test_notes_tell_what_needs_no_row_and_where_a_stream_ends(tmp_path: Path) -> None:
    assert read_notes(tmp_path, []) == NO_NOTES
    path = hot(tmp_path / "streams", 0, 6)
    path.parent.mkdir(parents=True)
    table = pa.table(
        {
            "log_index": range(7),
            "kind": ["repeat", "quarantined", "repeat", "open", "closed", "recovered", "closed"],
            "stream_id": ["s", "s", None, "s", "s", "t", "s"],
            "first_number": [2, 7, None, None, None, None, None],
            "last_number": [4, 8, None, 99, 12, 3, 11],
        }
    )
    pq.write_table(table, path)
    assert read_notes(tmp_path, []) == Notes({"s": {2, 3, 4, 7, 8}}, {"s": 12, "t": 3})
