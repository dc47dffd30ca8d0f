"""A FastAPI application traced with OpenTelemetry, whose activities carry the trace ids of its spans.

Needs the extra `web`, uvicorn, and a collector (`otel-audit collector`). Run it, use it, look at it:

    uvicorn --factory examples.fastapi_app:build --port 8000
    curl -X POST localhost:8000/tasks -H 'x-user: alice' -H 'content-type: application/json' -d '{"title": "Buy milk"}'
    curl localhost:8000/v1/audit/owners/alice
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated
from uuid import UUID, uuid4

from fastapi import FastAPI, Header
from opentelemetry import propagate, trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from pydantic import BaseModel
from starlette.types import ASGIApp, Receive, Scope, Send

from otel_audit import ActivityLogRepo, ActivityRecord, EntityRef, OTelActivityLogRepo
from otel_audit.hooks import AmbientContext, CurrentTrace, activity_context
from otel_audit.web import create_router


class TracingMiddleware:
    """One server span a request, child of the caller's. With opentelemetry-instrumentation-fastapi, leave it out."""

    def __init__(self, app: ASGIApp, tracer: trace.Tracer) -> None:
        self._app = app
        self._tracer = tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        client = scope.get("client")
        with (
            self._tracer.start_as_current_span(
                f"{scope['method']} {scope['path']}",
                context=propagate.extract(headers),
                kind=trace.SpanKind.SERVER,
            ),
            # What every activity of this request shares; the AmbientContext hook adds it.
            activity_context(
                client_address=client[0] if client else None,
                user_agent=headers.get("user-agent") or None,
            ),
        ):
            await self._app(scope, receive, send)


class NewTask(BaseModel):
    title: str


class Task(NewTask):
    id: UUID
    owner: str


def create_app(log: ActivityLogRepo, tracer: trace.Tracer) -> FastAPI:
    """The application, over any log: a test gives it an `InMemoryActivityLogRepo`."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        # Delivers what is still queued; raises if it cannot, so that the server's log says so.
        await log.aclose()

    app = FastAPI(title="Tasks", lifespan=lifespan)
    tasks: dict[UUID, Task] = {}

    @app.post("/tasks", status_code=201)
    async def create_task(new: NewTask, x_user: Annotated[str, Header()]) -> Task:
        task = Task(id=uuid4(), owner=x_user, title=new.title)
        with tracer.start_as_current_span("store task"):
            tasks[task.id] = task
            # Within the span, so this is the span that the record names.
            await log.aappend(
                ActivityRecord.create(
                    actor_id=x_user,
                    owner_id=task.owner,
                    action="create_task",
                    entity_ref=EntityRef("Task", task.id),
                    metadata={"title": task.title},
                )
            )
        return task

    # The log can be read under /v1/audit. An application decides here who may: dependencies=[Depends(...)].
    app.include_router(create_router(log))
    app.add_middleware(TracingMiddleware, tracer=tracer)
    return app


def build() -> FastAPI:
    """The application as it runs: its spans' resource is its activities' resource as well."""
    trace.set_tracer_provider(TracerProvider(resource=Resource.create({"service.name": "tasks"})))
    log = OTelActivityLogRepo(hooks=[CurrentTrace(), AmbientContext()])
    return create_app(log, trace.get_tracer("tasks"))
