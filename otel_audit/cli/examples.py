"""Examples under a command's help, in one form that the help, the reference page and the tests all read."""

from __future__ import annotations

from rich.markup import escape
from rich.text import Text

__all__ = ["HEADING", "examples", "plain"]

HEADING = "Examples:"


def examples(*lines: str) -> str:
    """An epilog with one example a line, safe from being read as markup."""
    return "\n".join([HEADING, *(f"  {escape(line)}" for line in lines)])


def plain(epilog: str) -> list[str]:
    """The example lines of an epilog; the inverse of `examples`."""
    heading, *lines = Text.from_markup(epilog).plain.split("\n")
    return [line.removeprefix("  ") for line in lines] if heading == HEADING else []
