"""The repos that the contract suite runs against. A new one is one factory and one line in `BACKENDS`.

A factory is a context manager that takes an empty folder and gives a function `open_repo(hooks=())`. It is entered once
for all tests, so it may start a collector; every call gives a repo that is open. Tests keep apart by ids of their own,
so the repos may share one log or have one each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from otel_audit import ActivityLogRepo, InMemoryActivityLogRepo

OpenRepo = Callable[..., ActivityLogRepo]


@contextmanager
def memory(folder: Path) -> Iterator[OpenRepo]:
    """A log in this process's memory."""
    yield InMemoryActivityLogRepo


BACKENDS: dict[str, Callable[[Path], AbstractContextManager[OpenRepo]]] = {
    "memory": memory,
}
