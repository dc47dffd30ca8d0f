"""The page on delivery names every metric and every log event that the code has."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from otel_audit.delivery import meters

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "delivery.md").read_text(encoding="utf-8")


def events() -> Iterator[tuple[str, str]]:
    """(level, the beginning of the event) of each call of `report` with words of its own."""
    for path in sorted((ROOT / "otel_audit" / "delivery").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "report":
                level, event = node.args[-2:]
                text = event.values[0] if isinstance(event, ast.JoinedStr) else event
                if isinstance(level, ast.Constant) and isinstance(text, ast.Constant):
                    yield level.value, text.value


def test_every_metric_is_on_the_page_with_its_unit() -> None:
    found = [(instrument.name, instrument.unit) for instrument in meters.INSTRUMENTS]
    found += [(name, unit) for name, unit, *_ in meters.SPOOL_INSTRUMENTS]
    for name, unit in found:
        (row,) = [line for line in PAGE.splitlines() if line.startswith(f"| `{name}` |")]
        assert f", {unit} |" in row


def test_every_log_event_is_on_the_page_under_its_level() -> None:
    found = list(events())
    assert len(found) > 10
    rows = [line for line in PAGE.splitlines() if line.startswith(("| error |", "| warning |", "| info |"))]
    for level, event in found:
        shown = event.partition(";")[0].partition(", using")[0].partition(", sending")[0]
        assert any(row.startswith(f"| {level} |") and f"`{shown}" in row for row in rows), event
