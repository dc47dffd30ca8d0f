"""What the package reports, as a test reads it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from otel_audit.events import FACTS


class _Keeper(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.kept: list[dict[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.kept.append({"log_level": record.levelname.lower(), "logger": record.name, **getattr(record, FACTS)})


@contextmanager
def capture_events() -> Iterator[list[dict[str, Any]]]:
    """Every event reported meanwhile: its facts, `event`, `log_level` and `logger`. Nothing of them is printed."""
    logger, keeper = logging.getLogger("otel_audit"), _Keeper()
    before = logger.level, logger.propagate
    logger.addHandler(keeper)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield keeper.kept
    finally:
        logger.removeHandler(keeper)
        logger.setLevel(before[0])
        logger.propagate = before[1]
