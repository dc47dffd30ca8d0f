"""An OTLP hop as a process of its own that loses what it has answered for, as an otelcol with a queue in memory does.

`python -m tests.e2e.lossy_hop TARGET`: prints its port. Every request is answered 200 as soon as it is queued, and
forwarded from the queue. Lines on its standard input say which stream numbers are lost on the way: `FIRST LAST`; an
empty line: none.
"""

from __future__ import annotations

import queue
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import requests
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

lost: list[tuple[int, int]] = []
waiting: queue.Queue[bytes] = queue.Queue()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        waiting.put(self.rfile.read(int(self.headers["content-length"])))
        self.send_response(200)
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Say nothing."""


def without_lost(body: bytes) -> bytes:
    request = ExportLogsServiceRequest.FromString(body)
    for resource_logs in request.resource_logs:
        for scope_logs in resource_logs.scope_logs:
            kept = [record for record in scope_logs.log_records if not is_lost(record.attributes)]
            del scope_logs.log_records[:]
            scope_logs.log_records.extend(kept)
    return request.SerializeToString()


def is_lost(attributes: object) -> bool:
    numbers = [a.value.int_value for a in attributes if a.key == "audit.sequence.number"]  # type: ignore[attr-defined]
    return any(first <= number <= last for number in numbers for first, last in lost)


def forward(target: str) -> None:
    with requests.Session() as session:
        while True:
            body = without_lost(waiting.get())
            headers = {"content-type": "application/x-protobuf"}
            session.post(f"{target}/v1/logs", data=body, headers=headers, timeout=10).raise_for_status()


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    for work in (server.serve_forever, lambda: forward(sys.argv[1])):
        threading.Thread(target=work, daemon=True).start()
    print(server.server_address[1], flush=True)
    for line in sys.stdin:
        lost[:] = [tuple(map(int, line.split()))] if line.strip() else []  # type: ignore[list-item]
        print("ready", flush=True)
