"""What a number was measured on; a number without it says nothing."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

__all__ = ["fsync_us", "machine_line"]

_LIBRARIES = ("pyarrow", "duckdb", "protobuf", "opentelemetry-sdk", "uvicorn")


def machine_line() -> str:
    """Cores, processor, Python and library versions, in one line."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    libraries = ", ".join(f"{name} {_version(name)}" for name in _LIBRARIES)
    return f"{cores} cores, {_processor()}, {platform.system()}, Python {platform.python_version()}, {libraries}"


def fsync_us(folder: Path, times: int = 200) -> float:
    """The median time of one small append with fsync in a folder, in µs: what a durable answer cannot be under."""
    from statistics import median
    from time import perf_counter_ns

    path = folder / "fsync-probe"
    spent = []
    with path.open("wb", buffering=0) as file:
        for _ in range(times):
            file.write(b"x" * 300)
            begin = perf_counter_ns()
            os.fsync(file.fileno())
            spent.append(perf_counter_ns() - begin)
    path.unlink()
    return median(spent) / 1_000


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "-"


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
