"""Footers, listings and digests: what a file says of itself, and which files make up the log."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_audit.archive.checksums import UNSTAMPED
from otel_audit.archive.columns import ACTIVITY, COLUMNS, QUARANTINE_COLUMNS, STREAM_COLUMNS, STREAMS
from otel_audit.archive.digest import rows_digest
from otel_audit.archive.footer import FOOTER_KEY, Footer, footer_of, read_footer
from otel_audit.archive.listing import list_log
from otel_audit.archive.names import FileName, Stage, format_name
from otel_audit.archive.verify import check_file
from otel_audit.archive.write import ROW_GROUP_ROWS, parquet_bytes, regroup
from otel_audit.errors import ArchiveFaultError, NewerFormatError, NotADataFolderError

LOG = "abcdefghijklmnop"


def rows(first: int, count: int, **same: Any) -> pa.Table:
    made = [
        {
            "log_index": at,
            "record_id": f"r-{at}",
            "occurred_at": at,
            "time_unix_nano": at * 1000,
            "observed_time_unix_nano": 0,
            "recorded_at": 1_764_000_000_000_000,
            "actor_id": f"a{at % 3}",
            "action": "do",
            **same,
        }
        for at in range(first, first + count)
    ]
    return pa.Table.from_pylist(made, schema=ACTIVITY)


def put(folder: Path, first: int, count: int, stage: Stage, name: FileName | None = None) -> Path:
    table = rows(first, count)
    footer = footer_of(LOG, table)
    name = name or FileName(LOG, first, first + count - 1, stage)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / format_name(name)
    path.write_bytes(parquet_bytes(table, footer, COLUMNS, stage))
    return path


@pytest.mark.parametrize("stage", Stage)
def test_a_footer_says_what_was_written(tmp_path: Path, stage: Stage) -> None:
    path = put(tmp_path, 10, 5, stage)
    footer = read_footer(path)
    assert (footer.log, footer.first, footer.last, footer.rows) == (LOG, 10, 14, 5)
    assert (footer.occurred_min_us, footer.occurred_max_us) == (10, 14)
    assert footer.size_bytes == path.stat().st_size


def test_every_column_keeps_its_field_id_in_the_file(tmp_path: Path) -> None:
    schema = pq.ParquetFile(put(tmp_path, 0, 3, Stage.SEALED)).schema_arrow
    assert {field.name: int(field.metadata[b"PARQUET:field_id"]) for field in schema} == {
        column.name: column.field_id for column in COLUMNS
    }
    for columns in (COLUMNS, QUARANTINE_COLUMNS, STREAM_COLUMNS):
        assert len({column.field_id for column in columns}) == len(columns)
        assert not any(column.bloom and column.type != "str" for column in columns)


def test_a_sealed_file_has_blooms_page_index_and_groups_of_the_right_size(tmp_path: Path) -> None:
    metadata = pq.ParquetFile(put(tmp_path, 0, ROW_GROUP_ROWS + 1, Stage.SEALED)).metadata
    assert [metadata.row_group(at).num_rows for at in range(metadata.num_row_groups)] == [ROW_GROUP_ROWS, 1]
    record_id = metadata.row_group(0).column(1)
    assert record_id.has_offset_index
    assert "DELTA_BYTE_ARRAY" in record_id.encodings


@pytest.mark.parametrize("harm", ["truncated", "empty", "foreign", "renamed", "newer"])
def test_a_file_that_is_not_what_its_name_says_is_refused(tmp_path: Path, harm: str) -> None:
    path = put(tmp_path, 0, 4, Stage.COMMITTED)
    error: type[Exception] = ArchiveFaultError
    if harm == "truncated":
        path.write_bytes(path.read_bytes()[:-5])
    elif harm == "empty":
        path.write_bytes(b"")
    elif harm == "foreign":
        pq.write_table(pa.table({"x": [1]}), path)
    elif harm == "renamed":
        path = path.rename(path.with_name(format_name(FileName(LOG, 1, 4, Stage.COMMITTED))))
    else:
        table = rows(0, 4)
        footer = Footer(**{**_facts(footer_of(LOG, table)), "format_version": 2})
        path.write_bytes(parquet_bytes(table, footer, COLUMNS, Stage.COMMITTED))
        error = NewerFormatError
    with pytest.raises(error, match=r"parquet"):
        read_footer(path)


def test_a_footer_of_an_earlier_release_with_its_count_of_repeats_is_read(tmp_path: Path) -> None:
    table = rows(0, 4)
    path = tmp_path / format_name(FileName(LOG, 0, 3, Stage.COMMITTED))
    """It carries no digests either; its pages are checked instead."""
    facts = json.loads(footer_of(LOG, table).format()) | {"duplicates": {"s": 3, "": 1}}
    facts = {name: fact for name, fact in facts.items() if name not in UNSTAMPED}
    with pq.ParquetWriter(path, ACTIVITY) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({FOOTER_KEY.decode(): json.dumps(facts)})
    assert replace(read_footer(path), size_bytes=0) == footer_of(LOG, table)
    assert replace(check_file(path), size_bytes=0) == footer_of(LOG, table)


def test_a_footer_tells_repeats_only_of_notes(tmp_path: Path) -> None:
    """An activity's footer keeps the form that earlier releases can read."""
    assert "repeats" not in json.loads(footer_of(LOG, rows(0, 4)).format())
    noted = [("repeat", 3), ("quarantined", 5), ("open", 0), ("repeat", 4)]
    notes = [{"log_index": at, "recorded_at": at, "kind": kind, "records": n} for at, (kind, n) in enumerate(noted)]
    table = pa.Table.from_pylist(notes, schema=STREAMS)
    footer = footer_of(LOG, table)
    path = tmp_path / format_name(FileName(LOG, 0, 3, Stage.COMMITTED))
    path.write_bytes(parquet_bytes(table, footer, STREAM_COLUMNS, Stage.COMMITTED))
    assert read_footer(path).repeats == footer.repeats == 7
    assert footer_of(LOG, table.slice(1, 2)).repeats == 0


def _facts(footer: Footer) -> dict[str, Any]:
    return {name: getattr(footer, name) for name in Footer.__slots__}


@given(st.binary(max_size=400))
def test_any_bytes_in_the_footer_raise_only_our_error(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("f") / format_name(FileName(LOG, 0, 0, Stage.COMMITTED))
    with pq.ParquetWriter(path, ACTIVITY) as writer:
        writer.write_table(rows(0, 1))
        writer.add_key_value_metadata({FOOTER_KEY.decode(): content.decode("latin-1")})
    with pytest.raises((ArchiveFaultError, NewerFormatError)):
        read_footer(path)


def test_an_empty_folder_has_no_files_and_one_that_is_not_ours_is_refused(tmp_path: Path) -> None:
    assert list_log(tmp_path).files == ()
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(NotADataFolderError):
        list_log(tmp_path)
    with pytest.raises(NotADataFolderError):
        list_log(tmp_path / "nowhere")


def test_a_listing_takes_the_maximal_files_of_hot_and_archive(tmp_path: Path) -> None:
    put(tmp_path / "hot", 0, 4, Stage.COMMITTED)
    put(tmp_path / "hot", 4, 4, Stage.COMMITTED)
    put(tmp_path / "hot", 0, 8, Stage.MERGED)
    put(tmp_path / "archive" / "date=2026-01-01", 0, 4, Stage.SEALED)
    put(tmp_path / "hot", 8, 1, Stage.COMMITTED)
    listing = list_log(tmp_path)
    assert [(file.name.first, file.name.last, file.name.stage) for file in listing.files] == [
        (0, 7, Stage.MERGED),
        (8, 8, Stage.COMMITTED),
    ]
    assert listing.next_index == 9
    assert listing.log == LOG


def test_a_hole_that_stays_is_a_fault_with_its_range(tmp_path: Path) -> None:
    put(tmp_path / "hot", 0, 4, Stage.COMMITTED)
    put(tmp_path / "hot", 6, 4, Stage.COMMITTED)
    with pytest.raises(ArchiveFaultError, match="rows 4-5 are missing"):
        list_log(tmp_path)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=8), st.integers(5, 50))
def test_a_digest_depends_on_values_and_not_on_cuts_or_memory_layout(sizes: list[int], cut: int) -> None:
    whole = rows(0, sum(sizes), reason=None, metadata="{}")
    pieces, first = [], 0
    for size in sizes:
        pieces.append(whole.slice(first, size))
        first += size
    assert rows_digest(pieces) == rows_digest(regroup(pieces, cut)) == rows_digest([whole])
    changed = whole.set_column(11, ACTIVITY.field(11), pa.array(["do"] * (len(whole) - 1) + ["dO"]))
    assert rows_digest([changed]) != rows_digest([whole])


def test_a_digest_tells_null_from_empty_and_one_split_of_text_from_another() -> None:
    tables = [
        pa.table({"x": pa.array(values, pa.string())})
        for values in (["ab", "c"], ["a", "bc"], ["abc", ""], ["abc", None], [None, "abc"])
    ]
    assert len({rows_digest([table]) for table in tables}) == len(tables)
