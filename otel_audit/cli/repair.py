"""`otel-audit repair`: decide about a data folder that does not open."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from otel_audit.cli.examples import examples
from otel_audit.cli.options import DataOption, data_folder
from otel_audit.cli.output import printable
from otel_audit.config import load_settings
from otel_audit.disk import Disk
from otel_audit.errors import ArchiveFaultError

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Add the command `repair`."""
    app.command(
        "repair",
        epilog=examples(
            "otel-audit repair --data audit-data                  # what would have to be accepted",
            "otel-audit repair --data audit-data --accept-loss    # accept it, for ever",
            "otel-audit repair --data restored --moved            # the folder it was copied from is gone",
        ),
    )(_repair)


def _repair(
    data: DataOption = None,
    accept_loss: Annotated[
        bool,
        typer.Option(
            "--accept-loss",
            help="Accept the missing rows as lost, for good: recorded, and named by status and gaps for ever.",
        ),
    ] = False,
    moved: Annotated[
        bool, typer.Option("--moved", help="The folder was moved or restored, and the original is gone: same log.")
    ] = False,
    copied: Annotated[
        bool,
        typer.Option("--copied", help="The folder is a copy of one that lives on: new rows get a log of their own."),
    ] = False,
) -> None:
    """Say what keeps a data folder from being opened, and decide about it. The collector must be stopped.

    Reads every row. Without a decision nothing is changed; exits non-zero when one is needed.
    """
    from otel_audit.errors import NotADataFolderError
    from otel_audit.log import place, repair
    from otel_audit.log.folder import FolderLock, read_identity

    if moved and copied:
        raise typer.BadParameter("give --moved or --copied, not both")
    folder, settings, disk = data_folder(data), load_settings(), Disk()
    if read_identity(folder) is None:
        raise NotADataFolderError(f"{folder} holds no otel-audit log")
    lock = FolderLock(folder)
    try:
        damages = repair.survey(folder, settings, disk, time.time_ns)
        told = [sentence for damage in damages for sentence in damage.told]
        if damages and not accept_loss:
            raise ArchiveFaultError(f"{folder}: " + "; ".join(told))
        if damages:
            repair.accept_loss(folder, damages, settings, disk, time.time_ns)
            for sentence in told:
                typer.echo(f"accepted: {printable(sentence)}")
        if copied:
            for log in place.rename_logs(folder, settings, disk, time.time_ns):
                typer.echo(f"new rows go to log {log}")
        elif moved:
            place.claim(folder, disk)
        else:
            place.check(folder)
        if not (damages or moved or copied):
            typer.echo("nothing to repair")
    finally:
        lock.release()
