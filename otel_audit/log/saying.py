"""What the log engine tells its operator."""

from __future__ import annotations

from functools import partial

from otel_audit.events import report

__all__ = ["say"]

say = partial(report, "log")
