"""An append-only activity log: who did what to whose data, kept for ever, one SQL query away."""

from typing import TYPE_CHECKING, Any

from otel_audit._version import __version__
from otel_audit.errors import (
    BacklogFullError,
    ClosedError,
    ConfigError,
    HookError,
    InvalidRecordError,
    OtelAuditError,
    UndeliveredError,
)
from otel_audit.model.filters import Filter, LogPosition
from otel_audit.model.ids import Id, new_record_id
from otel_audit.model.pages import Page
from otel_audit.model.receipts import ActivityRecorded, Receipt
from otel_audit.model.record import ActivityRecord, EntityRef
from otel_audit.model.streams import StreamReport
from otel_audit.ports import (
    ActivityLogReader,
    ActivityLogRepo,
    ActivityLogWriter,
    AfterAppend,
    BeforeAppend,
    StreamReader,
)

if TYPE_CHECKING:
    from otel_audit.repos.local import LocalActivityLogRepo
    from otel_audit.repos.memory import InMemoryActivityLogRepo
    from otel_audit.repos.otel import OTelActivityLogRepo

__all__ = [
    "ActivityLogReader",
    "ActivityLogRepo",
    "ActivityLogWriter",
    "ActivityRecord",
    "ActivityRecorded",
    "AfterAppend",
    "BacklogFullError",
    "BeforeAppend",
    "ClosedError",
    "ConfigError",
    "EntityRef",
    "Filter",
    "HookError",
    "Id",
    "InMemoryActivityLogRepo",
    "InvalidRecordError",
    "LocalActivityLogRepo",
    "LogPosition",
    "OTelActivityLogRepo",
    "OtelAuditError",
    "Page",
    "Receipt",
    "StreamReader",
    "StreamReport",
    "UndeliveredError",
    "__version__",
    "new_record_id",
]

_REPOS = {
    "InMemoryActivityLogRepo": "memory",
    "LocalActivityLogRepo": "local",
    "OTelActivityLogRepo": "otel",
}


def __getattr__(name: str) -> Any:
    """Repos load when first named: a test with the in-memory one need not pay for the network stack."""
    if name in _REPOS:
        from importlib import import_module

        return getattr(import_module(f"otel_audit.repos.{_REPOS[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
