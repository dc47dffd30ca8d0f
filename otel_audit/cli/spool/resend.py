"""`otel-audit spool resend`: what a peer took and lost since, sent again from the copies in the spool."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from otel_audit import bootstrap
from otel_audit.cli.examples import examples
from otel_audit.cli.numbers import shown_ranges
from otel_audit.cli.options import FormatOption, check_one_source
from otel_audit.cli.output import printable
from otel_audit.cli.spool.options import EndpointOption, SpoolOption, StreamOption, matching
from otel_audit.cli.spool.sending import (
    AnyEndpointOption,
    QuietOption,
    TimeoutOption,
    pools_of,
    progress_bar,
    raise_given_up,
    raise_refused,
    target_of,
    write_summary,
)
from otel_audit.config import load_settings
from otel_audit.delivery.errand import run_errand
from otel_audit.delivery.resend import Copies, lost
from otel_audit.disk import Disk
from otel_audit.errors import MissingNumbersError, QueryError
from otel_audit.model.printing import public_url
from otel_audit.model.ranges import Ranges, size
from otel_audit.ports import StreamReader
from otel_audit.spool.survey import StreamSurvey, survey

__all__ = ["add_to"]


def add_to(group: typer.Typer) -> None:
    """Add `resend`."""
    group.command(
        "resend",
        epilog=examples(
            "otel-audit spool resend --missing",
            "otel-audit spool resend --missing --url http://10.0.0.7:4318",
            "otel-audit spool resend --stream 019ab4f2 --from 57 --to 60",
        ),
    )(_resend)


def _resend(
    spool_dir: SpoolOption = None,
    missing: Annotated[
        bool, typer.Option("--missing", help="The numbers that a reader misses, of the streams in this spool.")
    ] = False,
    stream: StreamOption = None,
    first: Annotated[
        int | None, typer.Option("--from", min=1, metavar="N", help="Of one stream: from this number on.")
    ] = None,
    last: Annotated[
        int | None, typer.Option("--to", min=1, metavar="N", help="Of one stream: up to this number.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--data", metavar="PATH", help="With --missing: ask this data folder.")
    ] = None,
    url: Annotated[str | None, typer.Option("--url", metavar="URL", help="With --missing: ask this collector.")] = None,
    endpoint: EndpointOption = None,
    any_endpoint: AnyEndpointOption = False,
    timeout: TimeoutOption = 60.0,
    quiet: QuietOption = False,
    format: FormatOption = None,
) -> None:
    """Send delivered records again, from the copies in the spool: those that an archive misses, or the ones named.

    They keep their numbers, and a collector that has them drops them as repeats. Leaves with a code above 0 when a
    missing number is not in this spool, or not answered for.
    """
    _check_flags(missing, stream, first, last, url, data)
    settings, root, target = target_of(spool_dir, endpoint)
    found = survey(root).streams
    chosen = set(matching([one.stream_id for one in found], stream))
    streams = [one for one in found if one.stream_id in chosen]
    if missing:
        address = None if any_endpoint else public_url(target.url)
        asked = url if data is None else str(data)
        wanted = _missing(streams, asked, endpoint, address)
    else:
        wanted = _named(streams, first, last)
    copies = Copies(pools_of(root, settings, Disk()), wanted)
    count = sum(map(size, copies.absent.values()))
    with progress_bar(count, quiet) as progress:
        tally = run_errand(copies, root, target, settings, patience_s=timeout, progress=progress)
    write_summary(tally, "sent again", format, wanted=sum(map(size, wanted.values())))
    _tell(copies.parked, "parked, and not sent: `otel-audit spool retry` sends them")
    raise_given_up(tally, count, root)
    _tell(copies.absent, "not in this spool")
    raise_refused(tally)
    absent = sum(map(size, copies.absent.values()))
    if absent and missing:
        raise MissingNumbersError(f"{absent:,} of the missing records are not in {root}, or not any more")
    if absent and not tally.delivered:
        raise QueryError(f"none of the records named is in {root}, or not any more")


def _check_flags(
    missing: bool, stream: str | None, first: int | None, last: int | None, url: str | None, data: Path | None
) -> None:
    ranged = first is not None or last is not None
    if not missing and stream is None:
        raise typer.BadParameter("give --missing, or --stream with --from and --to")
    if missing and ranged:
        raise typer.BadParameter("--missing finds the numbers itself; leave --from and --to out")
    if not missing and (url is not None or data is not None):
        raise typer.BadParameter("--data and --url go with --missing")
    check_one_source(data, url)


def _missing(
    streams: Sequence[StreamSurvey], asked: str | None, endpoint: str | None, address: str | None
) -> dict[str, Ranges]:
    """What a reader misses of these streams."""
    reader = bootstrap.open_reader(load_settings(endpoint=endpoint, reader=asked))
    try:
        assert isinstance(reader, StreamReader)  # as every reader that can be opened here is
        reports = reader.stream_reports([stream.stream_id for stream in streams])
    finally:
        reader.close()
    wanted, elsewhere = lost(streams, reports, address)
    if elsewhere:
        typer.echo(
            f"not known to the archive, and sent to another endpoint than {address}: {len(elsewhere):,} stream(s); "
            "--any-endpoint sends them here",
            err=True,
        )
    return wanted


def _named(streams: Sequence[StreamSurvey], first: int | None, last: int | None) -> dict[str, Ranges]:
    if len(streams) > 1:
        raise QueryError(f"{len(streams):,} streams in the spool begin so; give more of the id")
    (stream,) = streams
    begin, end = first or 1, last or stream.last_number
    if end < begin:
        raise QueryError(f"--from {begin} is behind the last number, {end}")
    return {stream.stream_id: ((begin, end),)}


def _tell(numbers: Mapping[str, Ranges], what: str) -> None:
    for stream_id, ranges in numbers.items():
        text, more = shown_ranges(ranges)
        text += f" and {more:,} more ranges" if more else ""
        typer.echo(f"{printable(stream_id)}: {text} {what}", err=True)
