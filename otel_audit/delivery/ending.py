"""How long an exit waits for delivery, and what is said while somebody waits and of what is left."""

from __future__ import annotations

from collections.abc import Callable

from otel_audit.config import Settings
from otel_audit.delivery.notices import report
from otel_audit.delivery.outbox import Outbox
from otel_audit.delivery.patience import Patience
from otel_audit.delivery.remedy import remedy
from otel_audit.errors import UndeliveredError

__all__ = ["INTERRUPTED_S", "exit_patience", "leave_wait_s", "say_left", "say_waiting"]

INTERRUPTED_S = 0.2
"""How long to wait for somebody who wants to leave at once."""
_KEPT_WAIT_S = 1.0
"""How long an exit waits without progress for what the spool has anyway."""


def exit_patience(timeout_s: float | None, settings: Settings, outbox: Outbox, say: Callable[[], None]) -> Patience:
    """What closing waits: the time given, else the setting; brief where nobody set it and a spool has the records."""
    is_brief = timeout_s is None and outbox.kept and settings.source("exit_flush_s") == "default"
    total_s = settings.exit_flush_s if timeout_s is None else timeout_s
    return Patience(total_s, idle_s=_KEPT_WAIT_S if is_brief else None, say=say)


def leave_wait_s(error: BaseException, outbox: Outbox) -> float | None:
    """What closing waits while an exception passes; None for what it always waits."""
    if not isinstance(error, Exception | SystemExit):  # an interrupt, a cancelled task
        return INTERRUPTED_S
    return 0.0 if outbox.kept and outbox.trouble else None


def say_waiting(url: str, outbox: Outbox) -> None:
    """Somebody has waited for a while: for whom, why, and what to do."""
    report(
        "warning",
        "waiting for the collector",
        url=url,
        records=outbox.state().waiting,
        why=outbox.trouble or "no answer yet",
        advice=remedy(outbox.trouble),
        kept=outbox.kept or "in memory",
    )


def say_left(error: UndeliveredError) -> None:
    """What nobody has answered for at the end, and whether it is kept."""
    event = "activity records left in the spool at exit" if error.kept else "activity records lost at exit"
    report("warning" if error.kept else "error", event, count=error.count, why=str(error))
