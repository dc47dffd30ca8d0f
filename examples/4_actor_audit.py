"""Everything one user did, counted by action.

Run: python examples/4_actor_audit.py
"""

# ruff: noqa: ERA001 - the comment that looks like code is the output

from __future__ import annotations

from uuid import UUID, uuid4

from otel_audit import ActivityRecord, EntityRef, InMemoryActivityLogRepo


def filled_log(actor_id: UUID) -> InMemoryActivityLogRepo:
    """80 activities of the actor, and one of somebody else."""
    log = InMemoryActivityLogRepo()
    for action, times in (("create_task", 45), ("complete_task", 32), ("delete_task", 3)):
        log.append_many(
            ActivityRecord.create(
                actor_id=actor_id, owner_id="user-456", action=action, entity_ref=EntityRef("Task", number)
            )
            for number in range(times)
        )
    log.append(
        ActivityRecord.create(
            actor_id="user-456", owner_id="user-456", action="delete_task", entity_ref=EntityRef("Task", 45)
        )
    )
    return log


def main() -> None:
    actor_id = uuid4()
    activity_log = filled_log(actor_id)

    # Get all activities by an actor (for audit)
    user_actions = activity_log.get_by_actor(actor_id)

    # Group by action type
    from collections import Counter

    action_counts = Counter(r.action for r in user_actions)
    # Counter({'create_task': 45, 'complete_task': 32, 'delete_task': 3})

    print(action_counts)


if __name__ == "__main__":
    main()
