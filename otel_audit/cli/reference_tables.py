"""The tables inside hand-written pages: wire names and archive columns, between markers that name them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from otel_audit.archive.columns import COLUMNS, QUARANTINE_COLUMNS, STREAM_COLUMNS, Column
from otel_audit.otlp.names import WIRE

__all__ = ["TABLES", "table", "with_tables"]

_TYPES = {
    "i64": "INT64",
    "i32": "INT32",
    "str": "string",
    "ts": "timestamp(µs, UTC)",
    "bytes": "binary",
}


def table(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """A Markdown table."""
    lines = [heads, tuple("---" for _ in heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _names() -> str:
    kinds = {"id": "string", "text": "string", "json": "map", "int": "int"}
    rows = [
        (
            f"`{wire.column}`",
            f"`{wire.key}`",
            kinds[wire.kind],
            "yes" if wire.required else "",
            ", ".join(f"`{alias}`" for alias in wire.aliases),
        )
        for wire in WIRE
    ]
    return table(("field", "attribute", "type", "required", "also accepted"), rows)


def _columns(columns: tuple[Column, ...]) -> str:
    rows = [
        (str(column.field_id), f"`{column.name}`", _TYPES[column.type], "yes" if column.bloom else "", column.doc)
        for column in columns
    ]
    return table(("field id", "column", "type", "Bloom filter", "holds"), rows)


TABLES: dict[str, Callable[[], str]] = {
    "names": _names,
    "columns": lambda: _columns(COLUMNS),
    "quarantine": lambda: _columns(QUARANTINE_COLUMNS),
    "streams": lambda: _columns(STREAM_COLUMNS),
}


def with_tables(page: str) -> str:
    """A page with every marked table written anew; the rest stays as it is."""
    return re.sub(
        r"(<!-- (\w+): [^\n]*-->\n).*?(<!-- /\2 -->)", lambda found: _renewed(*found.groups()), page, flags=re.S
    )


def _renewed(start: str, name: str, end: str) -> str:
    return f"{start}\n{TABLES[name]()}\n\n{end}"
