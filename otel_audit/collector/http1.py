"""HTTP/1.1 as it comes in: one request after the other, each with the body that its head declares.

The library underneath parses whatever has arrived at once, and stops at a request to upgrade. Here:
- Upgrade is ignored (RFC 9110, 7.8): such a request is parsed once more without that header. The parser would give it
  an empty body, and take its real one for the next request;
- a request is parsed when the one before it has been answered. Until then its bytes wait as bytes, of which the kernel
  and the read buffer hold a bounded number; as parsed requests they would take a hundred times their size;
- a head, and what stands between two pieces of a body or behind the last (chunk extensions, trailers), is bounded;
  trailers are thrown away.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

__all__ = ["RequestStream"]

_PIECE_BYTES = 4 << 10
"""Parsed at once where a request may end: a few hundred of the smallest."""
_OVERHEAD_BYTES = 64 << 10
_END_OF_HEAD = b"\r\n\r\n"
_NOT_HTTP = (
    (b"PRI * HTTP/2", "http2", "this port speaks HTTP/1.1 and no gRPC: set OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf"),
    (b"\x16\x03", "tls", "this port speaks no TLS: the endpoint begins with http://, not https://"),
    (b"", "no_http", "no HTTP/1.1 request"),
)
"""How the first bytes of a connection begin, the reason under which it is refused, and what is to be done."""
_FIRST_BYTES = 12


class RequestStream(HttpToolsProtocol):  # type: ignore[misc]
    """The requests of one connection.

    Attributes:
        in_head: a head has begun and not ended.
        in_body: a head has ended and its body has not.
    """

    def __init__(self, closed: Callable[[str], object], config: Any, server_state: Any, app_state: Any) -> None:
        super().__init__(config=config, server_state=server_state, app_state=app_state)
        self._closed = closed
        self.in_head = self.in_body = False
        self._unparsed = self._first = b""
        self._overhead_bytes = 0
        self._body_left: int | None = None
        self._upgrading = False

    @property
    def _answering(self) -> bool:
        """A request is complete and its answer is not."""
        cycle = self.cycle
        return cycle is not None and not (cycle.response_complete or cycle.more_body)

    def data_received(self, data: bytes) -> None:
        """Parse it, as far as it is its turn."""
        self._unparsed = self._unparsed + data if self._unparsed else data
        if len(self._first) < _FIRST_BYTES:
            self._first = (self._first + data)[:_FIRST_BYTES]
        self._parse()

    def on_response_complete(self) -> None:
        """The next request's turn, if it is here already."""
        super().on_response_complete()
        if self._unparsed:
            self.loop.call_soon(self._parse)

    def _parse(self) -> None:
        if self.parser is None:
            return  # the connection is lost
        self._unset_keepalive_if_required()
        data, at = self._unparsed, 0
        view = memoryview(data)
        while at < len(data) and not self._answering and not self.transport.is_closing():
            at += self._parse_piece(view[at : at + self._piece_bytes(data, at)])
        self._unparsed = data[at:]
        if self._unparsed:
            self.flow.pause_reading()

    def _piece_bytes(self, data: bytes, at: int) -> int:
        """How much can be parsed at once: to the end of a head, or of a body whose length is known."""
        if self.in_body:
            return self._body_left or _PIECE_BYTES
        end = data.find(_END_OF_HEAD, at, at + _PIECE_BYTES)
        return _PIECE_BYTES if end < 0 else end + len(_END_OF_HEAD) - at

    def _parse_piece(self, piece: memoryview) -> int:
        """Parse it, and say how much of it was parsed."""
        self._overhead_bytes += len(piece)
        parsed = len(piece)
        try:
            try:
                self.parser.feed_data(piece)
            except httptools.HttpParserUpgrade as upgrade:
                parsed = upgrade.args[0]
                self._parse_without_upgrade()
        except httptools.HttpParserError:
            self.refuse_malformed(*self._what_it_is())
        else:
            if self._overhead_bytes > _OVERHEAD_BYTES and not self.transport.is_closing():
                self._closed("large_head" if self.in_head else "large_trailer")
                self.send_400_response("A request's head or trailer is too large.")
        return parsed

    def _parse_without_upgrade(self) -> None:
        """Begin anew with the head that is complete; its body is still to be parsed."""
        self._upgrading = False
        method = self.parser.get_method()
        if method == b"CONNECT":
            self.refuse_malformed("method", "CONNECT is not served here")
            return
        lines = [b"%b %b HTTP/%b" % (method, self.url, self.parser.get_http_version().encode())]
        lines += [b"%b: %b" % header for header in self.headers if header[0] != b"upgrade"]
        self.parser: Any = httptools.HttpRequestParser(self)
        self.parser.feed_data(b"\r\n".join(lines) + _END_OF_HEAD)

    def _what_it_is(self) -> tuple[str, str]:
        return next((reason, why) for first, reason, why in _NOT_HTTP if self._first.startswith(first))

    def refuse_malformed(self, _reason: str, why: str) -> None:
        """Answer that this is no request, and close."""
        self.send_400_response(why)

    def on_message_begin(self) -> None:
        """The first byte of a head is there."""
        super().on_message_begin()
        self.in_head, self._overhead_bytes = True, 0

    def on_header(self, name: bytes, value: bytes) -> None:
        """As the library; behind a body come trailers, which nobody asks for."""
        if self.in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is complete. (One that asks for an upgrade comes a second time, without.)"""
        self.in_head, self._overhead_bytes = False, 0
        self._upgrading = self.parser.should_upgrade()
        if self._upgrading:
            return
        lengths = [value for name, value in self.headers if name == b"content-length"]
        self.in_body, self._body_left = True, int(lengths[0]) if lengths else None
        self.begin_request()

    def begin_request(self) -> None:
        """Hand it to the application."""
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of a body."""
        self._overhead_bytes = 0
        if self._body_left is not None:
            self._body_left -= len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The body, if there is one, is complete."""
        if not self._upgrading:
            self.in_body = False
            super().on_message_complete()
