"""Telling the operator, from threads that must not end over it."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Literal

import structlog

__all__ = ["say"]

_log = structlog.get_logger("otel_audit.log")


def say(level: Literal["error", "warning"], event: str, **facts: Any) -> None:
    """Log an event; where that fails (its disk is full too, its reader has gone) the counters and states must do.

    A thread that commits or maintains would otherwise end with the line it could not write.
    """
    with suppress(Exception):
        getattr(_log, level)(event, **facts)
