"""`otel-audit export`: records as one file, for auditors and for whatever else reads Parquet, CSV or JSON lines."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import StrEnum
from pathlib import Path
from typing import Annotated, TextIO

import typer

from otel_audit.cli.examples import examples
from otel_audit.cli.flags import with_filter, with_source
from otel_audit.cli.options import Source
from otel_audit.cli.output import Format, tell
from otel_audit.cli.record_rows import write_records
from otel_audit.model.filters import Filter, checked_order

__all__ = ["add_to"]


class Kind(StrEnum):
    """What an export is written as."""

    PARQUET = "parquet"
    CSV = "csv"
    JSONL = "jsonl"


def add_to(app: typer.Typer) -> None:
    """Add the command `export`."""
    app.command(
        "export",
        epilog=examples(
            "otel-audit export --format parquet --output 2026.parquet --since 2026-01-01 --until 2027-01-01",
            "otel-audit export --format csv --owner alice@example.com > alice.csv",
            "otel-audit export --format jsonl --entity Task 42 --url http://127.0.0.1:4318",
        ),
    )(with_filter(with_source(_export)))


def _export(
    where: Filter,
    source: Source,
    kind: Annotated[
        Kind, typer.Option("--format", "-f", metavar="|".join(Kind), help="What to write.", show_default=False)
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="A new file; default standard output.")
    ] = None,
    order: Annotated[
        str, typer.Option("--order", metavar="asc|desc", help="asc: oldest first. desc: newest first.")
    ] = "asc",
) -> None:
    """Write every record that meets the conditions, streamed, a few thousand in memory at a time.

    In CSV, text that a spreadsheet would run as a formula gets an apostrophe before it.
    """
    with source.opened() as reader, _written(output) as stream:
        records = reader.iter_records(where, order=checked_order(order))
        if kind is Kind.PARQUET:
            # Here and not at the top: pyarrow takes longer to load than most commands take to run.
            from otel_audit.query.export import write_parquet

            count = write_parquet(records, stream.buffer)
        else:
            count = write_records(records, Format(kind.value), stream=stream)
    tell(f"{count:,} records")


@contextmanager
def _written(output: Path | None) -> Iterator[TextIO]:
    """Standard output, or a new file; half a file is removed."""
    if output is None:
        yield sys.stdout
        sys.stdout.flush()
        return
    try:
        handle = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise typer.BadParameter(f"--output {output}: {error.strerror}") from None
    try:
        with open(handle, "w", encoding="utf-8", newline="") as file:
            yield file
    except BaseException:
        with suppress(OSError):
            output.unlink()
        raise
