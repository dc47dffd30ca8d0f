"""The edge of a request in an ASGI application, for `activity_context` in parts that run in worker threads."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from otel_audit.hooks.ambient import shared_context

__all__ = ["ActivityContextMiddleware"]

_Scope = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
_Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class ActivityContextMiddleware:
    """Makes `activity_context` in a synchronous FastAPI dependency hold for the whole request.

    `app.add_middleware(ActivityContextMiddleware)`. Asynchronous dependencies and middleware need none.
    """

    def __init__(self, app: Callable[[_Scope, _Receive, _Send], Awaitable[None]]) -> None:
        self._app = app

    async def __call__(self, scope: _Scope, receive: _Receive, send: _Send) -> None:
        """One request."""
        with shared_context():
            await self._app(scope, receive, send)
