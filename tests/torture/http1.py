"""As much of HTTP/1.1 as a proxy needs that wants to break it: whole messages with a declared length, in raw bytes."""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from dataclasses import dataclass

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CONNECTION = re.compile(rb"\r\nconnection: *[^\r]*", re.IGNORECASE)
_MOST_HEAD_BYTES = 64 << 10

SOON_S = 10.0
"""How long anything may take that a peer has to do; a stopped process must not hold the bed up."""


@dataclass(frozen=True, slots=True)
class Message:
    """A request or an answer: the head with its closing blank line, and the body."""

    head: bytes
    body: bytes

    @property
    def raw(self) -> bytes:
        """As it goes over the wire."""
        return self.head + self.body

    @property
    def method(self) -> bytes:
        """Of a request."""
        return self.head.split(b" ", 1)[0]

    @property
    def status(self) -> int:
        """Of an answer."""
        return int(self.head.split(b" ", 2)[1])

    def header(self, name: bytes) -> bytes | None:
        """The value of a header, or None."""
        found = re.search(rb"\r\n" + re.escape(name) + rb": *([^\r]*)", self.head, re.IGNORECASE)
        return found[1] if found else None

    def closing(self) -> Message:
        """The same message, the last one of its connection."""
        head = _CONNECTION.sub(b"", self.head)
        return Message(head[:-2] + b"connection: close\r\n\r\n", self.body)

    def with_body(self, body: bytes) -> Message:
        """The same head (of a body as long)."""
        return Message(self.head, body)


def answer(status: int, reason: str, *headers: tuple[str, str], body: bytes = b"") -> Message:
    """An answer of our own."""
    lines = [f"HTTP/1.1 {status} {reason}", f"content-length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers]
    return Message("\r\n".join([*lines, "", ""]).encode(), body)


async def read_head(reader: asyncio.StreamReader) -> bytes | None:
    """The next head on a connection; None at its end, or where something else than a head comes."""
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
        return None


def length_of(head: bytes) -> int:
    """Bytes of the body that follows."""
    found = _LENGTH.search(head)
    return int(found[1]) if found else 0


async def exchange(port: int, request: Message, *, keep: bool = False) -> Message:
    """Send a whole request over a connection of its own and read the whole answer.

    Raises:
        OSError, EOFError, TimeoutError: nobody answers there, or not to the end.
    """
    async with asyncio.timeout(SOON_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(request.raw if keep else request.closing().raw)
            await writer.drain()
            head = await reader.readuntil(b"\r\n\r\n")
            return Message(_CONNECTION.sub(b"", head), await reader.readexactly(length_of(head)))
        finally:
            writer.close()


async def send_part(port: int, request: Message, size: int) -> None:
    """Send the first bytes of a request and vanish, without a word."""
    async with asyncio.timeout(SOON_S):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request.raw[:size])
        await writer.drain()
        reset(writer)


def reset(writer: asyncio.StreamWriter) -> None:
    """End a connection with a reset, as a peer does that died or a firewall that lost patience."""
    connection = writer.get_extra_info("socket")
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
