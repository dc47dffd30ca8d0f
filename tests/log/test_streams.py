"""The streams log: numbers folded into runs, and what is noted of repeats, quarantine and markers before an answer."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_audit.archive.columns import COLUMNS, QUARANTINE_COLUMNS, STREAM_COLUMNS
from otel_audit.archive.listing import list_log, scan_files
from otel_audit.archive.names import Stage
from otel_audit.config import load_settings
from otel_audit.disk import FILE_MODE, Disk
from otel_audit.errors import ArchiveFaultError, OverloadedError, UnwritableError
from otel_audit.log.engine import ActivityLog
from otel_audit.log.status import folder_status
from otel_audit.log.streams import FOLDER, PLACES, fold, place_rows
from otel_audit.otlp.row_runs import MAX_RUNS
from tests.log.requests import record, request
from tests.log.test_engine import open_log, rows, wait_until

Place = tuple[str | None, str | None, str | None, str, int | None]
EDGES = st.sampled_from([-(2**63), -(2**63) + 1, 2**63 - 2, 2**63 - 1])
NUMBERS = st.one_of(st.none(), st.integers(0, 12), EDGES)
PLACE = st.tuples(
    st.sampled_from([None, "s", "t"]),
    st.sampled_from([None, "shop"]),
    st.sampled_from([None, "i-1"]),
    st.sampled_from(["p", "q"]),
    NUMBERS,
)


def table(places: list[Place]) -> pa.Table:
    """As decoding gives it: in several chunks."""
    half = len(places) // 2
    columns = {name: [place[at] for place in places] for at, name in enumerate(PLACES)}
    whole = place_rows([]).schema.empty_table() if not places else pa.table(columns, schema=place_rows([]).schema)
    return pa.concat_tables([whole.slice(0, half), whole.slice(half)])


def notes(root: Path) -> list[dict[str, Any]]:
    """What is noted, in log order, without the service and the peer."""
    wanted = ["kind", "stream_id", "first_number", "last_number", "records"]
    return [
        row
        for file in list_log(root / FOLDER).files
        for row in pq.read_table(file.path, columns=wanted, partitioning=None).to_pylist()
    ]


def said(root: Path) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for row in notes(root)]


# --- folding ---


@given(st.lists(PLACE, max_size=40))
def test_folding_keeps_every_number_of_everybody_and_how_often_it_came(places: list[Place]) -> None:
    folded = fold("repeat", table(places)).to_pylist()
    expected = Counter((*place[:4], None if place[0] is None else place[4]) for place in places)
    covered: Counter[Any] = Counter()
    for row in folded:
        whose = tuple(row[name] for name in PLACES[:4])
        if row["first_number"] is None:
            numbers: list[int | None] = [None]
        else:
            numbers = list(range(row["first_number"], row["last_number"] + 1))
        assert row["records"] == sum(expected[*whose, number] for number in numbers)
        covered.update((*whose, number) for number in numbers)
    assert covered == Counter(dict.fromkeys(expected, 1))


@given(st.lists(PLACE, max_size=40))
def test_no_two_runs_of_one_producer_could_be_one(places: list[Place]) -> None:
    folded = fold("repeat", table(places)).to_pylist()
    ends = {(*(row[name] for name in PLACES[:4]), row["last_number"]) for row in folded}
    for row in folded:
        if row["first_number"] is not None:
            assert (*(row[name] for name in PLACES[:4]), row["first_number"] - 1) not in ends


def test_a_hundred_thousand_repeats_of_one_stream_are_one_row() -> None:
    places = pa.table(
        {name: ["x"] * 100_000 if name != "stream_number" else range(100_000, 0, -1) for name in PLACES},
        schema=place_rows([]).schema,
    )
    (row,) = fold("repeat", places).to_pylist()
    assert (row["first_number"], row["last_number"], row["records"]) == (1, 100_000, 100_000)


# --- what is noted ---


def test_new_records_leave_no_note(tmp_path: Path) -> None:
    with open_log(tmp_path) as log:
        log.submit(request(record("a"), record("b"), stream=("s", 1))).result()
        assert log.stats().stream_rows == 0
    assert notes(tmp_path) == []


def test_repeats_are_noted_as_runs_with_who_sent_them(tmp_path: Path) -> None:
    with open_log(tmp_path) as log:
        sent = request(*(record(f"r-{at}") for at in range(5)), stream=("s", 1))
        log.submit(sent).result()
        done = log.submit(sent).result()
        assert (done.duplicates, done.first, done.runs) == (5, None, (("d", 5),))
        assert said(tmp_path) == [("repeat", "s", 1, 5, 5)]
        assert log.stats().stream_rows == 1
        assert log.stats().stream_bytes > 0
    (file,) = list_log(tmp_path / FOLDER).files
    (row,) = pq.read_table(file.path, partitioning=None).to_pylist()
    assert (row["log_index"], row["service_name"], row["received_from"]) == (0, "test", "127.0.0.1")
    assert row["recorded_at"] is not None


def test_repeats_outside_any_stream_are_counted(tmp_path: Path) -> None:
    with open_log(tmp_path) as log:
        log.submit(request(record("a"), record("a"), record("a"))).result()
    assert said(tmp_path) == [("repeat", None, None, None, 2)]
    assert folder_status(tmp_path, check=True).duplicates_dropped == 2


def test_the_same_record_under_another_number_is_noted_under_that_number(tmp_path: Path) -> None:
    """Who delivers what another process left gives it numbers of its own; they must not read as missing."""
    with open_log(tmp_path) as log:
        log.submit(request(record("a"), record("b"), stream=("s", 1))).result()
        log.submit(request(record("a"), record("b"), stream=("t", 8))).result()
    assert said(tmp_path) == [("repeat", "t", 8, 9, 2)]


def test_numbers_in_quarantine_are_noted_whether_invalid_or_a_conflict(tmp_path: Path) -> None:
    with open_log(tmp_path) as log:
        log.submit(request(record("a"), stream=("s", 1))).result()
        done = log.submit(request(record("b"), record("a", action="other"), broken=2, stream=("s", 2))).result()
        assert (done.committed, done.conflicts, done.quarantined, done.runs) == (1, 1, 3, ())
    assert said(tmp_path) == [("quarantined", "s", 3, 5, 3)]


def test_a_record_held_already_is_noted_again(tmp_path: Path) -> None:
    """A crash may have come between the quarantine's commit and the note."""
    with open_log(tmp_path) as log:
        for _ in range(2):
            log.submit(request(broken=1, stream=("s", 1))).result()
    assert said(tmp_path) == 2 * [("quarantined", "s", 1, 1, 1)]


def test_markers_are_noted_and_are_no_activities(tmp_path: Path) -> None:
    with open_log(tmp_path) as log:
        marker = request(markers=[("s", "open", 3), ("t", "recovered", 0), ("s", "closed", 4)])
        done = log.submit(marker).result()
        assert (done.committed, done.first, done.quarantined, done.runs) == (0, None, 0, ())
        assert log.stats().rows == 0
    assert said(tmp_path) == [("open", "s", None, 3, 0), ("recovered", "t", None, 0, 0), ("closed", "s", None, 4, 0)]


def test_what_the_full_quarantine_refused_is_not_noted_as_held(tmp_path: Path) -> None:
    with open_log(tmp_path, quarantine_max_bytes=1) as log:
        with pytest.raises(OverloadedError):
            log.submit(request(record("a"), broken=1, stream=("s", 1))).result()
        with pytest.raises(OverloadedError):
            log.submit(request(record("a", action="other"), stream=("s", 3))).result()
    assert notes(tmp_path) == []


class NotesRefused(Disk):
    """A disk with no room in the folder of the streams log, once `full`."""

    full = False

    def write_new(self, path: Path, content: bytes | memoryview, mode: int = FILE_MODE) -> None:
        if self.full and FOLDER in path.parts:
            raise UnwritableError("no space left on device")
        super().write_new(path, content, mode)


def test_a_request_whose_notes_cannot_be_written_is_not_answered_with_success(tmp_path: Path) -> None:
    disk = NotesRefused()
    again = request(record("a"), record("b"), stream=("t", 1))
    with ActivityLog.open(tmp_path, load_settings({}, min_free_bytes=0), disk=disk) as log:
        log.submit(request(record("a"), stream=("s", 1))).result()
        disk.full = True
        with pytest.raises(UnwritableError):
            log.submit(again).result()
        disk.full = False
        assert log.submit(again).result().duplicates == 2
    assert rows(tmp_path) == ["a", "b"]
    assert said(tmp_path) == [("repeat", "t", 1, 2, 2)]


def test_the_fate_of_every_record_is_told_run_by_run(tmp_path: Path) -> None:
    with open_log(tmp_path) as log:
        assert log.submit(request(record("a"), record("b"))).result().runs == (("n", 2),)
        mixed = request(record("c"), record("a"), record("b"), record("a", action="other"), record("d"), record("d"))
        done = log.submit(mixed).result()
        assert (done.first, done.last) == (2, 3)
        assert done.runs == (("n", 1), ("d", 2), ("c", 1), ("n", 1), ("d", 1))


def test_fates_are_not_told_of_a_request_with_anything_else_or_with_too_many_runs(tmp_path: Path) -> None:
    with open_log(tmp_path) as log:
        assert log.submit(request(record("a"), broken=1)).result().runs == ()
        assert log.submit(request(record("b"), markers=[("s", "open", 1)])).result().runs == ()
        alternating = [one for at in range(MAX_RUNS) for one in (record(f"r-{at}"), record(f"r-{at}"))]
        assert log.submit(request(*alternating)).result().runs == ()


# --- it is a log like the others ---


def test_notes_are_merged_and_sealed_and_still_add_up(tmp_path: Path) -> None:
    sent = request(*(record(f"r-{at}") for at in range(3)), stream=("s", 1))
    with open_log(tmp_path, merge_fan_in=4, input_keep_s=0) as log:
        for _ in range(9):
            log.submit(sent).result()
        wait_until(lambda: any(name.stage is Stage.MERGED for name in scan_files(tmp_path / FOLDER)))
        log.seal()
        log.submit(sent).result()
    stages = [file.name.stage for file in list_log(tmp_path / FOLDER).files]
    assert stages == [Stage.SEALED, Stage.COMMITTED]
    assert said(tmp_path) == 9 * [("repeat", "s", 1, 3, 3)]
    status = folder_status(tmp_path, check=True)
    assert (status.duplicates_dropped, status.faults) == (27, [])
    with open_log(tmp_path) as log:
        assert log.stats().stream_rows == 9


def test_a_hole_in_the_notes_is_a_fault(tmp_path: Path) -> None:
    sent = request(record("a"), stream=("s", 1))
    with open_log(tmp_path) as log:
        for _ in range(4):
            log.submit(sent).result()
    list_log(tmp_path / FOLDER).files[1].path.unlink()
    assert any(fault.startswith("streams: ") for fault in folder_status(tmp_path).faults)
    with pytest.raises(ArchiveFaultError, match="rows 1-1 are missing"):
        open_log(tmp_path)


def test_a_folder_of_the_release_before_is_read_and_goes_on(tmp_path: Path) -> None:
    """It has no streams log."""
    with open_log(tmp_path) as log:
        log.submit(request(record("a"), stream=("s", 1))).result()
    shutil.rmtree(tmp_path / FOLDER)
    assert folder_status(tmp_path, check=True).duplicates_dropped == 0
    with open_log(tmp_path) as log:
        assert log.submit(request(record("a"), stream=("s", 1))).result().duplicates == 1
    assert folder_status(tmp_path, check=True).duplicates_dropped == 1


def test_the_columns_of_a_decoded_record_and_of_a_note_agree() -> None:
    """One field id means one thing in every log."""
    ids = {column.name: column.field_id for column in (*COLUMNS, *QUARANTINE_COLUMNS)}
    for column in STREAM_COLUMNS:
        assert ids.get(column.name, column.field_id) == column.field_id
        assert column.name in ids or column.field_id not in ids.values()
