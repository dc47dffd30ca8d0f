"""Pages as they are sent: piece by piece, so that a client that takes its time holds only what it has not got yet."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

from fastapi import Response
from starlette.types import Receive, Scope, Send

from otel_audit.model.pages import Page
from otel_audit.model.record_json import page_to_json, record_to_json
from otel_audit.web.problems import HEADERS, encoded

__all__ = ["page_answer"]

_PIECE_BYTES = 64 << 10


def page_answer(page: Page) -> Response:
    """The answer that holds a page."""
    return _Pieces(_joined(_parts(page)))


def _parts(page: Page) -> Iterator[bytes]:
    """A page's JSON; one record after the other, for as values they take many times the room of their text."""
    rest: dict[str, Any] = page_to_json(Page((), page.next_cursor, page.position))
    before, after = encoded(rest).split(b"[]", 1)
    yield before + b"["
    for at, record in enumerate(page.records):
        yield (b"," if at else b"") + encoded(record_to_json(record))
    yield b"]" + after


def _joined(parts: Iterable[bytes]) -> Iterator[bytes]:
    held = bytearray()
    for part in parts:
        held += part
        if len(held) >= _PIECE_BYTES:
            yield bytes(held)
            held.clear()
    yield bytes(held)


class _Pieces(Response):
    """Made whole, with its length told; each piece is forgotten when it is sent."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = deque(pieces)
        length = {"Content-Length": str(sum(map(len, self._pieces)))}
        super().__init__(None, 200, {**HEADERS, **length}, "application/json")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As any answer. The server waits in `send` while the client does not take what it was sent."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        while self._pieces:
            await send({"type": "http.response.body", "body": self._pieces.popleft(), "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
