"""`otel-audit files`: which files make up a log as of now, for any reader of Parquet."""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from typing import Annotated

import typer

from otel_audit.archive.listing import list_log
from otel_audit.archive.names import Stage
from otel_audit.cli.examples import examples
from otel_audit.cli.options import DataOption, FormatOption, data_folder
from otel_audit.cli.output import write_rows
from otel_audit.errors import NoLogError

__all__ = ["add_to"]


class Log(StrEnum):
    """The logs that a data folder holds."""

    ACTIVITY = "activity"
    QUARANTINE = "quarantine"
    STREAMS = "streams"


def add_to(app: typer.Typer) -> None:
    """Add the command `files`."""
    app.command(
        "files",
        epilog=examples(
            "otel-audit files",
            "otel-audit files --data /var/lib/otel-audit --format json",
            "otel-audit files | xargs -d '\\n' cp -t /mnt/evidence    # the rows as of now, each once",
        ),
    )(_files)


def _files(
    data: DataOption = None,
    log: Annotated[
        Log, typer.Option("--log", metavar="|".join(Log), help="Which of the folder's logs.")
    ] = Log.ACTIVITY,
    format: FormatOption = None,
) -> None:
    """The Parquet files of a log as of now: every row in exactly one of them. One path a line, or more with --format.

    A running collector merges and seals, so take a new list now and then: a file on this one stays for a minute after
    it was merged or sealed away.
    """
    root = data_folder(data)
    if not root.is_dir():
        raise NoLogError(f"{root}: no such folder")
    folder = root if log is Log.ACTIVITY else root / log
    files = list_log(folder).files if folder.is_dir() else ()
    if format is None:
        for file in files:
            # Bytes, as the operating system has them: a path is to be opened and not to be looked at.
            sys.stdout.buffer.write(os.fsencode(file.path) + b"\n")
        sys.stdout.flush()
        return
    rows = (
        {
            "path": str(file.path),
            "log": file.name.log,
            "first": file.name.first,
            "last": file.name.last,
            "sealed": file.name.stage is Stage.SEALED,
        }
        for file in files
    )
    write_rows(rows, format=format, empty="no files")
