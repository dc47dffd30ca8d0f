"""What readers cost a sender: how long one append and one health check take while 0, 20 and 200 clients read.

A real collector process; a sender that sends one record a request, one request after the other; a health check in
between; readers that ask for 10,000 records again and again, each over a connection of its own, and wait as long as
`Retry-After` says where they are refused. Readers run at the lowest priority: they stand for other machines, and what
they compute themselves is none of the collector's cost.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import http.client
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bench.processes import cpu_seconds, running_collector
from bench.records import BenchRecords
from bench.report import percentile, publish

_TARGET = "/v1/audit/records?limit=10000"
_WARM_UP_S = 3.0


async def _reader(host: str, port: int, end: float, seen: dict[str, int]) -> None:
    request = f"GET {_TARGET} HTTP/1.1\r\nhost: {host}:{port}\r\nconnection: close\r\n\r\n".encode()
    while time.monotonic() < end:
        try:
            reader, writer = await asyncio.open_connection(host, port, limit=1 << 20)
        except OSError:
            seen["failed"] += 1
            await asyncio.sleep(1)
            continue
        try:
            writer.write(request)
            status = (await reader.readline())[9:12].decode()
            while chunk := await reader.read(1 << 20):
                seen["bytes"] += len(chunk)
        except OSError:
            status = "failed"
        finally:
            writer.close()
        seen["answered" if status == "200" else "refused" if status == "503" else "failed"] += 1
        if status != "200":
            await asyncio.sleep(1)


async def _read(url: str, readers: int, seconds: float) -> dict[str, int]:
    parts = urlsplit(url)
    seen = {"answered": 0, "refused": 0, "failed": 0, "bytes": 0}
    end = time.monotonic() + seconds
    tasks = [asyncio.create_task(_reader(parts.hostname or "", parts.port or 0, end, seen)) for _ in range(readers)]
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await asyncio.gather(*tasks)
    return seen


def _timed(connection: http.client.HTTPConnection, method: str, path: str, body: bytes | None = None) -> float:
    begin = time.perf_counter()
    connection.request(method, path, body, {"content-type": "application/x-protobuf"} if body else {})
    answer = connection.getresponse()
    answer.read()
    if answer.status != 200:
        raise SystemExit(f"{path} was answered {answer.status}")
    return (time.perf_counter() - begin) * 1e3


def _measured(url: str, readers: int, seconds: float, source: BenchRecords) -> dict[str, Any]:
    """One row: what the sender and the health check waited, and what the readers got."""
    parts = urlsplit(url)
    command = [sys.executable, "-m", "bench.readers", "--read", url, "--clients", str(readers)]
    load = subprocess.Popen(
        [*command, "--seconds", str(seconds + _WARM_UP_S)], stdout=subprocess.PIPE, preexec_fn=lambda: os.nice(19)
    )
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=120)
    time.sleep(_WARM_UP_S)
    appends, checks = [], []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        (body,) = source.requests(1, 1)
        appends.append(_timed(connection, "POST", "/v1/logs", body))
        checks.append(_timed(connection, "GET", "/healthz"))
    connection.close()
    said, _ = load.communicate()
    return {
        "readers": readers,
        "append_p50_ms": percentile(appends, 0.5),
        "append_p99_ms": percentile(appends, 0.99),
        "healthz_p50_ms": percentile(checks, 0.5),
        "healthz_p99_ms": percentile(checks, 0.99),
        "appends": len(appends),
        **json.loads(said),
    }


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--readers", type=int, nargs="*", default=[0, 20, 200])
    parser.add_argument("--read", default="", help="used by itself: be the readers of this collector")
    parser.add_argument("--clients", type=int, default=0)
    options = parser.parse_args()
    if options.read:
        print(json.dumps(asyncio.run(_read(options.read, options.clients, options.seconds))))
        return
    source = BenchRecords(seed=7)
    rows = []
    with (
        tempfile.TemporaryDirectory(prefix="otel-audit-bench-") as folder,
        running_collector(Path(folder)) as collector,
    ):
        parts = urlsplit(collector.url)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=120)
        for body in source.requests(options.rows, 1_000):
            _timed(connection, "POST", "/v1/logs", body)
        connection.close()
        before = cpu_seconds(collector.pid)
        for readers in options.readers:
            rows.append(_measured(collector.url, readers, options.seconds, source))
            print(json.dumps(rows[-1]), flush=True)
        used = cpu_seconds(collector.pid) - before
    times = ["append_p50_ms", "append_p99_ms", "healthz_p50_ms", "healthz_p99_ms"]
    counts = ["appends", "answered", "refused", "failed"]
    table = [
        [str(row["readers"]), *(f"{row[name]:.1f}" for name in times), *(str(row[name]) for name in counts)]
        for row in rows
    ]
    notes = [
        f"{options.rows:,} records in the log, {options.seconds:g} s a line, GET {_TARGET}",
        f"the collector's own process used {used:.1f} s of CPU",
    ]
    publish("readers", ["readers", *times, *counts], table, notes, {"result": rows})


if __name__ == "__main__":
    main()
