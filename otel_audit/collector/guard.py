"""Our own faults where the server library would blame somebody else, or answer what no client repeats.

Whatever fails on our side (memory above all) must end in "later": a 500 or a 400 makes a sender throw its records away.
What is said here is made beforehand, because there may be no memory left to make it with.
"""

from __future__ import annotations

import sys

import httptools

from otel_audit.collector.answers import Answer, ASGIApp, Dialect, Message, Receive, Scope, Send, refusal, send_answer

__all__ = ["LATER", "Guard", "is_our_fault"]

_RETRY = (b"retry-after", b"1")
_ANSWER: Answer = refusal(503, "internal fault; nothing was acknowledged", Dialect.PROTOBUF, (_RETRY,))
LATER = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
"""A whole answer, for where no request has been made of the bytes yet."""


def is_our_fault() -> bool:
    """Whether the error being handled, which the library takes for a malformed request, came from one of our own calls
    back: then it is malformed only if that is what the call says."""
    error = sys.exc_info()[1]
    if not isinstance(error, httptools.HttpParserCallbackError):
        return False
    return not isinstance(error.__context__, httptools.HttpParserError | ValueError)


class Guard:
    """An application that answers 503 where the one inside fails without an answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As the application inside."""
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception:
            if started:
                raise  # the server closes the connection, so that nobody takes half an answer for a whole one
            await send_answer(_ANSWER, send, receive)
