"""How every benchmark tells its result: a markdown table for people, a JSON file for comparing runs."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.machine import machine_line

__all__ = ["percentile", "publish", "ratio"]

_RESULTS = Path(__file__).parent / "results"


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` (0 to 1) of all values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def ratio(ours: float | None, peer: float | None, *, more_is_better: bool = False) -> str:
    """How many times better we are than the peer; under 1 is worse. "-" when one was not measured."""
    if not ours or not peer:
        return "-"
    better = ours / peer if more_is_better else peer / ours
    return f"{better:.1f} x" if better >= 0.95 else f"{better:.2f} x"


def publish(
    name: str,
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    notes: Sequence[str],
    facts: dict[str, Any],
) -> None:
    """Print the table, the notes and the machine; keep all of it and `facts` in bench/results/."""
    widths = [max(len(row[at]) for row in [header, *rows]) for at in range(len(header))]
    lines = [_line(header, widths), "|" + "|".join("-" * (width + 2) for width in widths) + "|"]
    lines += [_line(row, widths) for row in rows]
    machine = machine_line()
    print(f"\n### {name}\n\n" + "\n".join(lines) + "\n")
    for note in notes:
        print(f"- {note}")
    print(f"- {machine}", flush=True)
    _RESULTS.mkdir(exist_ok=True)
    at = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    content = {"bench": name, "at": at, "machine": machine, "header": header, "rows": rows, "notes": notes} | facts
    (_RESULTS / f"{name}-{at}.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"
