"""How an answer is made and sent: the one table of our errors -> HTTP status, and the three shapes of a refusal.

The rules (OTLP 1.11, "OTLP/HTTP response"):
- success is 200 with an empty ExportLogsServiceResponse; `partial_success` is never set, and what became of the
  records stands in a header of ours;
- a refusal carries a `google.rpc.Status` in the request's own encoding; where no OTLP is spoken, a problem+json;
- a client resends on 429, 502, 503 and 504 only, and throws its batch away on everything else. So only a peer's bytes
  (and routing) can earn a 4xx; every fault that is ours is 503 with `Retry-After: 1`, never 500.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, replace
from enum import Enum
from http import HTTPStatus
from typing import Any

from otel_audit.errors import (
    MalformedRequestError,
    OtelAuditError,
    OverloadedError,
    PeerBytesError,
    QueryError,
    RecordError,
    RequestTooLargeError,
    StorageError,
    UnsupportedMediaTypeError,
)
from otel_audit.log.engine import Committed
from otel_audit.otlp.names import ROWS_HEADER
from otel_audit.otlp.row_runs import RowRuns, format_row_runs

__all__ = [
    "CLOSE",
    "PROTOBUF",
    "ASGIApp",
    "Answer",
    "Dialect",
    "Receive",
    "Scope",
    "Send",
    "answer_for",
    "format_status",
    "json_answer",
    "reason_for",
    "refusal",
    "send_answer",
    "success",
]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

PROTOBUF = b"application/x-protobuf"
_ROWS_HEADER = ROWS_HEADER.encode()
CLOSE = (b"connection", b"close")
_LINGER_S = 2.0
_LINGER_BYTES = 256 << 20


class Dialect(Enum):
    """What a client reads a refusal in."""

    PROTOBUF = "a google.rpc.Status message"
    OTLP_JSON = "the same as JSON"
    PROBLEM = "problem+json (RFC 9457)"


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer."""

    status: int
    body: bytes
    content_type: bytes
    headers: tuple[tuple[bytes, bytes], ...] = ()


_SUCCESS = Answer(200, b"", PROTOBUF)
"""An empty ExportLogsServiceResponse is no bytes at all."""

_REASONS: tuple[tuple[type[OtelAuditError], str], ...] = (
    (MalformedRequestError, "malformed"),
    (UnsupportedMediaTypeError, "media_type"),
    (RequestTooLargeError, "too_large"),
    (OverloadedError, "overloaded"),
    (StorageError, "storage"),
)
_GRPC_CODES = {400: 3, 403: 7, 404: 5, 405: 12, 411: 3, 413: 8, 415: 3, 503: 14}


def success(committed: Committed | None) -> Answer:
    """The answer to a request that is durable, with what became of each record where that can be told."""
    told = format_row_runs(RowRuns(committed.first, committed.runs)) if committed is not None else None
    return _SUCCESS if told is None else replace(_SUCCESS, headers=((_ROWS_HEADER, told.encode()),))


def reason_for(error: BaseException) -> str:
    """The `reason` under which a refusal is counted."""
    return next((reason for kind, reason in _REASONS if isinstance(error, kind)), "internal")


def answer_for(error: BaseException, dialect: Dialect) -> Answer:
    """The answer to a request that ended with this error."""
    if isinstance(error, PeerBytesError | QueryError | RecordError):
        headers: tuple[tuple[bytes, bytes], ...] = ()
        if isinstance(error, UnsupportedMediaTypeError):
            headers = ((b"accept", PROTOBUF), (b"accept-encoding", b"gzip, zstd, deflate, identity"))
        return refusal(error.http_status, str(error), dialect, headers)
    known = isinstance(error, OtelAuditError)
    # The text of an unforeseen exception may hold anything, so it goes to our log and not to the peer.
    message = str(error) if known else "internal fault; nothing was acknowledged"
    return refusal(503, message, dialect, ((b"retry-after", b"1"),))


def refusal(status: int, message: str, dialect: Dialect, headers: tuple[tuple[bytes, bytes], ...] = ()) -> Answer:
    """A refusal in the client's own dialect."""
    code = _GRPC_CODES.get(status, 2)
    if dialect is Dialect.PROTOBUF:
        return Answer(status, format_status(code, message), PROTOBUF, headers)
    if dialect is Dialect.OTLP_JSON:
        return _json(status, {"code": code, "message": message}, b"application/json", headers)
    problem = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": message}
    return _json(status, problem, b"application/problem+json", headers)


def json_answer(status: int, content: dict[str, Any]) -> Answer:
    """A plain JSON answer."""
    return _json(status, content, b"application/json", ())


def _json(status: int, content: dict[str, Any], kind: bytes, headers: tuple[tuple[bytes, bytes], ...]) -> Answer:
    return Answer(status, json.dumps(content).encode() + b"\n", kind, headers)


def format_status(code: int, message: str) -> bytes:
    """A serialized google.rpc.Status: field 1 the code (below 128), field 2 the message."""
    text = message.encode("utf-8", "replace")
    length, size = bytearray(), len(text)
    while size > 0x7F:
        length.append(size & 0x7F | 0x80)
        size >>= 7
    length.append(size)
    return bytes((0x08, code, 0x12)) + bytes(length) + text


async def send_answer(answer: Answer, send: Send, unread: Receive | None = None) -> None:
    """Send an answer, and end the request.

    Args:
        unread: given when the client may still be sending its body. Closing a socket with bytes unread resets the
            connection, and the client may then never see the answer; so the rest is read and thrown away for a
            moment, within bounds, before the connection is closed.
    """
    headers = [
        (b"content-type", answer.content_type),
        (b"content-length", str(len(answer.body)).encode()),
        *answer.headers,
    ]
    if unread is not None and CLOSE not in headers:
        headers.append(CLOSE)
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    if unread is None:
        await send({"type": "http.response.body", "body": answer.body, "more_body": False})
        return
    await send({"type": "http.response.body", "body": answer.body, "more_body": True})
    left = _LINGER_BYTES
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_LINGER_S):
            while left > 0:
                message = await unread()
                if message["type"] != "http.request" or not message.get("more_body", False):
                    break
                left -= len(message.get("body", b""))
    await send({"type": "http.response.body", "body": b"", "more_body": False})
