"""Answers as a table, JSON, JSON lines or CSV; each safe to look at and to pass on.

- Data is never allowed to speak to a terminal, the one at the end of a pipe included: control characters and direction
  overrides are written as escapes.
- CSV is never allowed to speak to a spreadsheet: text that a spreadsheet would run as a formula gets an apostrophe
  before it, also behind a semicolon or a bar, at which some spreadsheets split.
"""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any, TextIO

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from otel_audit.model.printing import printable

__all__ = [
    "Format",
    "Shown",
    "csv_cell",
    "format_for",
    "json_text",
    "printable",
    "shortened",
    "tell",
    "terminal",
    "write_rows",
]

Row = Mapping[str, Any]

_FORMULA = re.compile("(?:^|[;|])(?=[\\s\"']*[=+\\-@\uff1d\uff0b\uff0d\uff20])|^(?=[\t\r])")
# JSON escapes C0 itself; its own line breaks and indents must stay.
_UNPRINTABLE_IN_JSON = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_GAP = 2
_LEAST_REST, _LEAST_CUT = 20, 9
PIPE_WIDTH = 160
"""Columns of a table that does not go to a terminal."""


class Format(StrEnum):
    """How rows are written."""

    TABLE = "table"
    JSON = "json"
    JSONL = "jsonl"
    CSV = "csv"


class Shown:
    """One column of a table: its heading and the key of the row it shows; numbers stand on the right.

    Args:
        cut: where the terminal is too narrow, text loses its middle; other columns are folded. Other formats have it
            all.
        rest: text loses its end, so that a row stays one line; such a column gives way before all others.
    """

    __slots__ = ("cut", "heading", "key", "rest", "right", "style")

    def __init__(
        self, heading: str, key: str, *, style: str = "", right: bool = False, cut: bool = False, rest: bool = False
    ) -> None:
        self.heading, self.key, self.style, self.right = heading, key, style, right
        self.cut, self.rest = cut, rest


def shortened(text: str, most: int) -> str:
    """Text of at most so many characters, its beginning and its end kept."""
    if len(text) <= most:
        return text
    end = (most - 1) // 3
    return f"{text[: most - 1 - end]}…{text[len(text) - end :]}"


def format_for(chosen: Format | None, stream: TextIO) -> Format:
    """The format asked for; else a table on a terminal and JSON lines elsewhere."""
    return chosen or (Format.TABLE if stream.isatty() else Format.JSONL)


def csv_cell(value: Any) -> str:
    """One CSV cell. Numbers stay numbers; text that a spreadsheet would take for a formula gets an apostrophe."""
    if isinstance(value, bool) or value is None or not isinstance(value, int | float):
        return printable(_FORMULA.sub(lambda start: start[0] + "'", _plain_text(value)))
    return repr(value)


def terminal(stream: TextIO | None = None) -> Console:
    """A console that never interprets data: no markup, no emoji codes, no highlighting."""
    stream = sys.stdout if stream is None else stream
    return Console(
        file=stream,
        markup=False,
        emoji=False,
        highlight=False,
        soft_wrap=False,
        width=None if stream.isatty() else PIPE_WIDTH,
    )


def write_rows(
    rows: Iterable[Row],
    shown: Sequence[Shown] | None = None,
    *,
    columns: Sequence[str] | None = None,
    format: Format | None = None,
    stream: TextIO | None = None,
    title: str = "",
    empty: str = "nothing found",
) -> int:
    """Write rows and say how many there were.

    Args:
        rows: JSON values by column; all formats but the table stream them.
        shown: the table's columns; default all of them.
        columns: the CSV's columns in order; default the first row's.
        format: default by the stream, see `format_for`.
        empty: what a table says when there are no rows.
    """
    stream = sys.stdout if stream is None else stream
    chosen = format_for(format, stream)
    if chosen is Format.TABLE:
        return _write_table(list(rows), shown, columns, stream, title, empty)
    if chosen is Format.CSV:
        return _write_csv(rows, columns, stream)
    return _write_json(rows, stream, lines=chosen is Format.JSONL)


def _write_table(
    rows: list[Row],
    shown: Sequence[Shown] | None,
    columns: Sequence[str] | None,
    stream: TextIO,
    title: str,
    empty: str,
) -> int:
    console = terminal(stream)
    if not rows:
        console.print(Text(empty, style="dim"))
        return 0
    if shown is None:
        shown = [Shown(printable(name), name, right=_is_number(rows[0].get(name))) for name in columns or list(rows[0])]
    cells = [[printable(_plain_text(row.get(column.key))) for column in shown] for row in rows]
    widths = [
        max(map(cell_len, (column.heading, *texts)))
        for column, texts in zip(shown, zip(*cells, strict=True), strict=True)
    ]
    widths = _fitted(widths, shown, console.width - _GAP * (len(shown) - 1))
    table = Table(
        header_style="bold",
        box=None,
        pad_edge=False,
        padding=(0, _GAP, 0, 0),
        show_header=any(column.heading for column in shown),
    )
    for column, width in zip(shown, widths, strict=True):
        whole = column.cut or column.rest
        table.add_column(
            column.heading,
            style=column.style,
            justify="right" if column.right else "left",
            overflow="ellipsis" if whole else "fold",
            no_wrap=whole,
            width=width if whole else None,
        )
    for texts in cells:
        table.add_row(
            *(
                Text(shortened(text, width) if column.cut else text)
                for text, column, width in zip(texts, shown, widths, strict=True)
            )
        )
    if title:
        console.print(Text(printable(title), style="bold"))
    console.print(table)
    return len(rows)


def _fitted(widths: list[int], shown: Sequence[Shown], room: int) -> list[int]:
    """Widths that fit, as far as columns may be cut: the rest first, then whichever is widest."""
    widths = list(widths)
    for which, least in (("rest", _LEAST_REST), ("cut", _LEAST_CUT)):
        while sum(widths) > room:
            wide = [at for at, column in enumerate(shown) if getattr(column, which) and widths[at] > least]
            if not wide:
                break
            widths[max(wide, key=widths.__getitem__)] -= 1
    return widths


def _write_csv(rows: Iterable[Row], columns: Sequence[str] | None, stream: TextIO) -> int:
    line = io.StringIO(newline="")
    # The writer quotes what is in its line end, so this end quotes a lone CR too; the lines written end in LF alone.
    writer = csv.writer(line, lineterminator="\r\n")

    def write(cells: Iterable[Any]) -> None:
        writer.writerow([csv_cell(cell) for cell in cells])
        stream.write(line.getvalue().removesuffix("\r\n") + "\n")
        line.seek(0)
        line.truncate()

    header = list(columns) if columns is not None else None
    count = 0
    if header is not None:
        write(header)
    for row in rows:
        if header is None:
            header = list(row)
            write(header)
        write(row.get(name) for name in header)
        count += 1
    return count


def _write_json(rows: Iterable[Row], stream: TextIO, *, lines: bool) -> int:
    count = 0
    for row in rows:
        if not lines:
            stream.write("[\n  " if count == 0 else ",\n  ")
        stream.write(json_text(row))
        if lines:
            stream.write("\n")
        count += 1
    if not lines:
        stream.write("\n]\n" if count else "[]\n")
    return count


def json_text(value: Any, indent: int | None = None) -> str:
    """JSON, with what a terminal would act on written as escapes (they mean the same)."""
    separators = (", ", ": ") if indent is None else (",", ": ")
    text = json.dumps(value, ensure_ascii=False, separators=separators, indent=indent, default=str)
    return _UNPRINTABLE_IN_JSON.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def tell(text: str) -> None:
    """What there is to say beside the answer, on stderr."""
    print(printable(text), file=sys.stderr)  # noqa: T201


def _plain_text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, dict | list | bool):
        return json.dumps(value, ensure_ascii=False, separators=(", ", ": "), default=str)
    return str(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
