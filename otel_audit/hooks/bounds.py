"""Keeps `metadata` and `changes` small: tighter rules of the application, on top of what every record must meet."""

from __future__ import annotations

from typing import Any

from otel_audit.errors import ConfigError, InvalidRecordError
from otel_audit.model.json_values import walk_size
from otel_audit.model.record import ActivityRecord

__all__ = ["Bounds"]


class Bounds:
    """Refuses a record whose `metadata` or `changes` is too big; never truncates.

    Args:
        max_bytes: bytes of canonical JSON, for each of the two.
        max_depth: levels of lists and objects; a flat object has one.
        max_keys: keys of all objects in it together.

    Raises:
        ConfigError: a bound that is no positive whole number.
    """

    def __init__(
        self, *, max_bytes: int | None = None, max_depth: int | None = None, max_keys: int | None = None
    ) -> None:
        for name, bound in (("max_bytes", max_bytes), ("max_depth", max_depth), ("max_keys", max_keys)):
            if bound is not None and (type(bound) is not int or bound < 1):
                raise ConfigError(f"Bounds {name}: must be a whole number from 1, not {bound!r}")
        self._max_bytes = max_bytes
        self._max_depth = max_depth
        self._max_keys = max_keys

    def before_append(self, record: ActivityRecord) -> ActivityRecord:
        """The same record.

        Raises:
            InvalidRecordError: naming the field and the bound (the chain hands it on inside a HookError).
        """
        self._check("metadata", record.metadata)
        if record.changes is not None:
            self._check("changes", record.changes)
        return record

    def _check(self, field: str, value: dict[str, Any]) -> None:
        depth, size = walk_size(value)
        if self._max_bytes is not None and size > self._max_bytes:
            raise InvalidRecordError(field, f"must be at most {self._max_bytes} bytes of JSON, not {size}")
        if self._max_depth is not None and depth > self._max_depth:
            raise InvalidRecordError(field, f"must be at most {self._max_depth} levels deep, not {depth}")
        if self._max_keys is not None and (keys := _count_keys(value)) > self._max_keys:
            raise InvalidRecordError(field, f"must have at most {self._max_keys} keys, not {keys}")


def _count_keys(value: Any) -> int:
    if isinstance(value, dict):
        return len(value) + sum(map(_count_keys, value.values()))
    if isinstance(value, list):
        return sum(map(_count_keys, value))
    return 0
