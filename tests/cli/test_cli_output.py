"""Answers are safe to look at and to open in a spreadsheet, whatever the data holds."""

from __future__ import annotations

import csv
import io
import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_audit.cli.moments import parse_moment
from otel_audit.cli.output import Format, csv_cell, format_for, printable, write_rows
from otel_audit.errors import InvalidFilterError

EVIL = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202etxt\x00\r\n"
values = st.none() | st.booleans() | st.integers() | st.text(max_size=10) | st.lists(st.text(max_size=3), max_size=2)
rows_of_one_shape = st.lists(st.fixed_dictionaries({"a": values, "b": values}), max_size=4)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def written(rows: list[dict[str, Any]], format: Format, stream: io.StringIO | None = None) -> str:
    stream = io.StringIO() if stream is None else stream
    assert write_rows(rows, format=format, stream=stream) == len(rows)
    return stream.getvalue()


FORMULA = 'HYPERLINK("http://evil","x")'


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", " =", "  @", '"=', "\uff1d", "\n+", "\t ="])
def test_a_cell_that_a_spreadsheet_would_run_gets_an_apostrophe(start: str) -> None:
    """CSV injection: text that starts like a formula is text for the spreadsheet as well."""
    line = written([{"a": start + FORMULA}], Format.CSV)
    (cell,) = next(csv.reader(io.StringIO(line.partition("\n")[2])))
    assert cell == "'" + printable(start + FORMULA)
    assert csv_cell({"=1": 2}) == '{"=1": 2}'


@pytest.mark.parametrize("text", [";=1", "a;=1", "a; -1", "a|+1", 'a;"=1', "x;y;@SUM(1)"])
def test_a_formula_behind_what_some_spreadsheets_split_at_gets_one_too(text: str) -> None:
    """A semicolon parts cells where the comma is the decimal sign, and no quotes keep it from doing so."""
    guarded = csv_cell(text)
    assert guarded.replace("'", "") == text
    assert not re.search(r"[;|][\s\"]*[=+@-]", guarded)


def test_text_that_is_no_formula_stays_as_it_is() -> None:
    for text in ("a-b", "1;2", "ann@example.com; bob@example.com", "a = b", "http://x/?a=b;c=d", "2026-11-24", "it's"):
        assert csv_cell(text) == text


@pytest.mark.parametrize("terminal", [True, False])
def test_csv_has_no_control_characters_wherever_it_goes(terminal: bool) -> None:
    """A pipe may end at a terminal."""
    text = written([{"a": EVIL, EVIL: "x"}], Format.CSV, Terminal() if terminal else io.StringIO())
    assert all(character.isprintable() for character in text.replace("\n", ""))
    assert text.count("\n") == 2


def test_numbers_in_csv_stay_numbers() -> None:
    """A negative number is no formula; a text that looks like one is."""
    assert (csv_cell(-5), csv_cell(-0.5), csv_cell("-5"), csv_cell(None), csv_cell(True)) == (
        "-5", "-0.5", "'-5", "", "true",
    )  # fmt: skip


def test_a_heading_is_guarded_like_a_cell() -> None:
    """A column's name may come from a SQL alias."""
    assert written([{"=cmd": 1}], Format.CSV).startswith("'=cmd\n")


@pytest.mark.parametrize("format", list(Format))
def test_no_format_lets_data_speak_to_a_terminal(format: Format) -> None:
    """Escape sequences, control characters and direction overrides never reach a terminal as such."""
    shown = written([{"a": EVIL, EVIL: "x"}], format, Terminal())
    # Colours are the table's own.
    shown = re.sub("\x1b\\[[0-9;]*m", "", shown)
    assert not {"\x1b", "\x07", "\x9b", "\u202e", "\x00", "\r"} & set(shown)
    assert "owned" in shown


@given(st.text())
def test_printable_text_has_nothing_a_terminal_acts_on(text: str) -> None:
    """Every control character becomes its escape, and other text stays."""
    assert all(character.isprintable() or character >= "\xa0" for character in printable(text))
    assert printable("grüße, 世界 🙂") == "grüße, 世界 🙂"


@given(rows_of_one_shape)
def test_json_and_json_lines_read_back(rows: list[dict[str, Any]]) -> None:
    """JSON gives the rows back exactly, in both forms."""
    assert json.loads(written(rows, Format.JSON)) == rows
    assert [json.loads(line) for line in written(rows, Format.JSONL).splitlines()] == rows


@given(rows_of_one_shape)
def test_csv_has_a_row_for_each_row(rows: list[dict[str, Any]]) -> None:
    """Whatever is in a cell, quotes and line breaks included, it stays one cell."""
    read = list(csv.reader(io.StringIO(written(rows, Format.CSV), newline="")))
    assert len(read) == (len(rows) + 1 if rows else 0)
    assert all(len(line) == 2 for line in read)


def test_a_terminal_gets_a_table_and_a_pipe_gets_json_lines() -> None:
    """The format follows the stream unless one is asked for."""
    assert format_for(None, Terminal()) is Format.TABLE
    assert format_for(None, io.StringIO()) is Format.JSONL
    assert format_for(Format.CSV, Terminal()) is Format.CSV


def test_a_table_takes_markup_for_text() -> None:
    """Rich's own markup in data is data."""
    assert "[red]x[/red] :smile:" in written([{"a": "[red]x[/red] :smile:"}], Format.TABLE)


NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-01", datetime(2026, 11, 1, tzinfo=UTC)),
        ("2026-11-01T10:30:00Z", datetime(2026, 11, 1, 10, 30, tzinfo=UTC)),
        ("2026-11-01T10:30:00+02:00", datetime(2026, 11, 1, 8, 30, tzinfo=UTC)),
        ("7d", NOW - timedelta(days=7)),
        ("90m", NOW - timedelta(minutes=90)),
    ],
)
def test_moments_are_dates_times_or_how_long_ago(text: str, moment: datetime) -> None:
    """The three ways to write a moment."""
    assert parse_moment(text, NOW, "--since") == moment


@given(st.text(max_size=12) | st.from_regex(r"[0-9]{1,9}[smhdw]", fullmatch=True))
def test_any_other_text_is_blamed_on_the_flag(text: str) -> None:
    """parse(any text) raises only our own error."""
    try:
        assert parse_moment(text, NOW, "--since").utcoffset() is not None
    except InvalidFilterError as error:
        assert str(error).startswith("--since")


def test_a_time_without_an_offset_is_refused() -> None:
    """Nobody guesses a time zone."""
    with pytest.raises(InvalidFilterError, match="add Z"):
        parse_moment("2026-11-24T10:30:00", NOW, "--until")
