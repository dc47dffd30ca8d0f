"""Puts the commands together. Each one imports what it needs when it runs, so `--help` answers at once."""

from __future__ import annotations

import logging

import typer

from otel_audit import __version__
from otel_audit.cli import (
    append,
    collector,
    gaps,
    get,
    import_git,
    ping,
    quarantine,
    seal,
    search,
    settings,
    sql,
    status,
)
from otel_audit.cli.demo import command as demo
from otel_audit.cli.examples import examples
from otel_audit.cli.spool import command as spool
from otel_audit.collector.logging import configure_logging

__all__ = ["build_app"]


def build_app() -> typer.Typer:
    """The application with all its commands."""
    app = typer.Typer(
        name="otel-audit",
        help="An append-only activity log: who did what to whose data, carried by OpenTelemetry, kept as Parquet.",
        epilog=examples(
            "otel-audit demo                               # see all of it on a real history",
            "otel-audit collector --data-dir audit-data    # receive OTLP and keep it",
            "otel-audit search --since 7d                  # what happened this week",
        ),
        no_args_is_help=True,
        add_completion=False,
        # A traceback is for a fault in this program; errors with a cause outside of it are told by `cli.main`.
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_before_any_command)
    for command in (
        collector,
        append,
        get,
        search,
        sql,
        status,
        gaps,
        seal,
        quarantine,
        spool,
        ping,
        import_git,
        demo,
        settings,
    ):
        command.add_to(app)
    return app


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"otel-audit {__version__}")
        raise typer.Exit


def _before_any_command(
    context: typer.Context,
    version: bool = typer.Option(
        False, "--version", help="Print the version and leave.", callback=_show_version, is_eager=True
    ),
) -> None:
    # stdout is the answer's; what there is to tell beside it goes to stderr.
    configure_logging(level=logging.INFO if context.invoked_subcommand == "collector" else logging.WARNING)
