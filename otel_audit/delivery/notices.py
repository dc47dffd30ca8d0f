"""Where delivery reports trouble: the application's structlog, or stderr when it has configured none.

structlog's own default prints to stdout, where a library must not write: it may be the application's output.
"""

from __future__ import annotations

import sys
from typing import Any, Literal

import structlog

__all__ = ["report"]


def report(level: Literal["info", "warning", "error"], event: str, **values: Any) -> None:
    """Log an event; raises nothing. The logger is asked for each time: an application may configure structlog late."""
    try:
        if structlog.is_configured():
            log = structlog.get_logger("otel_audit.delivery")
        else:
            log = structlog.wrap_logger(structlog.PrintLogger(sys.stderr)).bind(room="otel_audit.delivery")
        getattr(log, level)(event, **values)
    except Exception:  # noqa: BLE001, S110 - delivery must not stop because its log is broken; `flush` reports as well
        pass
