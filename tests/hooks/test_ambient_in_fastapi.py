"""The ambient context in FastAPI's dependencies: one that yields may run in other threads than the route."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated

import pytest
import requests
from fastapi import Depends, FastAPI, Header
from fastapi.testclient import TestClient

from otel_audit import ActivityRecord, EntityRef, InMemoryActivityLogRepo
from otel_audit.hooks import ActivityContextMiddleware, AmbientContext, activity_context, current_actor
from otel_audit.hooks.ambient import _current
from tests.web.serving import serving

REQUESTS = 40


def sync_user(user: Annotated[str, Header()]) -> Iterator[None]:
    with activity_context(actor_id=user, tenant_id="t"):
        yield


async def async_user(user: Annotated[str, Header()]) -> AsyncIterator[None]:
    with activity_context(actor_id=user, tenant_id="t"):
        yield


def sync_request(user: Annotated[str, Header()]) -> Iterator[None]:
    with activity_context(request_id=f"r-{user}"):
        yield


@pytest.fixture(params=[sync_user, async_user])
def user(request: pytest.FixtureRequest) -> object:
    return request.param


def append(log: InMemoryActivityLogRepo) -> None:
    log.append(ActivityRecord.create(actor_id=current_actor(), owner_id="o", action="a", entity_ref=EntityRef("T", 1)))


def test_each_request_has_the_context_of_its_own_dependencies(user: object) -> None:
    """Sync and async dependencies and routes, nested, and many requests at once over few threads."""
    log = InMemoryActivityLogRepo(hooks=[AmbientContext()])
    app = FastAPI()
    app.add_middleware(ActivityContextMiddleware)
    left_over: list[object] = []

    @app.get("/sync", dependencies=[Depends(user), Depends(sync_request)])
    def sync_route() -> None:
        with activity_context(session_id="inner"):
            append(log)
        append(log)

    @app.get("/async", dependencies=[Depends(user), Depends(sync_request)])
    async def async_route() -> None:
        append(log)

    @app.get("/without")
    def without() -> None:
        left_over.extend(_current().values)

    with serving(app) as url, ThreadPoolExecutor(8) as pool:

        def ask(number: int) -> int:
            path = ("sync", "async")[number // 2 % 2]
            return requests.get(f"{url}/{path}", headers={"user": f"u{number}"}, timeout=30).status_code

        assert list(pool.map(ask, range(REQUESTS))) == [200] * REQUESTS
        assert requests.get(f"{url}/without", timeout=30).status_code == 200
    assert left_over == []
    found = [(r.actor_id, r.tenant_id, r.request_id, r.session_id) for r in log.records]
    expected = [(f"u{n}", "t", f"r-u{n}", None) for n in range(REQUESTS)]
    expected += [(f"u{n}", "t", f"r-u{n}", "inner") for n in range(REQUESTS) if n // 2 % 2 == 0]
    assert sorted(found, key=str) == sorted(expected, key=str)


def test_a_dependency_sees_an_error_of_its_route_as_it_is(user: object) -> None:
    app = FastAPI()
    app.add_middleware(ActivityContextMiddleware)

    @app.get("/", dependencies=[Depends(user)])
    def route() -> None:
        raise LookupError(current_actor())

    with serving(app) as url:
        assert requests.get(url, headers={"user": "u"}, timeout=30).status_code == 500


def test_a_synchronous_dependency_without_the_middleware_says_what_to_do() -> None:
    app = FastAPI()

    @app.get("/", dependencies=[Depends(sync_request)])
    def route() -> None:
        pass

    with (
        pytest.warns(RuntimeWarning, match="add otel_audit.hooks.ActivityContextMiddleware"),
        TestClient(app) as client,
    ):
        assert client.get("/", headers={"user": "u"}).status_code == 200


def test_tasks_of_one_request_do_not_see_each_others_contexts() -> None:
    log = InMemoryActivityLogRepo(hooks=[AmbientContext()])
    app = FastAPI()
    app.add_middleware(ActivityContextMiddleware)

    async def act(name: str) -> None:
        with activity_context(session_id=name):
            await asyncio.sleep(0)
            append(log)
            await asyncio.to_thread(append, log)

    @app.get("/", dependencies=[Depends(sync_user)])
    async def route() -> None:
        await asyncio.gather(*(act(f"s{n}") for n in range(5)))

    with TestClient(app) as client:
        assert client.get("/", headers={"user": "u"}).status_code == 200
    assert sorted(str(r.session_id) for r in log.records) == sorted([f"s{n}" for n in range(5)] * 2)
    assert {r.actor_id for r in log.records} == {"u"}
