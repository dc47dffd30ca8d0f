"""How long it takes to say of every stream what is missing, against a window function over all rows.

Two folders: in one nothing is lost, in the other every stream lacks some numbers. Records arrive in requests of 512,
streams in turn at random, and one request in fifty comes twice. Of each row only what the question reads is filled in.
The peer is what one writes first: `lag(number) over (partition by stream order by number)`. Both must find the same.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from bench.report import publish, ratio
from otel_audit.archive.columns import COLUMNS, STREAM_COLUMNS, Column, parquet_schema
from otel_audit.archive.footer import footer_of
from otel_audit.archive.names import FileName, Stage, format_name
from otel_audit.archive.write import parquet_bytes
from otel_audit.config import load_settings
from otel_audit.query.reader import DuckDBReader

_REQUEST = 512
_START_US = 1_772_000_000_000_000
_PEER = """
select stream_id, sum(stream_number - before - 1)::bigint from (
    select stream_id, stream_number, lag(stream_number, 1, 0) over mine as before
    from read_parquet(?) where stream_number > 0
    window mine as (partition by stream_id order by stream_number)
) group by stream_id
"""


def _build(root: Path, rows: int, streams: int, lost: float) -> None:
    random = np.random.default_rng(1)
    names = pa.array([f"019ab4f2-3c00-7000-8000-{stream:012x}" for stream in range(streams)])
    whose = random.integers(0, streams, rows // _REQUEST)
    order = np.argsort(whose, kind="stable")
    counts = np.bincount(whose, minlength=streams)
    nth = np.empty(len(whose), dtype=np.int64)
    nth[order] = np.arange(len(whose)) - np.repeat(np.cumsum(counts) - counts, counts)
    number = (nth[:, None] * _REQUEST + np.arange(1, _REQUEST + 1)).ravel()
    stream = np.repeat(whose, _REQUEST)
    kept = random.random(len(number)) >= lost
    stream, number = stream[kept], number[kept]
    services = pa.array(["shop", "billing"])
    for first in range(0, len(number), 1_000_000):
        part = slice(first, first + 1_000_000)
        found = {"stream_id": names.take(pa.array(stream[part])), "stream_number": pa.array(number[part])}
        found["service_name"] = services.take(pa.array(stream[part] % 2))
        found["record_id"] = pa.array([f"{at:020d}" for at in range(first, first + len(number[part]))])
        _publish(root, "log0log0log0log0log0", COLUMNS, first, found)
    again = np.flatnonzero(random.random(len(whose)) < 0.02)
    ends = nth[again] * _REQUEST
    notes = {"stream_id": names.take(pa.array(whose[again])), "kind": pa.array(["repeat"] * len(again))}
    notes |= {"first_number": pa.array(ends + 1), "last_number": pa.array(ends + 3)}
    _publish(root / "streams", "note0note0note0note0", STREAM_COLUMNS, 0, notes)


def _publish(root: Path, log: str, columns: tuple[Column, ...], first: int, found: dict[str, pa.Array]) -> None:
    count = len(found["stream_id"])
    at = pa.array(np.arange(first, first + count))
    times = pa.array(_START_US + np.arange(first, first + count)).cast(pa.timestamp("us", "UTC"))
    found |= {"log_index": at, "recorded_at": times, "occurred_at": times}
    schema = parquet_schema(columns)
    table = pa.table([found.get(field.name, pa.nulls(count, field.type)) for field in schema], schema=schema)
    folder = root / "archive" / "date=2026-02-25"
    folder.mkdir(parents=True, exist_ok=True)
    content = parquet_bytes(table, footer_of(log, table), columns, Stage.SEALED)
    (folder / format_name(FileName(log, first, first + count - 1, Stage.SEALED))).write_bytes(content)


def _timed(ask: Callable[[], Any], rounds: int) -> tuple[float, Any]:
    ask()
    taken = []
    for _ in range(rounds):
        begin = time.perf_counter()
        found = ask()
        taken.append((time.perf_counter() - begin) * 1e3)
    return median(taken), found


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--streams", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    settings = load_settings({})
    peer = duckdb.connect()
    peer.execute(f"set threads = {settings.query_threads}")
    table = []
    for name, lost in (("nothing lost", 0.0), ("one in 10,000 lost", 0.0001)):
        with tempfile.TemporaryDirectory(prefix="otel-audit-bench-") as folder:
            root = Path(folder)
            _build(root, options.rows, options.streams, lost)
            files = [str(path) for path in (root / "archive").rglob("*.parquet")]
            with DuckDBReader(root, settings) as reader:
                ours_ms, reports = _timed(reader.stream_reports, options.rounds)
                one_ms, _ = _timed(lambda one=reports[0].stream_id: reader.stream_reports([one]), options.rounds)
            theirs_ms, gaps = _timed(lambda files=files: peer.execute(_PEER, [files]).fetchall(), options.rounds)
            # A repeat may hide the loss of its number from us, rightly; the peer does not know of repeats.
            missing = sum(report.missing_count for report in reports)
            if len(reports) != len(gaps) or not missing <= sum(gap for _, gap in gaps) <= missing * 1.1 + 10:
                raise SystemExit(f"{name}: the answers differ: {missing} and {sum(gap for _, gap in gaps)} missing")
            row = [
                name,
                f"{missing:,}",
                f"{ours_ms:.0f}",
                f"{theirs_ms:.0f}",
                ratio(ours_ms, theirs_ms),
                f"{one_ms:.0f}",
            ]
            table.append(row)
    publish(
        "completeness",
        ["warm, ms", "numbers missing", "all streams", "window function", "ratio", "one stream"],
        table,
        [
            f"{options.rows:,} records of {options.streams} streams; {settings.query_threads} threads; "
            f"p50 of {options.rounds}"
        ],
        {"rows": options.rows, "streams": options.streams},
    )


if __name__ == "__main__":
    main()
