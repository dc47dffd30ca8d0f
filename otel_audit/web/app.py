"""The whole of HTTP reading as one ASGI application: what the collector serves and a Starlette application mounts."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException

from otel_audit.model.problem_json import PROBLEM_MEDIA_TYPE
from otel_audit.ports import ActivityLogReader, FolderInspector
from otel_audit.web.examples import PREFIX
from otel_audit.web.problems import http_problem, unknown_path
from otel_audit.web.routes import create_router, documented_answers
from otel_audit.web.schemas import Problem

__all__ = ["create_app"]

_DESCRIPTION = """\
Reads of an append-only activity log: who did what to whose data.

Every error is a problem (RFC 9457), also 404 for an unknown path and 405 for another method than GET or HEAD. Unknown
and repeated parameters are errors. Each example's summary is the request that gives it."""


def create_app(
    reader: ActivityLogReader, *, time_limit_s: float | None = None, folder: FolderInspector | None = None
) -> FastAPI:
    """An application that answers /v1/audit/... from `reader`, and its OpenAPI document at /v1/audit/openapi.json.

    Args:
        time_limit_s: how long one read may take; it is ended then, as it is when its client goes away.
        folder: tells what the data folder holds; without it /status and /quarantine answer 404.

    Call it with full paths, or mount it at "/" or below a prefix. It has no start-up or shutdown, and does not close
    the reader. There is no authentication here: who may ask is decided by what stands before it.
    """
    app = _AuditApp(
        title="otel-audit",
        version="1",
        description=_DESCRIPTION,
        openapi_url=f"{PREFIX}/openapi.json",
        docs_url=None,
        redoc_url=None,
    )
    app.include_router(create_router(reader, time_limit_s=time_limit_s, folder=folder))
    app.add_exception_handler(HTTPException, _http_error)
    return app


class _AuditApp(FastAPI):
    def openapi(self) -> dict[str, Any]:
        """The framework's document, with one schema for all problems instead of a copy in each answer, and with the
        nulls in the examples that the framework leaves out."""
        if self.openapi_schema is None:
            document = super().openapi()
            document["components"]["schemas"]["Problem"] = Problem.model_json_schema()
            for path in document["paths"].values():
                operation = path["get"]
                for status, answered in documented_answers(operation["operationId"]).items():
                    for media_type, content in answered["content"].items():
                        written = operation["responses"][str(status)]["content"][media_type]
                        if "examples" in content:
                            written["examples"] = content["examples"]
                        if media_type == PROBLEM_MEDIA_TYPE:
                            written["schema"] = {"$ref": "#/components/schemas/Problem"}
        assert self.openapi_schema is not None
        return self.openapi_schema


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        return unknown_path(request.scope["path"])
    return http_problem(error.status_code, str(error.detail), "Use GET.", error.headers)
