"""A real HTTP peer on loopback whose answers are scripted."""

from __future__ import annotations

import contextlib
import gzip
import socket
import struct
import threading
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

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

    @property
    def ids(self) -> list[str]:
        return [
            attribute.value.string_value
            for resource_logs in self.request.resource_logs
            for scope_logs in resource_logs.scope_logs
            for record in scope_logs.log_records
            for attribute in record.attributes
            if attribute.key == "audit.record.id"
        ]


class Peer:
    """Answers with what `script` holds, in order, then with `otherwise`."""

    def __init__(self, port: int = 0) -> None:
        self.script: list[Reply] = []
        self.otherwise: Callable[[Seen], Reply] = lambda seen: Reply()
        self.seen: list[Seen] = []
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", port), _handler(self))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def reply(self, seen: Seen) -> Reply:
        with self._lock:
            self.seen.append(seen)
            return self.script.pop(0) if self.script else self.otherwise(seen)

    @property
    def posts(self) -> list[Seen]:
        return [seen for seen in self.seen if seen.body]

    @property
    def delivered(self) -> list[str]:
        """Ids in the order they came, repeats included; only of requests answered 200 without a rejection."""
        return [identity for seen in self.accepted for identity in seen.ids]

    @property
    def accepted(self) -> list[Seen]:
        return [seen for seen in self.posts if seen.status == 200]

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
            for name, value in reply.headers.items():
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


def quick(**changes: object) -> Settings:
    """Settings with short pauses."""
    return load_settings({}, **({"retry_initial_s": 0.01, "retry_max_s": 0.05, "batch_delay_s": 0.005} | changes))
