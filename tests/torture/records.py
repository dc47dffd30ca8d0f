"""The activities that the producers append: small and large, of now and of long ago, with ids of every kind."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from otel_audit import ActivityRecord, EntityRef

_ACTIONS = ("create", "edit", "approve", "delete", "share", "sign_in")


class RecordSource:
    """Makes records from a seed. `name` must differ between all sources of a run: text ids begin with it."""

    def __init__(self, rng: random.Random, name: str) -> None:
        self._rng, self._name, self._made = rng, name, 0

    def record(self) -> ActivityRecord:
        """The next one."""
        rng, self._made = self._rng, self._made + 1
        other: dict[str, Any] = {}
        if (kind := rng.random()) < 0.1:
            other["record_id"] = UUID(int=rng.getrandbits(128), version=4)
        elif kind < 0.2:
            other["record_id"] = f"{self._name}-{self._made}"
        if rng.random() < 0.05:
            other["occurred_at"] = datetime.now(UTC) - timedelta(days=rng.uniform(0, 400))
        return ActivityRecord.create(
            actor_id=f"actor-{rng.randrange(50)}",
            owner_id=f"owner-{rng.randrange(20)}",
            action=rng.choice(_ACTIONS),
            entity_ref=EntityRef("Task", rng.randrange(1_000)),
            metadata={"n": self._made, "note": "n" * self._size()},
            **other,
        )

    def records(self, most: int) -> list[ActivityRecord]:
        """One to so many."""
        return [self.record() for _ in range(self._rng.randint(1, most))]

    def _size(self) -> int:
        if self._rng.random() < 0.005:
            return self._rng.randint(10_000, 60_000)
        return self._rng.randint(0, 200)
