"""`otel-audit seal`: put everything committed into sealed files now, for a copy or before a move."""

from __future__ import annotations

from typing import Annotated

import typer

from otel_audit.cli.examples import examples
from otel_audit.cli.options import DataOption, FormatOption, data_folder
from otel_audit.cli.output import write_rows
from otel_audit.config import load_settings

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Add the command `seal`."""
    app.command(
        "seal",
        epilog=examples("otel-audit seal --data audit-data", "otel-audit seal --url http://127.0.0.1:4318"),
    )(_seal)


def _seal(
    data: DataOption = None,
    url: Annotated[str | None, typer.Option("--url", metavar="URL", help="Ask the collector at this address.")] = None,
    format: FormatOption = None,
) -> None:
    """Seal everything committed so far; a running collector is asked to do it."""
    from otel_audit import bootstrap
    from otel_audit.cli.running import ask, owner_url

    if data is not None and url is not None:
        raise typer.BadParameter("give --data or --url, not both")
    if url is None:
        folder = data_folder(data)
        url = owner_url(folder)
    if url is not None:
        sealed = ask(url, "/admin/seal")["sealed_files"]
    else:
        with bootstrap.open_log(load_settings(data_dir=str(folder))) as log:
            sealed = log.seal()
    write_rows([{"sealed_files": sealed}], format=format)
