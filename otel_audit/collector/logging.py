"""How a process of ours shows what it and its libraries log: JSON lines on stderr, or coloured text on a terminal."""

from __future__ import annotations

import logging
import sys
from contextlib import suppress
from typing import Any, TextIO, cast

import structlog
from structlog.typing import EventDict, Processor

from otel_audit.events import FACTS
from otel_audit.model.printing import printable

__all__ = ["configure_logging"]


class _Stream:
    """A stream that takes what it can. A line that cannot be written (a full disk, a reader that has gone) is given up:
    whoever logs is answering a request, and must not fail over having told of it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with suppress(OSError, ValueError):
            self._stream.write(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._stream.flush()


def _as_text(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """What others wrote, and a line may quote, does not speak to the terminal. JSON escapes it anyway."""
    return {name: printable(value) if isinstance(value, str) else value for name, value in event.items()}


def _facts(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """Our own events keep their facts as fields."""
    event.update(getattr(event["_record"], FACTS, {}))
    return event


def configure_logging(stream: TextIO | None = None, *, json: bool | None = None, level: int = logging.INFO) -> None:
    """Set up the root logger of a process that is ours.

    Args:
        stream: default stderr.
        json: default: unless the stream is a terminal.
        level: of our own lines; libraries' are shown from WARNING on.
    """
    stream = sys.stderr if stream is None else stream
    json = not stream.isatty() if json is None else json
    lines = cast(TextIO, _Stream(stream))
    shared: list[Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    # Never with local variables: they hold other people's records.
    frames = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    rendering: list[Processor]
    if json:
        rendering = [structlog.processors.ExceptionRenderer(frames), structlog.processors.JSONRenderer()]
    else:
        traceback = structlog.dev.plain_traceback
        rendering = [_as_text, structlog.dev.ConsoleRenderer(colors=stream.isatty(), exception_formatter=traceback)]
    handler = logging.StreamHandler(lines)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[_facts, *shared, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("otel_audit").setLevel(level)
