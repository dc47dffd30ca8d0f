"""Flags that several commands share, and what they lead to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from otel_audit.cli.output import Format
from otel_audit.config import load_settings
from otel_audit.ports import ActivityLogReader

__all__ = [
    "DataOption",
    "FormatOption",
    "LimitOption",
    "OrderOption",
    "UrlOption",
    "data_folder",
    "opened_reader",
]

DataOption = Annotated[
    Path | None, typer.Option("--data", metavar="PATH", help="Read this data folder; a collector may be running on it.")
]
UrlOption = Annotated[str | None, typer.Option("--url", metavar="URL", help="Read through this collector.")]
FormatOption = Annotated[
    Format | None,
    typer.Option(
        "--format",
        "-f",
        metavar="|".join(Format),
        help="How to write the answer: table on a terminal, jsonl elsewhere.",
    ),
]
LimitOption = Annotated[
    int | None, typer.Option("--limit", "-n", min=1, metavar="N", help="Only the newest so many.", show_default="all")
]
OrderOption = Annotated[str, typer.Option("--order", metavar="asc|desc", help="asc: oldest first. desc: newest first.")]


@contextmanager
def opened_reader(data: Path | None, url: str | None) -> Iterator[ActivityLogReader]:
    """The reader that `--data` or `--url` names, else the configured one; closed afterwards."""
    if data is not None and url is not None:
        raise typer.BadParameter("give --data or --url, not both")
    from otel_audit import bootstrap

    reader = bootstrap.open_reader(load_settings(reader=url if url is not None else data and str(data)))
    try:
        yield reader
    finally:
        reader.close()


def data_folder(data: Path | None) -> Path:
    """The folder that a command works on when it needs one: `--data`, else a reader that is a folder, else
    `data_dir`."""
    if data is not None:
        return data
    settings = load_settings()
    if settings.reader and not urlsplit(settings.reader).scheme.startswith("http"):
        return Path(settings.reader)
    return Path(settings.data_dir)
