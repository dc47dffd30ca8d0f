"""`otel-audit spool status` and `list`: what an operator sees of a spool, and what `gaps --expect` reads of it."""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path
from typing import Any

import pytest

from otel_audit.cli.expectations import parse_expectations
from otel_audit.cli.spool.command import age_text
from otel_audit.errors import QueryError, SpoolUnreadableError
from tests.cli.conftest import Done, Invoke
from tests.query.folder import write_rows
from tests.spool.filled import ENDPOINT, FilledSpool


@pytest.fixture
def spool(tmp_path: Path) -> FilledSpool:
    return FilledSpool(tmp_path / "spool")


def lines(done: Done) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.out.splitlines()]


def status(invoke: Invoke, spool: FilledSpool, *words: str) -> Done:
    return invoke("spool", "status", "--spool-dir", str(spool.root), *words)


def test_a_row_says_everything_of_a_stream(invoke: Invoke, spool: FilledSpool) -> None:
    spool.stream("s1").write(5).deliver(2)
    (row,) = lines(done := status(invoke, spool))
    assert (done.code, done.err) == (0, "")
    assert row["waiting_bytes"] > 600
    assert row["oldest_waiting_s"] > 0
    assert row | {"waiting_bytes": 0, "oldest_waiting_s": 0} == {
        "stream_id": "s1",
        "service_name": "shop",
        "endpoint": ENDPOINT,
        "state": "living",
        "pid": os.getpid(),
        "last_number": 5,
        "delivered": 2,
        "waiting_records": 3,
        "waiting_bytes": 0,
        "waiting_since": "2025-11-24T16:00:03.000000Z",
        "oldest_waiting_s": 0,
        "parked": 0,
        "closed": False,
        "damaged": False,
    }


def test_csv_and_the_table_have_the_same_streams(invoke: Invoke, spool: FilledSpool) -> None:
    spool.stream("s1").write(2).end().finish()
    spool.stream("s2").write(3).leave()
    rows = list(csv.DictReader(io.StringIO(status(invoke, spool, "--format", "csv").out)))
    assert [(row["stream_id"], row["state"], row["last_number"]) for row in rows] == [
        ("s2", "left", "3"),
        ("s1", "delivered", "2"),
    ]
    table = status(invoke, spool, "--format", "table").out
    assert str(spool.root) in table
    left, delivered = (line.split() for line in table.splitlines() if "shop" in line)
    assert left[:3] == ["s2", "shop", "left"]
    assert delivered[:3] == ["s1", "shop", "delivered"]
    assert "parked: none   kept: 1 file" in table


def test_what_needs_a_look_is_told_on_stderr_in_every_format(invoke: Invoke, spool: FilledSpool) -> None:
    stream = spool.stream("s1").write(6)
    stream.park(2, "HTTP 403")
    (path,) = stream.folder.glob("*.spool")
    content = bytearray(path.read_bytes())
    content[-len(content) // 4] ^= 0xFF
    path.write_bytes(content)
    (spool.root / "aside" / "s0.core").write_text("x")
    (spool.root / "sent" / "no\x1bte").write_text("x")
    said = status(invoke, spool).err.splitlines()
    assert said == [
        "2 records refused by a peer; `otel-audit spool list` says why",
        "damaged, what is sound of it is being delivered: s1",
        f"1 damaged file kept whole in {spool.root / 'aside'}",
        f"not of a spool, and left alone: {spool.root}/sent/no\\x1bte",
    ]
    assert status(invoke, spool, "--format", "csv").err.splitlines() == said


def test_its_lines_are_what_gaps_expects(invoke: Invoke, spool: FilledSpool, tmp_path: Path) -> None:
    """Also of streams of which only kept copies are left: one that never arrived is found out by them."""
    spool.stream("s1").write(4).end().finish()
    spool.stream("s2").write(2)
    told = status(invoke, spool).out
    assert parse_expectations(told.encode().splitlines(), "here") == {"s1": 4, "s2": 2}
    rows = [{"record_id": f"s2-{n}", "occurred_at": 1, "stream_id": "s2", "stream_number": n} for n in (1, 2)]
    write_rows(tmp_path / "data", 0, rows)
    done = invoke("gaps", "--data", str(tmp_path / "data"), "--wait", "0", "--expect", "-", stdin=told)
    assert [(row["stream_id"], row["missing"]) for row in lines(done)] == [("s1", [[1, 4]])]


def test_the_spool_is_the_configured_one_unless_named(invoke: Invoke, spool: FilledSpool) -> None:
    spool.stream("s1").write(1)
    done = invoke("spool", "status", env={"OTEL_AUDIT_SPOOL_DIR": str(spool.root)})
    assert [row["stream_id"] for row in lines(done)] == ["s1"]


@pytest.mark.parametrize("command", ["status", "list", "deliver", "retry", "export"])
def test_a_folder_that_is_no_spool_is_an_error(invoke: Invoke, tmp_path: Path, command: str) -> None:
    """A wrong path must not read as "nothing waits"."""
    done = invoke("spool", command, "--spool-dir", str(tmp_path))
    assert (done.code, done.out) == (SpoolUnreadableError.exit_code, "")
    assert f"there is no spool at {tmp_path}" in done.err
    assert list(tmp_path.iterdir()) == []


def test_an_empty_spool_has_no_streams(invoke: Invoke, spool: FilledSpool) -> None:
    assert status(invoke, spool).out == ""
    assert "no streams" in status(invoke, spool, "--format", "table").out


def test_list_shows_what_was_refused_longest_first(invoke: Invoke, spool: FilledSpool) -> None:
    stream = spool.stream("s1").write(9).deliver(1)
    paths = [stream.park(3, "HTTP 413 (too\nmuch)"), stream.park(2, "partial success, 1 rejected", rejected=1)]
    for at, path in enumerate(paths):
        os.utime(path, (1_764_000_000 + at, 1_764_000_000 + at))
    spool.stream("t1").write(1).park(1, "HTTP 403")
    first, second, third = lines(invoke("spool", "list", "--spool-dir", str(spool.root)))
    assert first == {
        "stream_id": "s1",
        "service_name": "shop",
        "first_number": 2,
        "last_number": 4,
        "records": 3,
        "rejected": 3,
        "parked_at": "2025-11-24T16:00:00.000000Z",
        "reason": "HTTP 413 (too\nmuch)",
        "endpoint": ENDPOINT,
        "file": str(paths[0]),
    }
    assert (second["first_number"], second["records"], second["rejected"]) == (5, 2, 1)
    assert third["stream_id"] == "t1"
    only = invoke("spool", "list", "--spool-dir", str(spool.root), "--stream", "t")
    assert [row["stream_id"] for row in lines(only)] == ["t1"]
    table = invoke("spool", "list", "--spool-dir", str(spool.root), "--format", "table").out
    assert "HTTP 413 (too\\nmuch)" in table


def test_a_stream_that_is_not_there_is_an_error(invoke: Invoke, spool: FilledSpool) -> None:
    spool.stream("s1").write(1)
    done = invoke("spool", "export", "--spool-dir", str(spool.root), "--stream", "x")
    assert done.code == QueryError.exit_code
    assert "no stream in the spool begins with 'x'" in done.err


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (119.4, "119 s"), (120, "2 min"), (7_199, "120 min"), (7_200, "2 h"), (172_800, "2 d")],
)
def test_an_age_has_the_largest_unit_that_says_enough(seconds: float, text: str) -> None:
    assert age_text(seconds) == text
