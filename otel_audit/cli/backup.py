"""`otel-audit backup`: a consistent copy of a data folder, also while a collector writes to it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from otel_audit.cli.examples import examples
from otel_audit.cli.options import DataOption, FormatOption, data_folder
from otel_audit.cli.output import Format, format_for, printable, write_rows
from otel_audit.cli.status import byte_text

if TYPE_CHECKING:
    from otel_audit.log.backup import BackupReport

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Add the command `backup`."""
    app.command(
        "backup",
        epilog=examples(
            "otel-audit backup --data audit-data /mnt/backup/audit-data",
            "otel-audit backup --data audit-data --link /srv/audit-data-today    # hard links, on the same file system",
        ),
    )(_backup)


def _backup(
    target: Annotated[
        Path,
        typer.Argument(help="A new or empty folder, or the one of an earlier backup: then only new files are copied."),
    ],
    data: DataOption = None,
    link: Annotated[
        bool, typer.Option("--link", help="Make hard links where the file system allows it, else copies.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")] = False,
    format: FormatOption = None,
) -> None:
    """Copy a data folder so that the copy opens, also beside a running collector; read back what was copied.

    Exits non-zero when a file is damaged or missing, or when an earlier backup in TARGET does not fit the folder.
    """
    from otel_audit.log.backup import back_up

    folder = data_folder(data)
    with _progress_bar(quiet) as progress:
        report = back_up(folder, target, link=link, progress=progress)
    if format_for(format, sys.stdout) is Format.TABLE:
        typer.echo(f"{printable(str(target))}: {report.rows:,} rows of log {report.log}; {_files(report)}")
        return
    facts = ("log", "rows", "copied", "linked", "kept", "removed", "copied_bytes")
    write_rows([{fact: getattr(report, fact) for fact in facts}], format=format)


def _files(report: BackupReport) -> str:
    told = [f"{report.copied:,} copied ({byte_text(report.copied_bytes)})"]
    told += [f"{report.linked:,} linked"] if report.linked else []
    told += [f"{report.kept:,} there already"] if report.kept else []
    told += [f"{report.removed:,} superseded ones removed"] if report.removed else []
    return f"files: {', '.join(told)}"


@contextmanager
def _progress_bar(quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr, while that is a terminal and nobody asked for quiet."""
    console = Console(stderr=True)
    columns = (TextColumn("copying"), BarColumn(), MofNCompleteColumn(), TextColumn("files"), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=quiet or not console.is_terminal, transient=True) as progress:
        task = progress.add_task("", total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
