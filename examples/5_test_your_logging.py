"""Test that a use case logs what it should, with the in-memory log.

Run: python examples/5_test_your_logging.py, or pytest examples/5_test_your_logging.py
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from uuid import UUID, uuid4

from otel_audit import ActivityLogRepo, ActivityRecord, EntityRef, InMemoryActivityLogRepo


@dataclass
class CreateTaskInput:
    title: str


@dataclass
class Task:
    id: UUID
    owner_id: UUID
    title: str


class TaskRepository:
    async def add(self, task: Task) -> None:
        """A fake: nothing to keep."""


class CreateTaskUseCase:
    def __init__(self, repo: TaskRepository, log: ActivityLogRepo) -> None:
        self._repo = repo
        self._log = log

    async def execute(self, actor_id: UUID, input: CreateTaskInput) -> Task:
        task = Task(uuid4(), actor_id, input.title)
        await self._repo.add(task)
        self._log.append(
            ActivityRecord.create(
                actor_id=actor_id,
                owner_id=task.owner_id,
                action="create_task",
                entity_ref=EntityRef("Task", task.id),
                metadata={"title": task.title},
            )
        )
        return task


repo = TaskRepository()
actor_id = uuid4()


def test_task_creation_logs_activity():
    log = InMemoryActivityLogRepo()
    use_case = CreateTaskUseCase(repo=repo, log=log)
    task = use_case.execute(actor_id, CreateTaskInput(title="Test"))
    # The line above forgets an `await`: `execute` is a coroutine function, so nothing has run yet and nothing is
    # logged. An async test would say `task = await use_case.execute(...)`; this plain one runs the coroutine.
    task = asyncio.run(task)
    assert task.title == "Test"

    # Verify activity was logged
    assert len(log.records) == 1
    record = log.records[0]
    assert record.action == "create_task"
    assert record.entity_ref.entity_type == "Task"
    assert record.actor_id == actor_id

    # Or query by action type
    creates = log.get_by_action("create_task")
    assert len(creates) == 1


if __name__ == "__main__":
    test_task_creation_logs_activity()
    print("logged as it should be")
