"""Puts the commands together. A command's module is loaded when that command is named, so `--help` answers at once."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import typer
import typer.main
from typer.core import TyperCommand, TyperGroup

from otel_audit import __version__
from otel_audit.cli.examples import examples
from otel_audit.model.printing import printable

__all__ = ["COMMANDS", "Commands", "build_app"]

COMMANDS: dict[str, tuple[str, str]] = {
    "collector": (
        "collector",
        "Take OTLP/HTTP log records, commit them to Parquet before answering, and serve reads under /v1/audit.",
    ),
    "append": (
        "append",
        "Append one record, or many from standard input; each receipt is printed once it is acknowledged.",
    ),
    "get": ("get", "The history of an entity, or what an actor did, an owner's data saw, an action was used for."),
    "search": ("search", "Records that meet every condition, newest first."),
    "count": ("search", "How many records meet every condition."),
    "export": ("export", "Write every record that meets the conditions, streamed, a few thousand in memory at a time."),
    "files": (
        "files",
        "The Parquet files of a log as of now: every row in exactly one of them. One path a line, or more with "
        "--format.",
    ),
    "sql": (
        "sql",
        "Ask DuckDB. The views are `activity`, `quarantine`, `completeness` and `stream_notes`; nothing can be "
        "changed.",
    ),
    "views": (
        "views",
        "Print `views.sql` for a data folder: its views and macros in any DuckDB session, without this package.",
    ),
    "status": (
        "status",
        "Rows, files, bytes, time span, quarantine, gaps and overlaps; also beside a running collector.",
    ),
    "gaps": ("gaps", "Per producer's stream: which of the numbers it gave are archived, missing, awaited."),
    "seal": ("seal", "Seal everything committed so far; a running collector is asked to do it."),
    "repair": (
        "repair",
        "Say what keeps a data folder from being opened, and decide about it. The collector must be stopped.",
    ),
    "backup": (
        "backup",
        "Copy a data folder so that the copy opens, also beside a running collector; read back what was copied.",
    ),
    "quarantine": ("quarantine", "Records that were accepted, are no valid activities, and wait for a decision."),
    "spool": (
        "spool.command",
        "Records on an application's disk: waiting for a peer, refused by one, or kept after delivery.",
    ),
    "ping": (
        "ping",
        "Ask the configured endpoint whether it takes records, and the reader whether it answers; stores nothing.",
    ),
    "import": ("import_git", "Bring a history from elsewhere in."),
    "demo": (
        "demo.command",
        "Start a collector, send a repository's history over OTLP, show the answers, and the same from SQL.",
    ),
    "settings": (
        "settings",
        "All settings: the value in force, and whether the environment, the file or the default gave it.",
    ),
}
"""Every command or group by name: the module under `otel_audit.cli` that adds it, and the beginning of its help."""

_UsageError: Any = typer.BadParameter.__mro__[1]
"""The library's own name for it is private."""


class Commands(TyperGroup):
    """The commands of the table. Until one is named, only its summary stands here."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = {name: TyperCommand(name, help=summary) for name, (_, summary) in COMMANDS.items()}

    def loaded(self) -> Iterator[tuple[str, Any]]:
        """Every command itself, by name."""
        return ((name, _load(name)) for name in self.commands)

    def get_params(self, ctx: Any) -> Any:
        """The group's own flags."""
        return [_plain(parameter) for parameter in super().get_params(ctx)]

    def make_context(self, *args: Any, **options: Any) -> Any:
        """As the library; a word that is refused is shown as text."""
        with _safely_refused():
            return super().make_context(*args, **options)

    def invoke(self, ctx: Any) -> Any:
        """As the library; a word that is refused is shown as text."""
        with _safely_refused():
            return super().invoke(ctx)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command itself in the place of its summary."""
        name, command, rest = super().resolve_command(ctx, args)
        if name is None or command is None:
            return name, command, rest
        command = _load(name)
        _plain_flags(command, ctx)
        return name, command, rest


@contextmanager
def _safely_refused() -> Iterator[None]:
    # Words of a command line may come from data, by way of a script.
    try:
        yield
    except _UsageError as error:
        error.message = printable(error.message)
        raise


def _load(name: str) -> Any:
    holder = typer.Typer()
    import_module(f"otel_audit.cli.{COMMANDS[name][0]}").add_to(holder)
    return typer.main.get_group(holder).commands[name]


def _plain_flags(command: Any, context: Any) -> None:
    for parameter in command.get_params(context):
        _plain(parameter)
    for below in getattr(command, "commands", {}).values():
        _plain_flags(below, context)


def _plain(parameter: Any) -> Any:
    """A flag takes no value, so its help shows no type."""
    if getattr(parameter, "is_flag", False):
        parameter.metavar = ""
    return parameter


def build_app() -> typer.Typer:
    """The application with all its commands."""
    app = typer.Typer(
        name="otel-audit",
        cls=Commands,
        help="An append-only activity log: who did what to whose data, carried by OpenTelemetry, kept as Parquet.",
        epilog=examples(
            "otel-audit demo                           # see all of it on a real history",
            "otel-audit collector --data audit-data    # receive OTLP and keep it",
            "otel-audit search --since 7d              # what happened this week",
            "otel-audit --install-completion           # let the shell complete commands and flags",
        ),
        no_args_is_help=True,
        # A traceback is for a fault in this program; errors with a cause outside of it are told by `cli.main`.
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_before_any_command)
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
    from otel_audit.collector.logging import configure_logging
    from otel_audit.config import unknown_variables
    from otel_audit.events import report

    # stdout is the answer's; what there is to tell beside it goes to stderr.
    collector = context.invoked_subcommand == "collector"
    configure_logging(level=logging.INFO if collector else logging.WARNING)
    for told in unknown_variables():
        if collector:
            report("collector", "warning", told)
        else:
            typer.echo(f"warning: {printable(told)}", err=True)
