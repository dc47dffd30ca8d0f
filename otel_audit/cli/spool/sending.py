"""`otel-audit spool deliver` and `retry`: sending what is in the spool, now and from here."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from otel_audit.cli.examples import examples
from otel_audit.cli.options import FormatOption
from otel_audit.cli.output import Format, format_for, printable, write_rows
from otel_audit.cli.spool.options import EndpointOption, SpoolOption, StreamOption, matching, opened_spool
from otel_audit.config import Settings
from otel_audit.delivery.endpoint import Endpoint, resolve_endpoint
from otel_audit.delivery.errand import Tally, left_behind, run_errand
from otel_audit.disk import Disk
from otel_audit.errors import PeerRefusedError, StillSpooledError
from otel_audit.model.printing import public_url
from otel_audit.spool.pools import Pools
from otel_audit.spool.survey import ParkedFile, StreamSurvey, parked_files, survey

__all__ = [
    "AnyEndpointOption",
    "QuietOption",
    "TimeoutOption",
    "add_to",
    "pools_of",
    "progress_bar",
    "raise_given_up",
    "raise_refused",
    "target_of",
    "write_summary",
]

_RETRY_MAX_S = 2.0

TimeoutOption = Annotated[
    float, typer.Option("--timeout", min=0.1, metavar="SECONDS", help="Give up after this long without any success.")
]
AnyEndpointOption = Annotated[
    bool,
    typer.Option(
        "--any-endpoint", help="Also records that were meant for another endpoint, or written with other credentials."
    ),
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")]


def add_to(group: typer.Typer) -> None:
    """Add `deliver` and `retry`."""
    group.command(
        "deliver",
        epilog=examples(
            "otel-audit spool deliver",
            "otel-audit spool deliver --any-endpoint --endpoint http://127.0.0.1:4318",
        ),
    )(_deliver)
    group.command(
        "retry",
        epilog=examples(
            "otel-audit spool retry",
            "otel-audit spool retry --stream 019ab4f2",
            "otel-audit spool retry --any-endpoint --endpoint http://127.0.0.1:4318",
        ),
    )(_retry)


def _deliver(
    spool_dir: SpoolOption = None,
    endpoint: EndpointOption = None,
    any_endpoint: AnyEndpointOption = False,
    timeout: TimeoutOption = 60.0,
    quiet: QuietOption = False,
    format: FormatOption = None,
) -> None:
    """Deliver what processes that are gone have left in the spool. What living ones write they deliver themselves.

    Exits non-zero when any of it is left.
    """
    settings, root, target = target_of(spool_dir, endpoint)
    address = public_url(target.url)
    streams = [stream for stream in survey(root).streams if stream.state == "left"]
    disk = Disk()
    work = left_behind(pools_of(root, settings, disk), disk, None if any_endpoint else target)
    work.look_round(frozenset())
    with progress_bar(sum(stream.waiting_records for stream in streams), quiet) as progress:
        tally = run_errand(work, root, target, settings, patience_s=timeout, progress=progress)
    write_summary(tally, "delivered", format)
    left = [stream for stream in survey(root).streams if stream.state == "left" and stream.waiting_records]
    if left:
        count = sum(stream.waiting_records for stream in left)
        raise StillSpooledError(f"{count:,} record(s) left in {root}: {_why(tally, left, address)}")
    raise_refused(tally)


def _why(tally: Tally, left: Sequence[StreamSurvey], address: str) -> str:
    if tally.trouble:
        return tally.trouble
    others = dict.fromkeys(stream.endpoint for stream in left if stream.endpoint not in ("", address))
    if others:
        return f"meant for {', '.join(others)}; --any-endpoint sends them too"
    return "written with other credentials, or they came meanwhile; --any-endpoint sends them too"


def _retry(
    spool_dir: SpoolOption = None,
    stream: StreamOption = None,
    endpoint: Annotated[
        str | None, typer.Option("--endpoint", metavar="URL", help="OTLP endpoint; default the one that refused them.")
    ] = None,
    any_endpoint: AnyEndpointOption = False,
    timeout: TimeoutOption = 60.0,
    quiet: QuietOption = False,
    format: FormatOption = None,
) -> None:
    """Send parked records again, once the cause is mended; what is refused again stays parked.

    They go to the endpoint that refused them, with the headers in force. Exits non-zero unless all are delivered.
    """
    settings, root, target = target_of(spool_dir, endpoint)
    parked = parked_files(root)
    chosen = set(matching([one.stream_id for one in parked], stream))
    parked = [one for one in parked if one.stream_id in chosen]
    tallies, count = [], 0
    for there, files in _by_endpoint(parked, target, given=endpoint is not None, any_endpoint=any_endpoint):
        typer.echo(f"sending to {there.shown_url}", err=True)
        disk = Disk()
        work = left_behind(pools_of(root, settings, disk), disk, there)
        records = work.retry([one.path for one in files])
        count += records
        with progress_bar(records, quiet) as progress:
            tallies.append(run_errand(work, root, there, settings, patience_s=timeout, progress=progress))
    tally = _sum_of(tallies)
    write_summary(tally, "delivered", format)
    raise_given_up(tally, count, root)
    raise_refused(tally)
    if endpoint is not None and not any_endpoint:
        _raise_for_others([one for one in parked if not _is_for(one, target)], root)
    if unsent := [one.path for one in parked if one.path.exists()]:
        raise StillSpooledError(f"{len(unsent):,} parked file(s) could not be read, the first of them {unsent[0]}")


def _raise_for_others(others: Sequence[ParkedFile], root: Path) -> None:
    if others:
        count = sum(one.records for one in others)
        meant = ", ".join(dict.fromkeys(printable(one.endpoint) for one in others))
        raise StillSpooledError(
            f"{count:,} record(s) parked in {root}: meant for {meant}; --any-endpoint sends them too"
        )


def _is_for(parked: ParkedFile, target: Endpoint) -> bool:
    return parked.endpoint in ("", target.shown_url)


def _by_endpoint(
    parked: Sequence[ParkedFile], target: Endpoint, *, given: bool, any_endpoint: bool
) -> Iterator[tuple[Endpoint, list[ParkedFile]]]:
    """Where to send which files. The spool knows URLs without credentials; the endpoint in force may have some."""
    if any_endpoint or given:
        yield target, [one for one in parked if any_endpoint or _is_for(one, target)]
        return
    for url in dict.fromkeys(one.endpoint for one in parked):
        files = [one for one in parked if one.endpoint == url]
        there = target if _is_for(files[0], target) else replace(target, url=url, source="the parked file")
        yield there, files


def target_of(spool_dir: Path | None, endpoint: str | None) -> tuple[Settings, Path, Endpoint]:
    """The settings in force, the spool, and where to send. Raises ConfigError."""
    settings, root = opened_spool(spool_dir, endpoint)
    if settings.source("retry_max_s") == "default":
        # Somebody waits: a peer that is back is found within seconds.
        settings = settings.with_arguments(retry_max_s=_RETRY_MAX_S)
    target = resolve_endpoint(os.environ, audit_endpoint=settings.endpoint, audit_source=settings.source("endpoint"))
    return settings, root, target


def pools_of(root: Path, settings: Settings, disk: Disk) -> Pools:
    """The pools of the spool, with the settings' own rules for what is kept."""
    return Pools(root, disk, settings.spool_keep_s, settings.spool_keep_bytes)


def write_summary(tally: Tally, done: str, format: Format | None, **more: int) -> None:
    """Say what came of it, on stdout."""
    if format_for(format, sys.stdout) is Format.TABLE:
        state = f", {tally.state}" if tally.state else ""
        refused = f"; {tally.refused:,} refused and parked" if tally.refused else ""
        typer.echo(f"{tally.delivered:,} records {done}{state}{refused}")
    else:
        row: dict[str, Any] = {"delivered": tally.delivered, "refused": tally.refused, "state": tally.state}
        write_rows([more | row], format=format)


def _sum_of(tallies: Sequence[Tally]) -> Tally:
    """Several as one."""
    states = [tally.state for tally in tallies if tally.state is not None]
    return Tally(
        delivered=sum(tally.delivered for tally in tallies),
        refused=sum(tally.refused for tally in tallies),
        answers=tuple(dict.fromkeys(answer for tally in tallies for answer in tally.answers)),
        state=None if not states else "forwarded" if "forwarded" in states else "acknowledged",
        trouble="; ".join(dict.fromkeys(tally.trouble for tally in tallies if tally.trouble)),
    )


def raise_given_up(tally: Tally, count: int, root: Path) -> None:
    """Raises StillSpooledError when it was given up before its end."""
    if tally.trouble:
        left = count - tally.delivered - tally.refused
        raise StillSpooledError(f"{left:,} record(s) of {root} not answered for: {tally.trouble}")


def raise_refused(tally: Tally) -> None:
    """Raises PeerRefusedError when the peer refused any."""
    if tally.refused:
        raise PeerRefusedError(f"{tally.refused:,} record(s) refused and parked: {'; '.join(tally.answers)}")


@contextmanager
def progress_bar(records: int, quiet: bool) -> Iterator[Callable[[int], None]]:
    """A bar on stderr, while that is a terminal and nobody asked for quiet."""
    console = Console(stderr=True)
    columns = (TextColumn("sending"), BarColumn(), MofNCompleteColumn(), TextColumn("records"), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=quiet or not console.is_terminal, transient=True) as progress:
        task = progress.add_task("", total=records)
        yield lambda count: progress.advance(task, count)
