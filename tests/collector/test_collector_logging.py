"""What a process of ours says: JSON off a terminal, and never the contents of what it holds."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from otel_audit.collector.logging import configure_logging
from otel_audit.events import report


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def fail(secret: str) -> None:
    raise ZeroDivisionError("divided")


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()])
def test_a_traceback_shows_no_local_variables(stream):
    configure_logging(stream)
    try:
        fail("-".join(("s3", "cret")))
    except ZeroDivisionError as error:
        report("x", "error", "broken", exc_info=error)
    assert "ZeroDivisionError" in stream.getvalue()
    assert "divided" in stream.getvalue()
    assert "s3-cret" not in stream.getvalue()


def test_off_a_terminal_every_line_is_json_with_time_and_level():
    stream = io.StringIO()
    configure_logging(stream)
    report("x", "info", "began", number=1)
    logging.getLogger("library").warning("from %s", "elsewhere")
    logging.getLogger("library").info("not shown")
    ours, theirs = map(json.loads, stream.getvalue().splitlines())
    assert (ours["event"], ours["number"], ours["level"]) == ("began", 1, "info")
    assert (theirs["event"], theirs["level"], theirs["logger"]) == ("from elsewhere", "warning", "library")
    assert ours["timestamp"].endswith("Z")


def test_on_a_terminal_it_is_text_for_people():
    stream = Terminal()
    configure_logging(stream)
    report("x", "info", "began")
    assert "began" in stream.getvalue()
    assert not stream.getvalue().startswith("{")


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), ValueError("I/O operation on closed file")])
def test_a_line_that_cannot_be_written_fails_nobody(error):
    """Whoever logs is answering a request; the next line is written where that is possible again."""

    class Full(io.StringIO):
        full = True

        def write(self, text: str) -> int:
            if self.full:
                raise error
            return super().write(text)

    stream = Full()
    configure_logging(stream)
    report("a", "warning", "lost")
    logging.getLogger("b").warning("lost too")
    stream.full = False
    report("a", "warning", "kept")
    logging.getLogger("b").warning("kept too")
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["kept", "kept too"]
