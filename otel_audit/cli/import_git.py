"""`otel-audit import git`: a repository's history as activities, over OTLP."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from otel_audit.cli.examples import examples
from otel_audit.cli.git.importing import Tally, import_history
from otel_audit.cli.git.repository import open_repository
from otel_audit.cli.options import EndpointOption, FormatOption
from otel_audit.cli.output import Format, Shown, format_for, printable, tell, write_rows
from otel_audit.cli.sending import opened_repo

__all__ = ["add_to", "progress_bar"]


def add_to(app: typer.Typer) -> None:
    """Add the group `import`."""
    group = typer.Typer(
        help="Bring a history from elsewhere in.",
        epilog=examples("otel-audit import git ."),
        no_args_is_help=True,
    )
    app.add_typer(group, name="import")
    group.callback()(_no_flags)
    group.command(
        "git",
        epilog=examples(
            "otel-audit import git .",
            "otel-audit import git ~/src/linux --owner linux --endpoint http://127.0.0.1:4318",
        ),
    )(_git)


def _no_flags() -> None:
    # Keeps `git` a word of its own: typer would fold a group with a single command into that command.
    pass


def _git(
    path: Annotated[Path, typer.Argument(help="A work tree, a folder in it, or a bare repository.")],
    owner: Annotated[
        str | None,
        typer.Option(
            "--owner", metavar="NAME", help="Whose data it is; default the repository's name.", show_default=False
        ),
    ] = None,
    revision: Annotated[
        str, typer.Option("--revision", metavar="REV", help="The commit whose history is imported.")
    ] = "HEAD",
    endpoint: EndpointOption = None,
    timeout: Annotated[
        float,
        typer.Option(
            "--timeout", min=0.1, metavar="SECONDS", help="Give up after this long without any acknowledgement."
        ),
    ] = 120.0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")] = False,
    format: FormatOption = None,
) -> None:
    """One activity for each touched file of each commit: actor is the author, owner the repository. Importing again
    adds nothing, for an activity's id follows from repository, commit, status and path."""  # fmt: skip
    repository = open_repository(path, revision)
    name = owner or repository.name
    with (
        opened_repo(endpoint) as repo,
        progress_bar(repository.commits, quiet) as progress,
    ):
        tally = import_history(repository, repo, name, patience_s=timeout, progress=progress)
        state = repo.stats.state or "acknowledged"
    _summary(tally, name, state, format)


def _summary(tally: Tally, owner: str, state: str, format: Format | None) -> None:
    if format_for(format, sys.stdout) is Format.TABLE:
        rate = tally.sent / tally.seconds if tally.seconds else 0.0
        typer.echo(
            f"{printable(owner)}: {tally.commits:,} commits, {tally.sent:,} activities sent, all {state}, "
            f"in {tally.seconds:.1f} s ({rate:,.0f}/s)"
        )
    else:
        row = {
            "owner": owner,
            "commits": tally.commits,
            "sent": tally.sent,
            state: tally.sent,
            "committer_dates": tally.committer_dates,
            "undated": tally.undated,
            "seconds": round(tally.seconds, 3),
        }
        write_rows([row], (Shown("owner", "owner"),), format=format)
    if tally.committer_dates:
        tell(f"note: {tally.committer_dates:,} commits have an unusable author date; "
                   "the committer's was taken")  # fmt: skip
    if tally.undated:
        tell(f"note: {tally.undated:,} commits have no usable date; they stand at the beginning of 1970")


@contextmanager
def progress_bar(commits: int, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr, while that is a terminal and nobody asked for quiet."""
    console = Console(stderr=True)
    columns = (
        TextColumn("importing"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("commits, {task.fields[sent]:,} activities"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=quiet or not console.is_terminal, transient=True) as progress:
        task = progress.add_task("", total=commits, sent=0)
        yield lambda done, sent: progress.update(task, completed=done, sent=sent)
