"""The product's own report on completeness, held against what the checks found without it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from otel_audit.query.reader import DuckDBReader
from tests.torture.checks import Findings


@dataclass(frozen=True, slots=True)
class Completeness:
    """What the product says.

    Attributes:
        states: how many streams are in which state.
        rightly_missing: how many numbers it says are missing, and so they are.
        false_alarms: what it says that is not so.
        silences: what it does not say though it is so.
    """

    states: Counter[str]
    rightly_missing: int
    false_alarms: list[str]
    silences: list[str]


def compare(data: Path, found: Findings, *, all_delivered: bool) -> Completeness:
    """Ask for the report and compare.

    Args:
        all_delivered: nothing can be on its way any more, for a spool has been emptied.
    """
    with DuckDBReader(data) as reader:
        reports = {report.stream_id: report for report in reader.stream_reports()}
    missing = set(found.missing)
    said = {
        (stream, number)
        for stream, report in reports.items()
        for first, last in report.missing
        for number in range(first, last + 1)
    }
    false = [f"stream {stream}: number {number} is said to be missing" for stream, number in sorted(said - missing)]
    silent = [
        f"stream {stream}: number {number} is not said to be missing" for stream, number in sorted(missing - said)
    ]
    for stream, rows in found.rows_of.items():
        report = reports.get(stream)
        if report is None or report.archived != rows:
            silent.append(f"stream {stream}: it has {rows} rows, and the report is {report}")
    if all_delivered and not found.lost:
        false += [
            f"stream {stream}: {report.awaited} numbers up to {report.emitted} are said to be on their way"
            for stream, report in reports.items()
            if report.awaited
        ]
    states = Counter(str(report.state) for report in reports.values())
    return Completeness(states, len(said & missing), false, silent)
