"""What became of each record of a request, run by run: the answer header `otel-audit-rows`, both directions.

`<first>:<runs>`, where the runs stand in the order of the request: a letter and how many records in a row it holds for.
`n` is a new row, `d` a repeat of a record the log had already, `c` a conflict, which went to quarantine. `first` is the
log index of the first new row; the new rows of one request have adjacent indexes, in order. So `1042:n5,d3,n2` places
seven records, and `:d8` says that all eight were there before.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, cast

from otel_audit.errors import PeerBytesError

__all__ = ["MAX_RUNS", "Fate", "RowRuns", "format_row_runs", "parse_row_runs"]

Fate = Literal["n", "d", "c"]

_MAX_CHARS = 2_000
"""Of the header: what proxies and clients take without asking."""
MAX_RUNS = _MAX_CHARS // 3
"""A run takes three characters with its comma, so more of them never fit."""
_HEADER = re.compile(r"(0|[1-9][0-9]{0,18})?:([ndc][1-9][0-9]{0,9}(?:,[ndc][1-9][0-9]{0,9})*)")


@dataclass(frozen=True, slots=True)
class RowRuns:
    """What the header says. `first` is None exactly when no run is of new rows."""

    first: int | None
    runs: tuple[tuple[Fate, int], ...]

    def log_index(self, at: int) -> int | None:
        """The log index of the record at a place in the request; None for one that is no new row."""
        index = self.first or 0
        for fate, count in self.runs:
            if at < count:
                return index + at if fate == "n" else None
            at -= count
            index += count if fate == "n" else 0
        return None


def format_row_runs(rows: RowRuns) -> str | None:
    """The header's value; None for no records at all, and where it would take more than 2,000 characters."""
    if not rows.runs or len(rows.runs) > MAX_RUNS:
        return None
    first = "" if rows.first is None else rows.first
    text = f"{first}:{','.join([f'{fate}{count}' for fate, count in rows.runs])}"
    return text if len(text) <= _MAX_CHARS else None


def parse_row_runs(text: str) -> RowRuns:
    """The inverse of `format_row_runs`.

    Raises:
        PeerBytesError: not such a value.
    """
    match = _HEADER.fullmatch(text) if len(text) <= _MAX_CHARS else None
    if match is None:
        raise PeerBytesError(f"not a value of otel-audit-rows: {text!r:.100}")
    runs = tuple((cast(Fate, run[0]), int(run[1:])) for run in match[2].split(","))
    first = None if match[1] is None else int(match[1])
    if (first is None) == any(fate == "n" for fate, _ in runs):
        raise PeerBytesError(f"an index without new rows, or new rows without one: {text!r:.100}")
    return RowRuns(first, runs)
