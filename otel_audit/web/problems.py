"""Problem details (RFC 9457) for every error, also where only the router is included in someone else's application.

Such an application's exception handlers are its own; so the route class turns errors into answers itself.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine, Mapping
from http import HTTPStatus
from typing import Any, ClassVar

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.routing import Match
from starlette.types import Message, Receive, Scope, Send

from otel_audit.errors import OtelAuditError
from otel_audit.model.problem_json import PROBLEM_MEDIA_TYPE, problem_from_error
from otel_audit.web.bounded import bounded
from otel_audit.web.paths import one_line

__all__ = [
    "HEADERS",
    "AuditRoute",
    "ElsewhereRoute",
    "answer",
    "encoded",
    "error_answer",
    "http_problem",
    "unknown_path",
]

HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
_RETRY_AFTER_S = "1"


def answer(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """JSON as bytes, written straight from the values: integers keep all their digits."""
    return Response(encoded(value), status, {**HEADERS, **(headers or {})}, "application/json")


def error_answer(error: OtelAuditError) -> Response:
    """The problem of one of our errors, with `Retry-After` where the same request may succeed later."""
    problem = problem_from_error(error)
    retry = {"Retry-After": _RETRY_AFTER_S} if error.retryable else {}
    return Response(encoded(problem), problem["status"], {**HEADERS, **retry}, PROBLEM_MEDIA_TYPE)


def http_problem(status: int, detail: str, diagnostics: str, headers: Mapping[str, str] | None = None) -> Response:
    """A problem that has no type of its own (RFC 9457 §4.2.1)."""
    problem = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "diagnostics": diagnostics,
    }
    return Response(encoded(problem), status, {**HEADERS, **(headers or {})}, PROBLEM_MEDIA_TYPE)


def unknown_path(path: str) -> Response:
    """404 for a path that is none of ours."""
    return http_problem(404, f"there is nothing at {path[:256]}", "docs/http-api.md lists all routes.")


class AuditRoute(APIRoute):
    """A GET route that also answers HEAD, and whose every error is a problem.

    `time_limit_s`: how long one read may take; None: as long as it takes.
    """

    time_limit_s: ClassVar[float | None] = None

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """As any route, but a wrong method is a match too: it is answered here, not by a later route."""
        if scope["type"] != "http":
            return Match.NONE, {}
        match, child_scope = super().matches(one_line(scope))
        return (Match.FULL if match is Match.PARTIAL else match), child_scope

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer. An unexpected exception is answered with 500 and raised on, so that the server reports it."""
        method = scope["method"]
        if method not in ("GET", "HEAD"):
            refused = http_problem(405, f"{method} is not served here", "Use GET.", {"Allow": "GET, HEAD"})
            await refused(scope, receive, send)
            return
        sender = _Sender(send, with_body=method == "GET")
        scope["method"] = "GET"
        try:
            await super().handle(scope, receive, sender)
        except Exception:
            if not sender.started:
                await _internal_error()(scope, receive, sender)
            raise
        finally:
            scope["method"] = method

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The usual handler, with our errors made into answers, and a read that ends with its client or its time."""
        inner = super().get_route_handler()

        async def handler(request: Request) -> Response:
            try:
                return await bounded(request, inner, self.time_limit_s)
            except OtelAuditError as error:
                return error_answer(error)

        return handler


class ElsewhereRoute(AuditRoute):
    """Every path under the prefix that no other route has: 404, whatever the method."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 404."""
        await unknown_path(scope["path"])(scope, receive, _Sender(send, with_body=scope["method"] != "HEAD"))


class _Sender:
    """Passes messages on, leaves out the body of an answer to HEAD, and remembers whether an answer began."""

    __slots__ = ("_send", "_with_body", "started")

    def __init__(self, send: Send, *, with_body: bool) -> None:
        self._send = send
        self._with_body = with_body
        self.started = False

    async def __call__(self, message: Message) -> None:
        self.started = True
        if message["type"] == "http.response.body" and not self._with_body:
            message = {**message, "body": b""}
        await self._send(message)


def _internal_error() -> Response:
    return http_problem(500, "the request could not be answered", OtelAuditError.advice)


def encoded(value: Any) -> bytes:
    """A JSON value as bytes."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
