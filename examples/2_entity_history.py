"""The history of one thing: the newest ten activities, oldest first.

Run: python examples/2_entity_history.py
"""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID, uuid4

from otel_audit import ActivityRecord, EntityRef, InMemoryActivityLogRepo


def filled_log(task_id: UUID) -> InMemoryActivityLogRepo:
    """Three things that happened to a task on one day."""
    log = InMemoryActivityLogRepo()
    day = [
        (10, 30, "create_task", "user-123"),
        (11, 0, "update_task", "user-123"),
        (14, 22, "complete_task", "user-456"),
    ]
    for hour, minute, action, actor_id in day:
        log.append(
            ActivityRecord.create(
                actor_id=actor_id,
                owner_id="user-123",
                action=action,
                entity_ref=EntityRef("Task", task_id),
                occurred_at=datetime(2024, 1, 15, hour, minute, tzinfo=UTC),
            )
        )
    return log


def main() -> None:
    task_id = uuid4()
    activity_log = filled_log(task_id)

    # Get last 10 activities for a task
    entity = EntityRef("Task", task_id)
    history = activity_log.get_by_entity(entity, limit=10)
    for record in history:
        print(f"{record.occurred_at}: {record.action} by {record.actor_id}")
    # 2024-01-15 10:30: create_task by user-123
    # 2024-01-15 11:00: update_task by user-123
    # 2024-01-15 14:22: complete_task by user-456


if __name__ == "__main__":
    main()
