"""Flags that several commands share, and what they lead to. One word means one thing in every command:

`--data` a data folder, `--url` a collector to read from, `--endpoint` an OTLP endpoint to send to.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

from otel_audit.cli.output import Format
from otel_audit.config import load_settings
from otel_audit.ports import ActivityLogReader

if TYPE_CHECKING:
    from otel_audit.log.inspector import LocalInspector
    from otel_audit.repos.http_inspector import HttpInspector

__all__ = [
    "CacertOption",
    "DataOption",
    "EndpointOption",
    "FormatOption",
    "HeaderOption",
    "LimitOption",
    "OrderOption",
    "Source",
    "UrlOption",
    "check_no_terminal",
    "check_one_source",
    "data_folder",
    "opened_reader",
    "parsed_headers",
]

# RFC 9110 §5.1 and §5.5; HTTP libraries write header values as Latin-1.
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile("[\t\x20-\x7e\xa0-\xff]*")

DataOption = Annotated[
    Path | None, typer.Option("--data", metavar="PATH", help="Read this data folder; a collector may be running on it.")
]
UrlOption = Annotated[str | None, typer.Option("--url", metavar="URL", help="Read through this collector.")]
HeaderOption = Annotated[
    list[str] | None,
    typer.Option(
        "--header",
        metavar="'NAME: VALUE'",
        help="Sent to the collector with each request, for a proxy in front of it; may be given several times.",
        show_default=False,
    ),
]
CacertOption = Annotated[
    Path | None,
    typer.Option("--cacert", metavar="FILE", help="CA certificates (PEM) that the collector's own must go back to."),
]
EndpointOption = Annotated[
    str | None,
    typer.Option("--endpoint", metavar="URL", help="OTLP endpoint to send to; default the configured one."),
]
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


@dataclass(frozen=True, slots=True)
class Source:
    """Where a command reads, as its flags say it: a folder, or a collector, perhaps behind a proxy."""

    data: Path | None = None
    url: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    cacert: Path | None = None

    def opened(self) -> AbstractContextManager[ActivityLogReader]:
        """The reader itself; see `opened_reader`."""
        return opened_reader(self.data, self.url, self.headers, self.cacert)

    @contextmanager
    def inspected(self) -> Iterator[HttpInspector | LocalInspector]:
        """What tells about the folder that the same flags lead a reader to."""
        from otel_audit import bootstrap

        check_one_source(self.data, self.url)
        settings = load_settings(reader=self.url if self.url is not None else self.data and str(self.data))
        cacert = None if self.cacert is None else str(self.cacert)
        with bootstrap.open_inspector(settings, headers=self.headers, cacert=cacert) as inspector:
            yield inspector


@contextmanager
def opened_reader(
    data: Path | None, url: str | None, headers: Mapping[str, str] | None = None, cacert: Path | None = None
) -> Iterator[ActivityLogReader]:
    """The reader that `--data` or `--url` names, else the configured one; closed afterwards."""
    from otel_audit import bootstrap

    check_one_source(data, url)
    settings = load_settings(reader=url if url is not None else data and str(data))
    reader = bootstrap.open_reader(settings, headers=headers, cacert=None if cacert is None else str(cacert))
    try:
        yield reader
    finally:
        reader.close()


def check_one_source(data: Path | None, url: str | None) -> None:
    """Raises BadParameter when both are given."""
    if data is not None and url is not None:
        raise typer.BadParameter("give --data or --url, not both")


def check_no_terminal() -> None:
    """Raises BadParameter when raw bytes would go to a terminal, which acts on what it takes for commands."""
    if sys.stdout.isatty():
        raise typer.BadParameter("--raw writes bytes that are not for a terminal: redirect them, as in --raw > FILE")


def parsed_headers(lines: Sequence[str]) -> dict[str, str]:
    """Headers written `Name: value`. Raises BadParameter, which shows the name alone: a value may be a password."""
    headers = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not _HEADER_NAME.fullmatch(name.strip()):
            raise typer.BadParameter("write --header as 'Name: value', such as 'Authorization: Bearer …'")
        if not _HEADER_VALUE.fullmatch(value.strip()):
            raise typer.BadParameter(f"--header {name.strip()}: its value has characters that no header may have")
        headers[name.strip()] = value.strip()
    return headers


def data_folder(data: Path | None) -> Path:
    """The folder that a command works on when it needs one: `--data`, else a reader that is a folder, else
    `data_dir`."""
    if data is not None:
        return data
    settings = load_settings()
    if settings.reader and not urlsplit(settings.reader).scheme.startswith("http"):
        return Path(settings.reader)
    return Path(settings.data_dir)
