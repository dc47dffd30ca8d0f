"""The tables of the format pages are what the code says."""

from __future__ import annotations

from pathlib import Path

import pytest

from otel_audit.cli.reference import TABLED
from otel_audit.cli.reference_tables import TABLES, with_tables

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("name", TABLED)
def test_the_tables_of_a_page_are_up_to_date(name: str) -> None:
    written = (DOCS / name).read_text(encoding="utf-8")
    assert written == with_tables(written), f"docs/{name} is stale: run python -m otel_audit.cli.reference"


def test_every_table_stands_on_a_page() -> None:
    text = "".join((DOCS / name).read_text(encoding="utf-8") for name in TABLED)
    assert all(f"<!-- {name}: " in text and f"<!-- /{name} -->" in text for name in TABLES)
