"""How many records a second the collector makes durable, and how long one client waits for its answer.

A real collector process with merging, sealing and de-duplication on; a load generator process beside it on the same
machine; every answer is given after the records' Parquet file was fsynced. Afterwards the rows in the files are
compared with the records that were acknowledged. The peer is PostgreSQL with three indexes, filled by COPY in
transactions of as many rows as a request has records, each durable (synchronous_commit on).
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import duckdb

from bench.machine import fsync_us
from bench.postgres_table import CREATE
from bench.processes import cpu_seconds, running_collector, running_postgres
from bench.report import percentile, publish, ratio
from otel_audit.archive.listing import list_log
from otel_audit.archive.names import Stage

_RESULT = dict[str, Any]


def _load(*arguments: str) -> _RESULT:
    done = subprocess.run([sys.executable, "-m", "bench.load", *arguments], stdout=subprocess.PIPE, check=True)
    result: _RESULT = json.loads(done.stdout)
    if result["failures"]:
        raise SystemExit(f"the load generator failed: {result['failures']}")
    return result


def _runs(target: list[str], options: argparse.Namespace) -> tuple[_RESULT, _RESULT, _RESULT]:
    """A warm-up that only verification looks at, the sequential client, and the sustained load."""
    size = ["--per-request", str(options.per_request)]
    warm = _load(*target, *size, "--connections", "2", "--seconds", "2", "--seed", "10")
    one = _load(*target, *size, "--seconds", "600", "--requests", str(options.requests), "--seed", "20")
    many = ["--connections", str(options.connections), "--seconds", str(options.seconds), "--seed", "30"]
    return warm, one, _load(*target, *size, *many)


def _ours(folder: Path, options: argparse.Namespace) -> tuple[_RESULT, _RESULT, _RESULT]:
    settings = {"decode_workers": options.decode_workers, "seal_rows": options.seal_rows}
    with running_collector(folder, **settings) as collector:
        before = cpu_seconds(collector.pid)
        warm, one, many = _runs(["--url", collector.url], options)
        used = cpu_seconds(collector.pid) - before
    sent = warm["acknowledged"] + one["acknowledged"] + many["acknowledged"]
    listing = list_log(folder)
    files = [str(file.path) for file in listing.files]
    rows, ids = duckdb.sql(
        "select count(*), count(distinct record_id) from read_parquet($1, hive_partitioning=false)", params=[files]
    ).fetchall()[0]
    if not sent == rows == ids:
        raise SystemExit(f"acknowledged {sent:,} records; {rows:,} rows with {ids:,} ids are in Parquet")
    stages = [file.name.stage for file in listing.files]
    facts = {
        "rows": rows,
        "sealed": stages.count(Stage.SEALED),
        "hot": len(stages) - stages.count(Stage.SEALED),
        "cpu_us_per_record": used * 1e6 / sent,
        "file_bytes": sum(file.path.stat().st_size for file in listing.files),
    }
    return one, many, facts


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=30.0, help="of sustained load, each for us and the peer")
    parser.add_argument("--requests", type=int, default=200, help="of the one sequential client")
    parser.add_argument("--per-request", type=int, default=1_000, help="records in a request")
    parser.add_argument("--connections", type=int, default=8, help="of the sustained load")
    parser.add_argument("--decode-workers", type=int, default=0, help="decoding processes of the collector")
    parser.add_argument("--seal-rows", type=int, default=1_000_000, help="rows of a sealed file")
    parser.add_argument("--folder", type=Path, help="where the data goes while it runs; default: the temporary folder")
    parser.add_argument("--no-peer", action="store_true")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="otel-audit-bench-", dir=options.folder))
    try:
        fsync = fsync_us(folder)
        one, many, facts = _ours(folder / "data", options)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    theirs: tuple[_RESULT, _RESULT] | None = None
    peer = "PostgreSQL"
    if not options.no_peer:
        with running_postgres() as server:
            if server is not None:
                import psycopg

                peer = f"PostgreSQL {server.version}"
                with psycopg.connect(server.conninfo, autocommit=True) as connection:
                    connection.execute(CREATE)
                theirs = _runs(["--postgres", server.conninfo], options)[1:]
    missing = "not measured" if options.no_peer else "not installed"

    def row(label: str, mark: str, ours: float, their: float | None, more: bool) -> list[str]:
        told = missing if their is None else f"{their:,.{mark}f}"
        return [label, f"{ours:,.{mark}f}", told, ratio(ours, their, more_is_better=more)]

    rows = [row("sustained, records/s", "0", many["per_s"], theirs and theirs[1]["per_s"], True)]
    for label, run, at in ((f"{options.connections} connections", many, 1), ("1 connection", one, 0)):
        for share in (0.5, 0.99):
            their = theirs and percentile(theirs[at]["latencies_ms"], share)
            ours = percentile(run["latencies_ms"], share)
            rows.append(row(f"{label}: answer p{share * 100:.0f}, ms", "1", ours, their, False))
    publish(
        "ingest",
        ["durable answers", "otel-audit", peer, "ratio"],
        rows,
        [
            f"{options.per_request:,} records a request; {options.seconds:g} s sustained over {options.connections} "
            f"connections; {options.requests} requests one after the other",
            f"{facts['rows']:,} records acknowledged = rows in Parquet = distinct ids; {facts['sealed']} sealed and "
            f"{facts['hot']} hot files at the end; {many['retries'] + one['retries']} requests sent again after a 503",
            f"collector: {facts['cpu_us_per_record']:.1f} µs of CPU a record, {options.decode_workers} decode workers; "
            f"load generator: {many['generator_cpu_s'] / many['seconds'] * 100:.0f} % of one core; "
            f"one fsync here: {fsync:.0f} µs",
            "PostgreSQL: COPY, one transaction a request, primary key and two indexes, synchronous_commit on",
        ],
        {
            "ours": {"sustained": _short(many), "sequential": _short(one), **facts},
            "peer": theirs and {"sustained": _short(theirs[1]), "sequential": _short(theirs[0])},
            "options": {name: str(value) for name, value in vars(options).items()},
        },
    )


def _short(result: _RESULT) -> _RESULT:
    latencies = result["latencies_ms"]
    marks = {f"p{share * 100:g}_ms": percentile(latencies, share) for share in (0.5, 0.9, 0.99, 1.0)}
    return {name: value for name, value in result.items() if name != "latencies_ms"} | marks


if __name__ == "__main__":
    main()
