"""`otel-audit status`: what a data folder holds, and whether its files agree."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from otel_audit.cli.examples import examples
from otel_audit.cli.options import DataOption, FormatOption, data_folder
from otel_audit.cli.output import Format, Shown, format_for, write_rows
from otel_audit.errors import ArchiveFaultError
from otel_audit.model.record import from_us
from otel_audit.model.record_json import format_time

if TYPE_CHECKING:
    from otel_audit.log.status import FolderStatus

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
        ),
    )(_status)


def _status(
    data: DataOption = None,
    check: Annotated[bool, typer.Option("--check", help="Also read every file's footer.")] = False,
    deep: Annotated[
        bool, typer.Option("--deep", help="With --check: compare every byte of every file with what was written.")
    ] = False,
    format: FormatOption = None,
) -> None:
    """Rows, files, bytes, time span, quarantine, gaps and overlaps; also beside a running collector.

    Leaves with a code above 0 when the files contradict each other.
    """
    from otel_audit.log.status import folder_status

    folder = data_folder(data)
    if deep and not check:
        raise typer.BadParameter("--deep goes with --check")
    status = folder_status(folder, check, _progress if deep else None)
    chosen = format_for(format, sys.stdout)
    if chosen is Format.TABLE:
        lines = ({"what": what, "value": value} for what, value in _lines(status, check))
        shown = (Shown("", "what", style="cyan"), Shown("", "value"))
        write_rows(lines, shown, format=chosen, title=f"{folder}")
    else:
        write_rows([_row(status)], format=chosen)
    if status.faults:
        count = len(status.faults)
        raise ArchiveFaultError(f"{folder}: {count} fault{'s' if count > 1 else ''}: {'; '.join(status.faults)}")


def _progress(done: int, of: int) -> None:
    """On a terminal alone: what is kept of standard error elsewhere need not hold it."""
    if sys.stderr.isatty():
        typer.echo(f"\rread {done:,} of {of:,} files", err=True, nl=done == of)


def _row(status: FolderStatus) -> dict[str, Any]:
    return {
        "log": status.log,
        "rows": status.rows,
        "hot_files": status.hot_files,
        "hot_bytes": status.hot_bytes,
        "sealed_files": status.sealed_files,
        "sealed_bytes": status.sealed_bytes,
        "occurred_min": _time(status.occurred_min_us),
        "occurred_max": _time(status.occurred_max_us),
        "quarantined": status.quarantined,
        "quarantined_bytes": status.quarantined_bytes,
        "duplicates_dropped": status.duplicates_dropped,
        "owner_pid": status.owner_pid,
        "owner_url": status.owner_url,
        "checked_files": status.checked_files,
        "scrub_completed": _time(status.scrub_completed_us),
        "lost": [{"log": rows.log, "first": rows.first, "last": rows.last} for rows in status.lost],
        "faults": status.faults,
    }


def _lines(status: FolderStatus, check: bool) -> list[tuple[str, str]]:
    owner = f"process {status.owner_pid}, {status.owner_url}" if status.owner_pid is not None else "nobody"
    span = f"{_time(status.occurred_min_us)} … {_time(status.occurred_max_us)}" if status.rows else "-"
    faults = f"{len(status.faults):,}" if status.faults else f"none (opened: {status.checked_files:,})"
    return [
        ("log", status.log),
        ("owned by", owner),
        ("rows", f"{status.rows:,}"),
        ("hot files", f"{status.hot_files:,} ({byte_text(status.hot_bytes)})"),
        ("sealed files", f"{status.sealed_files:,} ({byte_text(status.sealed_bytes)})"),
        ("occurred", span),
        ("duplicates dropped", f"{status.duplicates_dropped:,}"),
        ("quarantined", f"{status.quarantined:,} ({byte_text(status.quarantined_bytes)} as sent)"),
        ("every byte checked", _time(status.scrub_completed_us) or "not yet"),
        *(("accepted as lost", f"rows {rows.first}-{rows.last} of log {rows.log}") for rows in status.lost),
        ("faults", faults if check or status.faults else f"{faults[:-1]}; --check opens the superseded ones too)"),
    ]


def _time(us: int | None) -> str | None:
    return None if us is None else format_time(from_us(us))


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
