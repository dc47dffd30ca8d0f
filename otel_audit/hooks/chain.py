"""The hook chain: every repo runs its hooks through this, so a hook means the same everywhere.

Two rules carry it. Before the append nothing may get lost: a hook that raises, or returns anything but a record, fails
the append. After the append nothing may be undone: a hook that raises is logged and counted, and that is all.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any

from otel_audit.errors import ConfigError, HookError
from otel_audit.events import report
from otel_audit.model.receipts import ActivityRecorded, Receipt
from otel_audit.model.record import ActivityRecord
from otel_audit.ports import AfterAppend, BeforeAppend

__all__ = ["Hook", "HookChain"]

Hook = BeforeAppend | AfterAppend | Callable[[ActivityRecord], ActivityRecord]


class HookChain:
    """Hooks in the order given. Immutable; safe to share between threads as far as the hooks are.

    Attributes:
        after_failures: how many `after_append` calls raised since the chain was made.
        listens: whether there is an `after_append` hook at all.

    Raises:
        ConfigError: something among `hooks` is no hook.
    """

    def __init__(self, hooks: Iterable[Hook] = ()) -> None:
        before: list[tuple[str, Callable[[ActivityRecord], Any]]] = []
        after: list[tuple[str, Callable[[ActivityRecorded], Any]]] = []
        for hook in hooks:
            name = _name(hook)
            early, late = getattr(hook, "before_append", None), getattr(hook, "after_append", None)
            if isinstance(hook, type) or not (callable(early) or callable(late) or callable(hook)):
                raise ConfigError(f"hooks: {name} is neither callable nor has before_append or after_append")
            if callable(early):
                before.append((name, early))
            if callable(late):
                after.append((name, late))
            if not callable(early) and not callable(late):
                before.append((name, hook))  # type: ignore[arg-type]
        self._before = tuple(before)
        self._after = tuple(after)
        self._failures_lock = threading.Lock()
        self.after_failures = 0
        self.listens = bool(after)

    def before(self, record: ActivityRecord) -> ActivityRecord:
        """The record to store, after every `before_append` hook had its turn.

        Raises:
            HookError: a hook raised (its exception is the `__cause__`) or returned something else than a record.
        """
        for name, hook in self._before:
            try:
                result = hook(record)
            except Exception as error:
                raise HookError(name, f"raised {type(error).__name__}: {error}") from error
            if not isinstance(result, ActivityRecord):
                given = "None" if result is None else f"a {type(result).__name__}"
                raise HookError(name, f"returned {given}; it must return the record to store")
            record = result
        return record

    def after(self, record: ActivityRecord, receipt: Receipt) -> None:
        """Tell every `after_append` hook. Raises nothing: the record is already stored."""
        if not self._after:
            return
        event = ActivityRecorded(record, receipt)
        for name, hook in self._after:
            try:
                hook(event)
            except Exception as error:  # noqa: BLE001 - a hook's fault must not look like a failed append
                with self._failures_lock:
                    self.after_failures += 1
                report(
                    "hooks",
                    "error",
                    "after_append hook failed",
                    hook=name,
                    record_id=str(record.record_id),
                    exc_info=error,
                )


def _name(hook: object) -> str:
    """What a person calls a hook: the function's name, or the class of the object."""
    named = getattr(hook, "__qualname__", None)
    return named if isinstance(named, str) else type(hook).__qualname__
