"""A feed of what happened to one user's data, whoever did it.

Run: python examples/3_owner_feed.py
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from uuid import UUID, uuid4

from otel_audit import ActivityRecord, EntityRef, InMemoryActivityLogRepo


def filled_log(user_id: UUID) -> InMemoryActivityLogRepo:
    """Two activities on the user's data, and one on somebody else's."""
    log = InMemoryActivityLogRepo()
    happened = [
        (9, user_id, user_id, "create_task", {"title": "Buy milk"}),
        (10, "support-bot", user_id, "update_task", {"title": "Buy oat milk"}),
        (11, user_id, "user-456", "comment_task", {"text": "Done?"}),
    ]
    for hour, actor_id, owner_id, action, metadata in happened:
        log.append(
            ActivityRecord.create(
                actor_id=actor_id,
                owner_id=owner_id,
                action=action,
                entity_ref=EntityRef("Task", 42),
                metadata=metadata,
                occurred_at=datetime(2024, 1, 15, hour, tzinfo=UTC),
            )
        )
    return log


def main() -> None:
    user_id = uuid4()
    activity_log = filled_log(user_id)

    # Get activities for data owned by a user
    activities = activity_log.get_by_owner(user_id, limit=50)

    # Format for UI
    feed = [
        {
            "action": r.action,
            "entity": f"{r.entity_ref.entity_type}#{r.entity_ref.entity_id}",
            "actor": str(r.actor_id),
            "when": r.occurred_at.isoformat(),
            "details": r.metadata,
        }
        for r in activities
    ]

    print(json.dumps(feed, indent=2))


if __name__ == "__main__":
    main()
