"""`otel-audit views`: the SQL that gives any DuckDB session the views of a data folder."""

from __future__ import annotations

import sys

import typer

from otel_audit.cli.examples import examples
from otel_audit.cli.options import DataOption, data_folder

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Add the command `views`."""
    app.command(
        "views",
        epilog=examples(
            "otel-audit views --data audit-data > views.sql    # then: duckdb -init views.sql",
        ),
    )(_views)


def _views(data: DataOption = None) -> None:
    """Print `views.sql` for a data folder: its views and macros in any DuckDB session, without this package.

    Its list of files is a snapshot, good for 60 seconds; run the script again for a new one.
    """
    from otel_audit.query.statements import script

    folder = str(data_folder(data).absolute()).replace("'", "''")
    sys.stdout.write(f"SET VARIABLE data = '{folder}';\n\n{script('views')}")
