"""`otel-audit spool status` and `list`: how far each stream is, and what a peer refused."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import typer

from otel_audit.cli.examples import examples
from otel_audit.cli.numbers import plural_s, stream_text
from otel_audit.cli.options import FormatOption
from otel_audit.cli.output import Format, Shown, format_for, printable, write_rows
from otel_audit.cli.spool import export, resend, sending
from otel_audit.cli.spool.options import SpoolOption, StreamOption, matching, opened_spool
from otel_audit.cli.status import byte_text
from otel_audit.model.record_json import format_time
from otel_audit.spool.survey import ParkedFile, Pool, SpoolSurvey, StreamSurvey, parked_files, survey

__all__ = ["add_to", "age_text"]

_STREAMS = (
    Shown("stream", "stream", style="bold"),
    Shown("service", "service_name", cut=True),
    Shown("state", "state", style="green"),
    Shown("emitted", "last_number", right=True),
    Shown("delivered", "delivered", right=True),
    Shown("waiting", "waiting_records", right=True),
    Shown("oldest", "oldest", right=True),
    Shown("parked", "parked", right=True, style="yellow"),
)
_STREAM_COLUMNS = (
    "stream_id", "service_name", "endpoint", "state", "pid", "last_number", "delivered", "waiting_records",
    "waiting_bytes", "waiting_since", "oldest_waiting_s", "parked", "closed", "damaged",
)  # fmt: skip
_PARKED = (
    Shown("stream", "stream", style="bold"),
    Shown("service", "service_name", cut=True),
    Shown("numbers", "numbers"),
    Shown("refused", "rejected", right=True),
    Shown("for", "age", right=True, style="cyan"),
    Shown("answer", "reason", style="yellow", rest=True),
)
_PARKED_COLUMNS = (
    "stream_id", "service_name", "first_number", "last_number", "records", "rejected", "parked_at", "reason",
    "endpoint", "file",
)  # fmt: skip


def add_to(app: typer.Typer) -> None:
    """Add the group `spool`."""
    group = typer.Typer(
        help="Records on an application's disk: waiting for a peer, refused by one, or kept after delivery.",
        epilog=examples("otel-audit spool status", "otel-audit spool resend --missing"),
        no_args_is_help=True,
    )
    app.add_typer(group, name="spool")
    group.command(
        "status",
        epilog=examples(
            "otel-audit spool status",
            "otel-audit spool status --format jsonl | otel-audit gaps --expect -",
        ),
    )(_status)
    group.command("list", epilog=examples("otel-audit spool list --format jsonl"))(_list)
    sending.add_to(group)
    resend.add_to(group)
    export.add_to(group)


def _status(spool_dir: SpoolOption = None, format: FormatOption = None) -> None:
    """Per producer's stream: how many records it emitted, how far they are delivered, what waits, what is parked.

    Processes may be writing meanwhile. Streams whose records are all delivered show as long as copies are kept.
    """
    _, root = opened_spool(spool_dir)
    found = survey(root)
    now_ns = time.time_ns()
    rows: Iterable[dict[str, Any]] = (_stream_row(stream, now_ns) for stream in found.streams)
    is_table = format_for(format, sys.stdout) is Format.TABLE
    if is_table:
        rows = (row | _table_cells(row) for row in rows)
    write_rows(rows, _STREAMS, columns=_STREAM_COLUMNS, format=format, title=str(root), empty="no streams")
    if is_table:
        typer.echo(f"\nparked: {_pool_text(found.parked)}   kept: {_pool_text(found.sent)}")
    _warn(found)


def _stream_row(stream: StreamSurvey, now_ns: int) -> dict[str, Any]:
    oldest_ns = stream.oldest_ns
    return {
        "stream_id": stream.stream_id,
        "service_name": stream.service_name or None,
        "endpoint": stream.endpoint or None,
        "state": stream.state,
        "pid": stream.pid,
        "last_number": stream.last_number,
        "delivered": stream.delivered,
        "waiting_records": stream.waiting_records,
        "waiting_bytes": stream.waiting_bytes,
        "waiting_since": None if oldest_ns is None else _time(oldest_ns / 1e9),
        "oldest_waiting_s": None if oldest_ns is None else round(max(0, now_ns - oldest_ns) / 1e9, 3),
        "parked": stream.parked,
        "closed": stream.closed,
        "damaged": stream.damaged,
    }


def _table_cells(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "stream": stream_text(row["stream_id"]),
        "oldest": "" if row["oldest_waiting_s"] is None else age_text(row["oldest_waiting_s"]),
    }


def _pool_text(pool: Pool) -> str:
    return f"{pool.files:,} file{plural_s(pool.files)}, {byte_text(pool.bytes)}" if pool.files else "none"


def _warn(found: SpoolSurvey) -> None:
    """What an operator should look at, on stderr, whatever the format."""
    parked = sum(stream.parked for stream in found.streams)
    if parked:
        typer.echo(f"{parked:,} record{plural_s(parked)} refused by a peer; `otel-audit spool list` says why", err=True)
    damaged = [stream.stream_id for stream in found.streams if stream.damaged]
    if damaged:
        typer.echo(f"damaged, what is sound of it is being delivered: {printable(', '.join(damaged))}", err=True)
    if count := found.aside.files:
        typer.echo(f"{count:,} damaged file{plural_s(count)} kept whole in {found.root / 'aside'}", err=True)
    for path in found.strangers:
        typer.echo(f"not of a spool, and left alone: {printable(str(path))}", err=True)


def _list(spool_dir: SpoolOption = None, stream: StreamOption = None, format: FormatOption = None) -> None:
    """Records that a peer refused for good, with its answer, longest first. `retry` sends them again."""
    _, root = opened_spool(spool_dir)
    found = parked_files(root)
    chosen = set(matching([parked.stream_id for parked in found], stream))
    taken = [parked for parked in found if parked.stream_id in chosen]
    rows: Iterable[dict[str, Any]] = map(_parked_row, taken)
    if format_for(format, sys.stdout) is Format.TABLE:
        rows = (_parked_row(parked) | _parked_cells(parked) for parked in taken)
    write_rows(rows, _PARKED, columns=_PARKED_COLUMNS, format=format, empty="nothing is parked")


def _parked_row(parked: ParkedFile) -> dict[str, Any]:
    return {
        "stream_id": parked.stream_id,
        "service_name": parked.service_name or None,
        "first_number": parked.first,
        "last_number": parked.last,
        "records": parked.records,
        "rejected": parked.rejected,
        "parked_at": _time(parked.since_s),
        "reason": parked.reason,
        "endpoint": parked.endpoint or None,
        "file": str(parked.path),
    }


def _parked_cells(parked: ParkedFile) -> dict[str, Any]:
    return {
        "stream": stream_text(parked.stream_id),
        "numbers": f"{parked.first}-{parked.last}",
        "age": age_text(max(0.0, time.time() - parked.since_s)),
    }


def _time(seconds: float) -> str:
    return format_time(datetime.fromtimestamp(seconds, UTC))


def age_text(seconds: float) -> str:
    """A time span as people read it, in its largest unit."""
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
