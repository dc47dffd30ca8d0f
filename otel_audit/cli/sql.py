"""`otel-audit sql`: plain SQL over a data folder."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

import typer

from otel_audit.cli.examples import examples
from otel_audit.cli.options import DataOption, FormatOption, data_folder
from otel_audit.cli.output import write_rows
from otel_audit.config import load_settings

__all__ = ["add_to", "json_value"]


def add_to(app: typer.Typer) -> None:
    """Add the command `sql`."""
    app.command(
        "sql",
        epilog=examples(
            'otel-audit sql "SELECT action, count(*) FROM activity GROUP BY ALL ORDER BY 2 DESC"',
            "otel-audit sql \"SELECT metadata->>'title' FROM activity WHERE entity_type = 'Task'\" --format csv",
            "otel-audit sql - < report.sql",
        ),
    )(_sql)


def _sql(
    statement: Annotated[str, typer.Argument(metavar="SQL", help="One SELECT; - reads it from standard input.")],
    data: DataOption = None,
    url: Annotated[
        str | None,
        typer.Option("--url", metavar="URL", help="No collector takes SQL: it needs the files.", hidden=True),
    ] = None,
    format: FormatOption = None,
) -> None:
    """Ask DuckDB. The views are `activity`, `quarantine`, `completeness` and `stream_notes`; nothing can be changed."""
    from otel_audit import bootstrap

    if url is not None:
        raise typer.BadParameter("SQL reads the files: give --data, on the collector's machine")
    text = sys.stdin.read() if statement == "-" else statement
    with closing(bootstrap.open_sql(data_folder(data), load_settings())) as session:
        columns, rows = session.run(text)
        write_rows(_rows(columns, rows), columns=columns, format=format, empty="no rows")


def _rows(columns: list[str], rows: Iterator[tuple[Any, ...]]) -> Iterator[dict[str, Any]]:
    for row in rows:
        yield dict(zip(columns, map(json_value, row), strict=True))


def json_value(value: Any) -> Any:
    """A DuckDB value as a JSON value: times as RFC 3339, bytes as hex, what JSON has no form for as text."""
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else str(value)
        case datetime():
            in_utc = value.astimezone(UTC) if value.utcoffset() is not None else value
            return in_utc.isoformat(timespec="microseconds").replace("+00:00", "Z")
        case date() | time():
            return value.isoformat()
        case bytes():
            return value.hex()
        case UUID() | Decimal() | timedelta():
            return str(value)
        case dict():
            return {str(json_value(key)): json_value(item) for key, item in value.items()}
        case list() | tuple():
            return [json_value(item) for item in value]
        case _:
            return str(value)
