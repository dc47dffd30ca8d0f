"""Fixtures of the contract suite: an open repo of each kind, and records of this test's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from otel_audit import ActivityLogRepo, ActivityRecord, EntityRef, Filter
from tests.contract.factories import BACKENDS, OpenRepo

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


# What is special in it, reading beside a collector that writes, the reader's and the repo's own tests look at too.
_SLOW = {"otel-folder"}


@pytest.fixture(
    scope="session",
    params=[pytest.param(name, marks=pytest.mark.slow) if name in _SLOW else name for name in BACKENDS],
)
def backend(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenRepo]:
    with BACKENDS[request.param](tmp_path_factory.mktemp(request.param)) as open_repo:
        yield open_repo


@pytest.fixture
def open_repo(backend: OpenRepo) -> Iterator[OpenRepo]:
    """Opens repos and closes them after the test."""
    opened: list[ActivityLogRepo] = []

    def open_one(**options: Any) -> ActivityLogRepo:
        opened.append(backend(**options))
        return opened[-1]

    yield open_one
    for repo in opened:
        repo.close()


@pytest.fixture
def log(open_repo: OpenRepo) -> ActivityLogRepo:
    return open_repo()


@pytest.fixture
def mine() -> Filter:
    """Selects the records that `make` gives, for other tests may have written to the same log."""
    return Filter(tenant_id=uuid4())


@pytest.fixture
def make(mine: Filter) -> Callable[..., ActivityRecord]:
    """Makes a record of this test's tenant; `minute` sets its time relative to START."""
    defaults = {
        "actor_id": uuid4(),
        "owner_id": uuid4(),
        "action": "create_task",
        "entity_ref": EntityRef("Task", uuid4()),
    }

    def make_one(minute: float = 0, **fields: Any) -> ActivityRecord:
        values = {"occurred_at": START + timedelta(minutes=minute), "tenant_id": mine.tenant_id} | defaults | fields
        return ActivityRecord.create(**values)

    return make_one
