"""`otel-audit status`: what a data folder holds, and whether its files agree."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from otel_audit.cli.examples import examples
from otel_audit.cli.flags import with_source
from otel_audit.cli.options import FormatOption, Source, data_folder
from otel_audit.cli.output import Format, Shown, format_for, write_rows
from otel_audit.errors import ArchiveFaultError

__all__ = ["add_to", "byte_text"]

_KIB = 1024


def add_to(app: typer.Typer) -> None:
    """Add the command `status`."""
    app.command(
        "status",
        epilog=examples(
            "otel-audit status --data audit-data",
            "otel-audit status --check || echo 'look at the folder'",
            "otel-audit status --check --deep",
            "otel-audit status --url http://127.0.0.1:4318",
        ),
    )(with_source(_status))


def _status(
    source: Source,
    check: Annotated[
        bool, typer.Option("--check", help="Also read every file's footer; of a folder, not through a collector.")
    ] = False,
    deep: Annotated[
        bool, typer.Option("--deep", help="With --check: compare every byte of every file with what was written.")
    ] = False,
    format: FormatOption = None,
) -> None:
    """Rows, files, bytes, time span, quarantine, gaps and overlaps; also beside a running collector.

    Exits non-zero when the files contradict each other.
    """
    if deep and not check:
        raise typer.BadParameter("--deep goes with --check")
    if check:
        shown, status = _checked(source, deep)
    else:
        with source.inspected() as inspector:
            shown, status = inspector.shown, inspector.status()
    chosen = format_for(format, sys.stdout)
    if chosen is Format.TABLE:
        lines = ({"what": what, "value": value} for what, value in _lines(status, check))
        write_rows(lines, (Shown("", "what", style="cyan"), Shown("", "value")), format=chosen, title=shown)
    else:
        write_rows([status], format=chosen)
    if faults := status["faults"]:
        count = len(faults)
        raise ArchiveFaultError(f"{shown}: {count} fault{'s' if count > 1 else ''}: {'; '.join(faults)}")


def _checked(source: Source, deep: bool) -> tuple[str, dict[str, Any]]:
    """What the files of a folder say when all of them are read."""
    from otel_audit.log.status import folder_status, status_to_json

    if source.url is not None or source.headers or source.cacert is not None:
        raise typer.BadParameter("--check reads the files: give --data, on the collector's machine")
    folder = data_folder(source.data)
    return str(folder), status_to_json(folder_status(folder, True, _progress if deep else None))


def _progress(done: int, of: int) -> None:
    """On a terminal alone: what is kept of standard error elsewhere need not hold it."""
    if sys.stderr.isatty():
        typer.echo(f"\rread {done:,} of {of:,} files", err=True, nl=done == of)


def _lines(status: Mapping[str, Any], check: bool) -> list[tuple[str, str]]:
    owned = status["owner_pid"] is not None
    span = f"{status['occurred_min']} … {status['occurred_max']}" if status["rows"] else "-"
    faults = f"{len(status['faults']):,}" if status["faults"] else f"none (opened: {status['checked_files']:,})"
    return [
        ("log", status["log"]),
        ("owned by", f"process {status['owner_pid']}, {status['owner_url']}" if owned else "nobody"),
        ("rows", f"{status['rows']:,}"),
        ("hot files", f"{status['hot_files']:,} ({byte_text(status['hot_bytes'])})"),
        ("sealed files", f"{status['sealed_files']:,} ({byte_text(status['sealed_bytes'])})"),
        ("occurred", span),
        ("duplicates dropped", f"{status['duplicates_dropped']:,}"),
        ("quarantined", f"{status['quarantined']:,} ({byte_text(status['quarantined_bytes'])} as sent)"),
        ("every byte checked", status["scrub_completed"] or "not yet"),
        *(("accepted as lost", f"rows {rows['first']}-{rows['last']} of log {rows['log']}") for rows in status["lost"]),
        ("faults", faults if check or status["faults"] else f"{faults[:-1]}; --check opens the superseded ones too)"),
    ]


def byte_text(count: int) -> str:
    """Bytes as people read them."""
    if count < _KIB:
        return f"{count} B"
    size = float(count)
    for unit in ("KiB", "MiB", "GiB"):
        size /= _KIB
        if size < _KIB:
            return f"{size:.1f} {unit}"
    return f"{size / _KIB:.1f} TiB"
