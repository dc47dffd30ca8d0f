"""A POST to /v1/logs up to its bytes: content type, encoding, bounded reading and inflating.

Room is reserved from the byte budget as the body comes in, and as it inflates. A body that is announced larger than the
room there is, is refused before it is read; one that comes too slowly is refused, or gives way to others.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from otel_audit.collector.admission import ByteBudget, Hold
from otel_audit.collector.answers import Dialect, Receive, Scope
from otel_audit.collector.inflate import ENCODINGS, inflate
from otel_audit.collector.pace import Pace
from otel_audit.errors import (
    MalformedRequestError,
    OverloadedError,
    RequestTooLargeError,
    UnsupportedMediaTypeError,
)

__all__ = ["ClientGone", "Head", "Incoming", "header_values", "parse_head", "peer_address", "read_body", "reserve"]


class ClientGone(Exception):
    """The client closed the connection before its request was complete."""


@dataclass(frozen=True, slots=True)
class Head:
    """What the headers say about the body.

    Attributes:
        media_type: lower case, without parameters.
        encoding: lower case; `identity` when none is given.
        length_bytes: declared; None without that header.
        transfer_coding: lower case; "" when none is given.
    """

    media_type: str
    encoding: str
    length_bytes: int | None
    transfer_coding: str = ""

    @property
    def has_body(self) -> bool:
        """Whether a body follows at all."""
        return bool(self.transfer_coding or self.length_bytes)

    @property
    def dialect(self) -> Dialect:
        """What a refusal should be written in."""
        if self.media_type == "application/x-protobuf":
            return Dialect.PROTOBUF
        return Dialect.OTLP_JSON if self.media_type == "application/json" else Dialect.PROBLEM

    @property
    def tells_length(self) -> bool:
        """Whether the head says where the body ends."""
        return bool(self.transfer_coding) or self.length_bytes is not None

    def check_served(self) -> None:
        """Whether the body can be read, and its end told from its middle.

        Raises:
            UnsupportedMediaTypeError: a content type or encoding that is not read here.
            MalformedRequestError: a length and a transfer coding, or one that is not understood.
        """
        if self.media_type != "application/x-protobuf":
            got = self.media_type or "none"
            raise UnsupportedMediaTypeError(f"content type application/x-protobuf is read here; this one is {got}")
        if self.encoding not in ENCODINGS:
            raise UnsupportedMediaTypeError(
                f"content encodings gzip, zstd, deflate and identity are read here; this one is {self.encoding}"
            )
        if self.transfer_coding not in {"", "chunked"} or (self.transfer_coding and self.length_bytes is not None):
            raise MalformedRequestError(
                f"the length of the body cannot be told from Content-Length {self.length_bytes} and "
                f"Transfer-Encoding {self.transfer_coding!r}"
            )


class Incoming:
    """The body as it comes in. `finished` once there is nothing more to read."""

    def __init__(self, head: Head, receive: Receive) -> None:
        self._receive = receive
        self.finished = not head.has_body

    async def next_piece(self) -> bytes | None:
        """The next bytes; None at the end. Raises ClientGone."""
        if self.finished:
            return None
        message = await self._receive()
        if message["type"] != "http.request":
            raise ClientGone
        self.finished = not message.get("more_body", False)
        piece: bytes = message.get("body", b"")
        return piece


def header_values(scope: Scope, name: bytes) -> list[bytes]:
    """All values of a header (name in lower case), in the order sent."""
    return [value for key, value in scope["headers"] if key == name]


def peer_address(scope: Scope) -> str:
    """The address at the other end of the connection; no header is believed."""
    client = scope.get("client")
    return str(client[0]) if client else ""


def parse_head(scope: Scope) -> Head:
    """Read the headers that say something about the body. Never raises."""
    media_types, encodings, codings, length = [], [], [], None
    for name, value in scope["headers"]:
        if name == b"content-type":
            media_types.append(value.decode("latin-1").partition(";")[0].strip().lower())
        elif name == b"content-encoding":
            encodings += [part.strip().lower() for part in value.decode("latin-1").split(",")]
        elif name == b"content-length":
            length = int(value)  # the server has parsed it already and answered 400 if it is no number
        elif name == b"transfer-encoding":
            codings.append(value.decode("latin-1").strip().lower() or "none")
    return Head(", ".join(media_types), ",".join(encodings) or "identity", length, ",".join(codings))


def reserve(budget: ByteBudget, head: Head, most_bytes: int) -> Hold:
    """A hold for a body that was not read yet, of which nothing is reserved but which would fit as it is declared.

    Raises:
        RequestTooLargeError, OverloadedError
    """
    length = head.length_bytes or 0
    if length > most_bytes:
        raise RequestTooLargeError(f"{length} bytes; at most {most_bytes} are taken")
    budget.make_room(length, asyncio.get_running_loop().time())
    hold = budget.hold(length)
    hold.resize(0)
    return hold


async def read_body(
    incoming: Incoming, head: Head, hold: Hold, budget: ByteBudget, *, most_bytes: int, timeout_s: float
) -> bytes:
    """The whole body, decoded. `hold` covers what is in memory at each moment and ends at the body's size.

    Args:
        timeout_s: how far it may fall behind the least rate.

    Raises:
        RequestTooLargeError: more than `most_bytes`, before or after decoding.
        MalformedRequestError: a damaged or truncated encoding.
        OverloadedError: no room, or the body came too slowly, or not as long as was declared.
        ClientGone: the client left.
    """
    pieces: list[bytes] = []
    size = 0
    clock = asyncio.get_running_loop().time
    pace = Pace(clock())
    try:
        async with asyncio.timeout(timeout_s) as limit:
            with budget.arriving(hold, pace, lambda: _expire(limit)):
                while (piece := await incoming.next_piece()) is not None:
                    size += len(piece)
                    if size > most_bytes:
                        raise RequestTooLargeError(f"more than {most_bytes} bytes")
                    _cover(hold, budget, size)
                    pieces.append(piece)
                    pace.came(len(piece), clock())
                    limit.reschedule(pace.due + timeout_s)
    except TimeoutError:
        why = "and others had no room" if hold.gave_way else f"and is {timeout_s:g} s behind the least rate"
        raise OverloadedError(f"the body came slowly, {why}") from None
    if head.length_bytes not in {None, size}:
        incoming.finished = False  # nobody knows what the next bytes are
        raise OverloadedError(f"{size} bytes of body came where {head.length_bytes} bytes were declared")
    body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
    if head.encoding != "identity":
        body = await _inflated(body, head.encoding, hold, budget, most_bytes)
    hold.resize(len(body))
    return body


def _expire(limit: asyncio.Timeout) -> None:
    if not limit.expired():
        limit.reschedule(0)


def _cover(hold: Hold, budget: ByteBudget, size_bytes: int) -> None:
    budget.make_room(size_bytes - hold.size_bytes, asyncio.get_running_loop().time())
    hold.cover(size_bytes)


async def _inflated(body: bytes, encoding: str, hold: Hold, budget: ByteBudget, most_bytes: int) -> bytes:
    pieces: list[bytes] = []
    size = 0
    for piece in inflate(encoding, body):
        size += len(piece)
        if size > most_bytes:
            raise RequestTooLargeError(f"more than {most_bytes} bytes after decompression")
        _cover(hold, budget, len(body) + size)
        if pieces:
            await asyncio.sleep(0)  # a big one must not keep the loop from the others
        pieces.append(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)
