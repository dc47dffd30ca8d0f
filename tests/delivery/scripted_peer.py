"""A real HTTP peer on loopback whose answers are scripted.

Requests of markers, which tell about a stream, are kept apart from requests of records: they use up no scripted answer.
"""

from __future__ import annotations

import contextlib
import gzip
import socket
import ssl
import struct
import threading
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse

from otel_audit.config import Settings, load_settings


@dataclass
class Reply:
    """What the peer does with a request."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    drop: bool = False
    """Read the request, then break the connection without an answer."""
    cut: bool = False
    """Promise a body, break the connection in the middle of it."""
    after: threading.Event | None = None
    """Answer only when this is set."""


@dataclass
class Seen:
    """A request as it came in."""

    path: str
    headers: dict[str, str]
    body: bytes
    connection: int
    status: int = 0
    """What was answered in full; 0 for nothing."""

    @property
    def request(self) -> ExportLogsServiceRequest:
        return ExportLogsServiceRequest.FromString(self.body)

    @cached_property
    def records(self) -> list[dict[str, Any]]:
        """The attributes of each LogRecord, plain values."""
        return [
            {
                attribute.key: getattr(attribute.value, attribute.value.WhichOneof("value") or "string_value")
                for attribute in of
            }
            for resource_logs in self.request.resource_logs
            for scope_logs in resource_logs.scope_logs
            for of in (record.attributes for record in scope_logs.log_records)
        ]

    @property
    def ids(self) -> list[str]:
        return [record["audit.record.id"] for record in self.records if "audit.record.id" in record]

    @property
    def service(self) -> str:
        """The name of the service in its Resource."""
        (resource_logs,) = self.request.resource_logs
        return next(a.value.string_value for a in resource_logs.resource.attributes if a.key == "service.name")

    @property
    def is_marker(self) -> bool:
        return bool(self.body) and all("otel_audit.stream.state" in record for record in self.records)


class Peer:
    """Answers with what `script` holds, in order, then with `otherwise`; a marker always with `otherwise`."""

    def __init__(self, port: int = 0, certificate: Path | None = None) -> None:
        self.script: list[Reply] = []
        self.otherwise: Callable[[Seen], Reply] = lambda seen: Reply()
        self.seen: list[Seen] = []
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", port), _handler(self))
        self._server.daemon_threads = True
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        scheme = "http" if certificate is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def reply(self, seen: Seen) -> Reply:
        with self._lock:
            self.seen.append(seen)
            return self.script.pop(0) if self.script and not seen.is_marker else self.otherwise(seen)

    @property
    def posts(self) -> list[Seen]:
        """Requests of records."""
        return [seen for seen in self.seen if seen.body and not seen.is_marker]

    @property
    def delivered(self) -> list[str]:
        """Ids in the order they came, repeats included; only of requests answered 200 without a rejection."""
        return [identity for seen in self.accepted for identity in seen.ids]

    @property
    def accepted(self) -> list[Seen]:
        return [seen for seen in self.posts if seen.status == 200]

    @property
    def told(self) -> list[tuple[str, str, int]]:
        """Stream, state and highest number of every marker that was taken, in the order they came."""
        return [
            (told["audit.sequence.stream_id"], told["otel_audit.stream.state"], told["otel_audit.stream.last_number"])
            for seen in self.seen
            if seen.status == 200 and seen.is_marker
            for told in seen.records
        ]

    @property
    def once_each(self) -> list[str]:
        """Ids by stream and number, without what came a second time under the same stream and number."""
        places = {
            (record["audit.sequence.stream_id"], record["audit.sequence.number"], record["audit.record.id"])
            for seen in self.accepted
            for record in seen.records
        }
        return [identity for _, _, identity in sorted(places)]

    @property
    def streams(self) -> dict[str, list[int]]:
        """The numbers of each stream's records, in the order they came."""
        found: dict[str, list[int]] = {}
        for record in (record for seen in self.accepted for record in seen.records):
            found.setdefault(record["audit.sequence.stream_id"], []).append(record["audit.sequence.number"])
        return found

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _handler(peer: Peer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            encoding = self.headers.get("content-encoding", "")
            body = {"gzip": gzip.decompress, "deflate": zlib.decompress}.get(encoding, bytes)(body)
            headers = {name.lower(): value for name, value in self.headers.items()}
            seen = Seen(self.path, headers, body, self.client_address[1])
            reply = peer.reply(seen)
            if reply.after is not None:
                reply.after.wait(20)
            if reply.drop:
                self._reset()
                return
            seen.status = reply.status
            self.send_response(reply.status)
            kind = {"content-type": "application/x-protobuf"} if reply.status == 200 else {}
            for name, value in (kind | reply.headers).items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(reply.body) + (50 if reply.cut else 0)))
            self.end_headers()
            self.wfile.write(reply.body)
            if reply.cut:
                seen.status = 0
                self.wfile.flush()
                self._reset()

        do_GET = do_POST

        def _reset(self) -> None:
            self.close_connection = True
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()

        def log_message(self, *args: object) -> None:
            pass

        def handle(self) -> None:
            with contextlib.suppress(OSError, ValueError):
                super().handle()

        def finish(self) -> None:
            with contextlib.suppress(OSError, ValueError):
                super().finish()

    return Handler


def partial(rejected: int, message: str = "") -> bytes:
    """A response body with a partial success."""
    response = ExportLogsServiceResponse()
    response.partial_success.rejected_log_records = rejected
    response.partial_success.error_message = message
    return response.SerializeToString()


def until(holds: Callable[[], object], within_s: float = 20.0) -> None:
    """Wait for something that announces itself to nobody here."""
    end_s = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < end_s, "it did not come to that"
        time.sleep(0.002)


def quick(**changes: object) -> Settings:
    """Settings with short pauses."""
    short = {"retry_initial_s": 0.01, "retry_max_s": 0.05, "batch_delay_s": 0.005, "exit_flush_s": 10.0}
    return load_settings({}, **(short | changes))
