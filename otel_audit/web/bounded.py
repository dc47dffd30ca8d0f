"""A read that ends when its client has gone, or has had its time: whatever it was doing, also in the storage."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response

from otel_audit.errors import ClosedError, ReadLimitError
from otel_audit.model.interrupts import ReadScope

__all__ = ["bounded"]

_AGAIN_S = 0.05


async def bounded(
    request: Request, read: Callable[[Request], Coroutine[Any, Any, Response]], limit_s: float | None
) -> Response:
    """What `read` answers.

    Raises:
        ReadLimitError: the time was up. None: it takes as long as it takes.
    """
    scope = ReadScope()
    with scope.entered():
        reading = asyncio.ensure_future(read(request))
    gone = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({reading, gone}, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
        if not reading.done():
            if gone.done():
                why: Exception = ClosedError("the client went away")
            else:
                why = ReadLimitError(f"the read took more than {limit_s:g} s and was ended")
            await _end(scope, reading, why)
        return reading.result()
    except asyncio.CancelledError:
        # The server stops. The thread that reads cannot be cancelled, only told to end, and is waited for.
        await _end(scope, reading, ClosedError("the server stops"))
        raise
    finally:
        gone.cancel()


async def _end(scope: ReadScope, reading: asyncio.Future[Response], why: Exception) -> None:
    while not reading.done():
        scope.end(why)
        await asyncio.wait({reading}, timeout=_AGAIN_S)


async def _gone(request: Request) -> None:
    """Returns when the client has gone. What comes after the end of the body can be nothing else (ASGI 2.4); a server
    that says something else there is not asked again."""
    whole = False
    while (message := await request.receive())["type"] != "http.disconnect":
        if whole:
            await asyncio.Event().wait()
        whole = not message.get("more_body", False)
