"""The routes inside someone else's application."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

import fastapi
import pytest
import requests
from starlette.applications import Starlette
from starlette.routing import Mount

from otel_audit.errors import ArchiveFaultError
from otel_audit.repos.memory import InMemoryActivityLogRepo
from otel_audit.web import create_app, create_router
from otel_audit.web.examples import EXAMPLE_RECORDS, FIRST, PREFIX
from tests.web.serving import serving


def filled() -> InMemoryActivityLogRepo:
    log = InMemoryActivityLogRepo()
    log.append_many(EXAMPLE_RECORDS)
    return log


def in_fastapi(log: InMemoryActivityLogRepo, prefix: str) -> Any:
    app = fastapi.FastAPI()
    app.include_router(create_router(log), prefix=prefix)
    return app


def in_nested_router(log: InMemoryActivityLogRepo, prefix: str) -> Any:
    app, router = fastapi.FastAPI(), fastapi.APIRouter()
    router.include_router(create_router(log))
    app.include_router(router, prefix=prefix)
    return app


def mounted_in_starlette(log: InMemoryActivityLogRepo, prefix: str) -> Any:
    return Starlette(routes=[Mount(prefix or "/", app=create_app(log))])


def mounted_in_fastapi(log: InMemoryActivityLogRepo, prefix: str) -> Any:
    app = fastapi.FastAPI()
    app.mount(prefix or "/", create_app(log))
    return app


def handed_over(log: InMemoryActivityLogRepo, prefix: str) -> Any:
    """As a server does that calls the application itself, with the full path."""
    inner = create_app(log)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["path"].startswith(f"{prefix}{PREFIX}")
        await inner({**scope, "root_path": prefix}, receive, send)

    return app


def without_raw_path(log: InMemoryActivityLogRepo, prefix: str) -> Any:
    """Under a server that leaves out the optional raw path."""
    inner = in_fastapi(log, prefix)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await inner({name: value for name, value in scope.items() if name != "raw_path"}, receive, send)

    return app


HOSTS = [in_fastapi, in_nested_router, mounted_in_starlette, mounted_in_fastapi, handed_over, without_raw_path]


@pytest.mark.parametrize("prefix", ["", "/gr%C3%B6%C3%9Fe/audit"])
@pytest.mark.parametrize("host", HOSTS)
def test_the_routes_answer_alike_wherever_they_are_put(
    host: Callable[[InMemoryActivityLogRepo, str], Any], prefix: str
) -> None:
    log = filled()
    with serving(host(log, unquote(prefix))) as at:
        base = f"{at}{prefix}{PREFIX}"

        def status_and_type(path: str, method: str = "GET") -> tuple[int, str]:
            answered = requests.request(method, base + path, timeout=10)
            return answered.status_code, answered.headers["content-type"]

        listed = requests.get(f"{base}/entities/Task/42?limit=3", timeout=10).json()["records"]
        assert len(listed) == 3
        one = requests.get(f"{base}/records/{FIRST.record_id}", timeout=10).json()
        assert one["metadata"] == FIRST.metadata
        assert status_and_type("/records?nope=1") == (400, "application/problem+json")
        assert status_and_type("/records/nope") == (404, "application/problem+json")
        assert status_and_type("/nope") == (404, "application/problem+json")
        assert status_and_type("/records", "POST") == (405, "application/problem+json")
        assert status_and_type("/count", "HEAD") == (200, "application/json")


def test_an_applications_own_routes_and_errors_stay_its_own() -> None:
    def refuse() -> None:
        raise fastapi.HTTPException(401, "who are you?")

    app = in_fastapi(filled(), "")
    app.include_router(create_router(filled()), prefix="/guarded", dependencies=[fastapi.Depends(refuse)])
    app.get("/own/{number}")(lambda number: {"n": int(number)})
    with serving(app) as at:
        assert requests.get(f"{at}/own/7", timeout=10).json() == {"n": 7}
        assert requests.get(f"{at}/own", timeout=10).json() == {"detail": "Not Found"}
        assert requests.get(f"{at}/guarded{PREFIX}/count", timeout=10).json() == {"detail": "who are you?"}
        assert requests.get(f"{at}{PREFIX}/count", timeout=10).json() == {"count": 3}


def test_the_routes_appear_in_the_applications_own_document() -> None:
    document = in_fastapi(filled(), "/x").openapi()
    assert document["paths"][f"/x{PREFIX}/records"]["get"]["operationId"] == "listRecords"
    assert "Record" in document["components"]["schemas"]


class Broken(InMemoryActivityLogRepo):
    """A log with a damaged archive and a bug."""

    def count(self, where: object = None) -> int:
        raise ArchiveFaultError("a range is missing: 10-19")

    def get_by_id(self, record_id: object) -> None:
        raise ZeroDivisionError("a bug")


@pytest.mark.parametrize("host", [in_fastapi, mounted_in_starlette])
def test_a_fault_of_ours_is_a_problem_and_a_bug_is_a_500_that_tells_nothing(
    host: Callable[[InMemoryActivityLogRepo, str], Any],
) -> None:
    with serving(host(Broken(), "")) as at:
        fault = requests.get(f"{at}{PREFIX}/count", timeout=10)
        assert (fault.status_code, fault.json()["detail"]) == (503, "a range is missing: 10-19")
        assert fault.json()["type"] == "urn:otel-audit:problem:archive-fault"
        assert "retry-after" not in fault.headers
        bug = requests.get(f"{at}{PREFIX}/records/x", timeout=10)
        assert (bug.status_code, bug.headers["content-type"]) == (500, "application/problem+json")
        assert "a bug" not in bug.text
