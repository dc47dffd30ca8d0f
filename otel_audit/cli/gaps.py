"""`otel-audit gaps`: whether every record that producers numbered is here."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from otel_audit.cli.examples import examples
from otel_audit.cli.expectations import read_expectations
from otel_audit.cli.flags import with_source
from otel_audit.cli.numbers import plural_s, shown_ranges, stream_text
from otel_audit.cli.options import FormatOption, Source
from otel_audit.cli.output import Format, Shown, format_for, printable, tell, write_rows
from otel_audit.errors import MissingNumbersError, VerificationError
from otel_audit.model.completeness import Completeness
from otel_audit.model.ranges import Ranges
from otel_audit.model.record_json import format_time
from otel_audit.model.streams import StreamReport, report_to_json
from otel_audit.ports import StreamReader

__all__ = ["add_to", "confirmed"]

Reports = dict[str, StreamReport]

_WAIT_S = 5.0
_PAUSE_S = 0.5
_SILENT = timedelta(hours=1)
"""Twelve heartbeats, unless the producer's are set to come less often."""
_SHOWN = (
    Shown("stream", "stream", style="bold"),
    Shown("service", "service_name", cut=True),
    Shown("state", "state", style="green"),
    Shown("emitted", "emitted", right=True),
    Shown("archived", "archived", right=True),
    Shown("not archived", "lacking", style="yellow"),
    Shown("last seen", "seen", style="cyan"),
)
_COLUMNS = tuple(report_to_json(StreamReport.unknown("")))


def add_to(app: typer.Typer) -> None:
    """Add the command `gaps`."""
    app.command(
        "gaps",
        epilog=examples(
            "otel-audit gaps --data audit-data",
            "otel-audit gaps --all --format csv > streams.csv",
            "otel-audit spool status --format jsonl | otel-audit gaps --expect -",
            'otel-audit gaps --settle 019ab4f2-3b00-7000-8000-00000000000a --reason "host lost in the fire of 3 May"',
        ),
    )(with_source(_gaps))


def _gaps(
    source: Source,
    incomplete: Annotated[
        bool,
        typer.Option(
            "--incomplete/--all", help="Only streams with numbers missing, awaited or implausible, or every stream."
        ),
    ] = True,
    expect: Annotated[
        str | None,
        typer.Option(
            "--expect",
            metavar="FILE",
            help="The producers' own counts: JSON lines with stream_id and last_number, as `spool status --format "
            "jsonl` prints them; - reads them from standard input. What is not here of them is missing.",
        ),
    ] = None,
    wait: Annotated[
        float,
        typer.Option(
            "--wait",
            min=0,
            metavar="SECONDS",
            help="How long a number must be missing to be reported: requests may overtake each other on their way. "
            "Behind an otelcol, give it as long as that retries. Nothing is waited for when nothing is missing.",
        ),
    ] = _WAIT_S,
    settle: Annotated[
        str | None,
        typer.Option(
            "--settle",
            metavar="STREAM",
            help="Record that you have looked into what this stream lacks: its numbers up to now are missed no longer, "
            "and implausible ones disregarded. Needs --reason.",
        ),
    ] = None,
    reason: Annotated[
        str | None, typer.Option("--reason", metavar="TEXT", help="Why; it is kept for good and shown in reports.")
    ] = None,
    format: FormatOption = None,
) -> None:
    """Per producer's stream: which of the numbers it gave are archived, missing, awaited.

    Exits non-zero when a number is missing or implausible.
    """
    if (settle is None) != (not reason):
        raise typer.BadParameter("--settle and --reason go together")
    expected = {} if expect is None else read_expectations(expect)
    with source.opened() as reader:
        assert isinstance(reader, StreamReader)  # as every reader that can be opened here is
        streams = reader
        if settle is not None:
            from otel_audit.cli.settling import settle_stream

            settle_stream(_look(streams, expected, [settle], False).get(settle), settle, reason or "", source)
            incomplete, expected = False, {}
        first = _look(streams, expected, None if settle is None else [settle], incomplete)
        reports = confirmed(first, lambda lacking: _look(streams, expected, lacking, False), wait)
        whole = streams.completeness()
    chosen = [report for report in reports.values() if report.incomplete or not incomplete]
    row = _table_row if format_for(format, sys.stdout) is Format.TABLE else report_to_json
    write_rows(map(row, chosen), _SHOWN, columns=_COLUMNS, format=format, empty=_none_text(whole, incomplete))
    _tell_unshown(whole)
    _tell_silent(chosen, datetime.now(UTC))
    _tell_implausible(chosen)
    _raise_missing(chosen)


def _look(
    reader: StreamReader, expected: Mapping[str, int], stream_ids: Sequence[str] | None, incomplete: bool
) -> Reports:
    """The streams asked for, and in any case those that something is expected of."""
    found = {report.stream_id: report for report in reader.stream_reports(stream_ids, incomplete=incomplete)}
    named = [name for name in expected if name not in found and (stream_ids is None or name in stream_ids)]
    if named and incomplete:
        # They were left out as complete, or the archive does not know them.
        found |= {report.stream_id: report for report in reader.stream_reports(named)}
    for name in expected:
        if name in found or name in named:
            found[name] = found.get(name, StreamReport.unknown(name)).expecting(expected[name])
    return found


def confirmed(
    reports: Reports,
    look: Callable[[Sequence[str]], Reports],
    wait_s: float,
    clock: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
) -> Reports:
    """The reports with only those numbers missing that every look within `wait_s` seconds misses.

    Args:
        look: the reports on some streams as of now. One that it leaves out (another collector answered) stays.
    """
    until = clock() + wait_s
    while lacking := [name for name, report in reports.items() if report.missing_count]:
        left_s = until - clock()
        if left_s <= 0:
            break
        pause(min(_PAUSE_S, left_s))
        later = look(lacking)
        reports = reports | {name: reports[name].confirmed_by(later[name]) for name in lacking if name in later}
    return reports


def _table_row(report: StreamReport) -> dict[str, Any]:
    seen = "" if report.last_seen is None else report.last_seen.strftime("%m-%d %H:%M")
    shown = {"stream": stream_text(report.stream_id), "lacking": _lacking_text(report), "seen": seen}
    return report_to_json(report) | shown


def _lacking_text(report: StreamReport) -> str:
    """What makes the difference between emitted and archived."""
    parts = [f"missing {_range_text(report.missing)}"] if report.missing else []
    counted = (("awaited", report.awaited), ("in quarantine", report.quarantined))
    return ", ".join([*parts, *(f"{count:,} {what}" for what, count in counted if count)])


def _range_text(ranges: Ranges) -> str:
    text, more = shown_ranges(ranges)
    return text + (f" and {more:,} more" if more else "")


def _none_text(whole: Completeness, incomplete: bool) -> str:
    if not incomplete:
        return "no streams"
    return "no gaps among the records that carry a number" if whole.unnumbered or whole.lost else "no gaps"


def _tell_unshown(whole: Completeness) -> None:
    """What is no gap in any stream, and may be one all the same."""
    if whole.unnumbered:
        count, records = whole.unnumbered, whole.records
        carry = "carries" if count == 1 else "carry"
        typer.echo(
            f"{count:,} of {records:,} record{plural_s(records)} {carry} no number: nothing shows whether all of that "
            "kind are here",
            err=True,
        )
    for lost in whole.lost:
        tell(f"log {lost.log}: rows {lost.first}-{lost.last} are accepted as lost")


def _tell_silent(reports: Iterable[StreamReport], now: datetime) -> None:
    """Awaited numbers are no alarm, but nobody should wait for a producer that is gone."""
    for report in reports:
        if report.awaited and report.last_seen is not None and now - report.last_seen > _SILENT:
            told = (
                f"{printable(report.stream_id)}: {report.awaited:,} awaited, last seen {format_time(report.last_seen)}"
            )
            tell(f"{told}; if its producer is gone, look for its spool")


def _tell_implausible(reports: Iterable[StreamReport]) -> None:
    for report in reports:
        if report.implausible is not None:
            first, last = report.implausible
            told = f"{first:,}" if first == last else f"{first:,} to {last:,}"
            tell(f"{printable(report.stream_id)}: implausible: {told}, far above all other numbers")


def _raise_missing(reports: Sequence[StreamReport]) -> None:
    """Raises MissingNumbersError when a number is missing, else VerificationError when one is implausible."""
    lacking = [report for report in reports if report.missing_count]
    if not lacking:
        if implausible := sum(report.implausible is not None for report in reports):
            raise VerificationError(
                f"implausible numbers in {implausible:,} stream{plural_s(implausible)}: a fault of the producer. Once "
                'you have looked into it: otel-audit gaps --settle STREAM --reason "..."'
            )
        return
    total = sum(report.missing_count for report in lacking)
    unknown = sum(report.state == "unknown" for report in lacking)
    text = f"{total:,} record{plural_s(total)} missing in {len(lacking):,} stream{plural_s(len(lacking))}"
    if unknown:
        text += f"; {unknown:,} of the streams never arrived at all"
    raise MissingNumbersError(text)
