"""Where delivery reports trouble."""

from __future__ import annotations

from functools import partial

from otel_audit.events import report as report_event

__all__ = ["report"]

report = partial(report_event, "delivery")
