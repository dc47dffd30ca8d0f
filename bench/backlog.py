"""What a spool costs that holds much: kept files, one stream of many files, many dead streams, many parked files.

A spool is filled with files as a process would have left them, and a process of its own is measured on it: one that
appends a record every 50 ms, or `otel-audit spool deliver` and `retry`. All sends go to a sink that keeps nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.report import percentile, publish
from bench.sink import running_sink
from otel_audit.disk import Disk
from otel_audit.spool.format import Header, Kind, format_entry, format_header
from otel_audit.spool.places import PARKED, POOLS, SENT, STREAMS, PoolFile, SegmentName
from otel_audit.spool.stream import open_spool

_RECORD = bytes(300)
_EVERY_S = 0.05
_WARM_UP_S = 2.0


def _file(stream: str, first: int, endpoint: str, reason: str = "") -> bytes:
    return format_header(Header(stream, first, endpoint, b"", reason=reason)) + format_entry(
        Kind.RECORD, first, _RECORD
    )


def _pooled(root: Path, pool: str, files: int, endpoint: str) -> None:
    for at in range(1, files + 1):
        name = SegmentName(1, at, is_refused=pool == PARKED)
        (root / pool / PoolFile("s", name).format()).write_bytes(_file("s", at, endpoint, "HTTP 401"))


def _stream_of(root: Path, files: int, endpoint: str) -> None:
    folder = root / STREAMS / "s"
    folder.mkdir()
    for at in range(1, files + 1):
        (folder / SegmentName(at, at).format()).write_bytes(_file("s", at, endpoint))


def _streams(root: Path, count: int, endpoint: str) -> None:
    for at in range(count):
        folder = root / STREAMS / f"s{at}"
        folder.mkdir()
        (folder / SegmentName(1, 1).format()).write_bytes(_file(f"s{at}", 1, endpoint))


def _append(seconds: float) -> None:
    """Used by itself: append now and then, and tell what that took."""
    from otel_audit import ActivityRecord, EntityRef, OTelActivityLogRepo

    took_ms = []
    with OTelActivityLogRepo() as log:
        began_s = cpu_s = 0.0
        end_s = time.monotonic() + _WARM_UP_S + seconds
        while time.monotonic() < end_s:
            if not began_s and time.monotonic() > end_s - seconds:
                began_s, cpu_s, took_ms = time.monotonic(), time.process_time(), []
            start = time.perf_counter()
            log.append(ActivityRecord.create(actor_id=1, owner_id=1, action="do", entity_ref=EntityRef("Thing", 1)))
            took_ms.append((time.perf_counter() - start) * 1e3)
            time.sleep(_EVERY_S)
        cpu = (time.process_time() - cpu_s) / (time.monotonic() - began_s)
    print(json.dumps({"cpu": cpu, "p50_ms": percentile(took_ms, 0.5), "most_ms": max(took_ms)}))


def _run(root: Path, url: str, arguments: list[str], limit_s: float, most_files: int = 0) -> tuple[float, str]:
    """(how long it took, what it printed); cut off at a limit."""
    env = os.environ | {"OTEL_AUDIT_SPOOL_DIR": str(root), "OTEL_AUDIT_ENDPOINT": url}

    def limited() -> None:
        if most_files:
            resource.setrlimit(resource.RLIMIT_NOFILE, (most_files, most_files))

    start = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, *arguments], env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        preexec_fn=limited,
    )  # fmt: skip
    try:
        said, _ = process.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired:
        process.kill()
        said, _ = process.communicate()
    return time.monotonic() - start, said


def _drained(
    fill: Callable[[Path, str], None], left: Callable[[Path], int], command: str, limit_s: float, most_files: int = 0
) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="otel-audit-bench-") as folder, running_sink() as url:
        root = Path(folder)
        open_spool(root, POOLS, Disk())
        fill(root, f"{url}/v1/logs")
        there = left(root)
        cli = ["-c", f"from otel_audit.cli.main import main; main(['spool', '{command}', '-q'])"]
        took_s, _ = _run(root, url, cli, limit_s, most_files)
        done = there - left(root)
        return {"done": done, "of": there, "took_s": took_s, "per_s": done / took_s}


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kept", type=int, default=50_000, help="files that are delivered and kept")
    parser.add_argument("--files", type=int, default=10_001, help="files of one stream")
    parser.add_argument("--parked", type=int, default=20_005, help="parked files of one record")
    parser.add_argument("--streams", type=int, default=2_000, help="streams of dead processes")
    parser.add_argument("--seconds", type=float, default=30.0, help="how long to append beside the kept files")
    parser.add_argument("--limit", type=float, default=120.0, help="seconds until a delivery is cut off")
    parser.add_argument("--append", type=float, default=0.0, help="used by itself: append for so many seconds")
    options = parser.parse_args()
    if options.append:
        _append(options.append)
        return
    rows, facts = [], {}
    for kept in (0, options.kept):
        with tempfile.TemporaryDirectory(prefix="otel-audit-bench-") as folder, running_sink() as url:
            root = Path(folder)
            open_spool(root, POOLS, Disk())
            _pooled(root, SENT, kept, f"{url}/v1/logs")
            arguments = ["-m", "bench.backlog", "--append", str(options.seconds)]
            idle = json.loads(_run(root, url, arguments, options.seconds + options.limit)[1])
            facts[f"kept {kept}"] = idle
            found = f"{idle['cpu']:.1%} of a core, append p50 {idle['p50_ms']:.1f} ms, longest {idle['most_ms']:.0f} ms"
            rows.append([f"{kept:,} kept files, a record every 50 ms", found])

    def streams_left(root: Path) -> int:
        return sum(1 for path in (root / STREAMS).rglob("*.spool"))

    def parked_left(root: Path) -> int:
        return len(list((root / PARKED).iterdir()))

    for name, fill, left, command, most_files in (
        ("files of one stream", lambda r, e: _stream_of(r, options.files, e), streams_left, "deliver", 0),
        ("dead streams, 256 descriptors", lambda r, e: _streams(r, options.streams, e), streams_left, "deliver", 256),
        ("parked files", lambda r, e: _pooled(r, PARKED, options.parked, e), parked_left, "retry", 0),
    ):
        facts[name] = drained = _drained(fill, left, command, options.limit, most_files)
        found = f"{drained['done']:,} in {drained['took_s']:.1f} s, {drained['per_s']:,.0f}/s"
        rows.append([f"{drained['of']:,} {name}", found])
    publish("backlog", ("spool", "measured"), rows, [f"cut off after {options.limit:.0f} s"], facts)


if __name__ == "__main__":
    main()
