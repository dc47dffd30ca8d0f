"""Record an action after it succeeded: the use case appends to the log it was given.

Run: python examples/1_record_after_success.py
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

    @classmethod
    def create(cls, owner_id: UUID, title: str) -> Task:
        return cls(uuid4(), owner_id, title)


class TaskRepository:
    def __init__(self) -> None:
        self.tasks: list[Task] = []

    async def add(self, task: Task) -> None:
        self.tasks.append(task)


class CreateTaskUseCase:
    def __init__(self, repo: TaskRepository, log: ActivityLogRepo) -> None:
        self._repo = repo
        self._log = log

    async def execute(self, actor_id: UUID, input: CreateTaskInput) -> Task:
        task = Task.create(owner_id=actor_id, title=input.title)
        await self._repo.add(task)

        # Log the activity
        self._log.append(ActivityRecord.create(
            actor_id=actor_id,
            owner_id=task.owner_id,
            action="create_task",
            entity_ref=EntityRef("Task", task.id),
            metadata={"title": task.title},
        ))  # fmt: skip
        return task


def main() -> None:
    log = InMemoryActivityLogRepo()
    use_case = CreateTaskUseCase(repo=TaskRepository(), log=log)
    task = asyncio.run(use_case.execute(uuid4(), CreateTaskInput(title="Buy milk")))
    for record in log.get_by_entity(EntityRef("Task", task.id)):
        print(record.action, record.metadata)


if __name__ == "__main__":
    main()
