"""`files` and `export`: a log for readers that know nothing of it."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from otel_audit.archive.names import Stage
from otel_audit.errors import ReaderUnavailableError
from otel_audit.query.reader import DuckDBReader
from tests.cli.conftest import Invoke
from tests.query.folder import record, write

RECORDS = [record(n, metadata={"title": "=1+1", "n": n}, changes={"a": [n, None]}) for n in range(40)]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder whose first rows stand in three files: sealed, and in inputs that it still has."""
    folder = tmp_path / "data"
    write(folder, 0, RECORDS[:10])
    write(folder, 10, RECORDS[10:20])
    write(folder, 0, RECORDS[:20], Stage.MERGED)
    write(folder, 0, RECORDS[:20], Stage.SEALED)
    write(folder, 20, RECORDS[20:])
    return folder


def run(*words: str | Path) -> bytes:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    return subprocess.run(
        [sys.executable, "-m", "otel_audit.cli.main", *words], check=True, capture_output=True, env=clean
    ).stdout


def test_files_names_each_row_once_for_any_reader(data: Path) -> None:
    paths = run("files", "--data", data).decode().splitlines()
    tables = [pq.ParquetFile(path).read(columns=["record_id"]) for path in paths]
    assert [text for table in tables for text in table["record_id"].to_pylist()] == [r.record_id for r in RECORDS]
    everything = [pq.ParquetFile(path).metadata.num_rows for path in data.rglob("*.parquet")]
    assert sum(everything) > len(RECORDS), "a glob would count rows twice"


def test_files_as_json_tell_their_ranges(data: Path, invoke: Invoke) -> None:
    done = invoke("files", "--data", str(data), "--format", "json")
    assert [(one["first"], one["last"], one["sealed"]) for one in json.loads(done.out)] == [
        (0, 19, True),
        (20, 39, False),
    ]
    assert invoke("files", "--data", str(data), "--log", "quarantine", "--format", "jsonl").out == ""
    assert invoke("files", "--data", str(data / "nothing")).code == 74


def test_an_export_to_parquet_has_every_field_of_the_records_that_match(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    run("export", "--data", data, "--format", "parquet", "--output", out, "--actor", "actor-1")
    wanted = [r for r in RECORDS if r.actor_id == "actor-1"]
    rows = pq.read_table(out).to_pylist()
    assert [row["record_id"] for row in rows] == [r.record_id for r in wanted]
    assert [(row["occurred_at"], row["entity_id"], row["outcome"]) for row in rows] == [
        (r.occurred_at, r.entity_ref.entity_id, r.outcome) for r in wanted if r.entity_ref
    ]
    assert [json.loads(row["metadata"]) for row in rows] == [r.metadata for r in wanted]
    assert [json.loads(row["changes"]) for row in rows] == [r.changes for r in wanted]


def test_an_export_to_csv_and_jsonl_is_whole_and_csv_runs_no_formula(data: Path, invoke: Invoke) -> None:
    rows = list(csv.DictReader(io.StringIO(invoke("export", "--data", str(data), "--format", "csv").out)))
    assert [row["record_id"] for row in rows] == [r.record_id for r in RECORDS]
    assert not any(cell.startswith(("=", "+", "@")) for row in rows for cell in row.values())
    lines = invoke("export", "--data", str(data), "--format", "jsonl", "--order", "desc").out.splitlines()
    assert [json.loads(line)["record_id"] for line in lines] == [r.record_id for r in reversed(RECORDS)]


def test_an_export_replaces_no_file_and_leaves_no_half_one(
    data: Path, tmp_path: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out.csv"
    words = ("export", "--data", str(data), "--format", "csv", "--output", str(out))
    out.write_text("mine")
    assert invoke(*words).code == 2
    assert out.read_text() == "mine"
    out.unlink()

    def failing(*_: object, **__: object) -> object:
        yield RECORDS[0]
        raise ReaderUnavailableError("gone")

    monkeypatch.setattr(DuckDBReader, "iter_records", failing)
    assert invoke(*words).code == 69
    assert not out.exists()
