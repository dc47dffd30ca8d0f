"""What producers say they have emitted, as `otel-audit spool status --format jsonl` prints it."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from contextlib import nullcontext

from otel_audit.errors import QueryError
from otel_audit.model.json_values import parse_json

__all__ = ["parse_expectations", "read_expectations"]


def read_expectations(source: str) -> dict[str, int]:
    """The highest number per stream in a file; `-` is standard input.

    Raises:
        QueryError: it cannot be read, or a line is no expectation; says which.
    """
    try:
        with nullcontext(sys.stdin.buffer) if source == "-" else open(source, "rb") as lines:
            return parse_expectations(lines, "standard input" if source == "-" else source)
    except OSError as error:
        raise QueryError(f"--expect: {source} cannot be read: {error.strerror}") from error


def parse_expectations(lines: Iterable[bytes], source: str) -> dict[str, int]:
    """The highest number per stream. A stream may stand in several lines; the highest counts.

    Args:
        lines: JSON objects with `stream_id` and `last_number`; other keys and empty lines do not matter.
        source: where they are from, for the error.

    Raises:
        QueryError: a line that says something else. To pass it over would be to expect nothing of it.
    """
    expected: dict[str, int] = {}
    for at, line in enumerate(lines, start=1):
        if line.strip():
            stream_id, last_number = _expectation(line, f"--expect: {source}, line {at}")
            expected[stream_id] = max(expected.get(stream_id, 0), last_number)
    return expected


def _expectation(line: bytes, where: str) -> tuple[str, int]:
    try:
        values = parse_json(line)
    except ValueError as error:
        raise QueryError(f"{where}: no JSON: {error}") from None
    if not isinstance(values, dict):
        raise QueryError(f"{where}: must be an object with stream_id and last_number")
    stream_id, last_number = values.get("stream_id"), values.get("last_number")
    if not isinstance(stream_id, str) or not stream_id:
        raise QueryError(f"{where}: stream_id must be text")
    if type(last_number) is not int or last_number < 0:
        raise QueryError(f"{where}: last_number must be a whole number from 0")
    return stream_id, last_number
