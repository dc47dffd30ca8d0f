"""A real collector in front of a real log in a temporary folder, and ways to talk to it as clients do."""

from __future__ import annotations

import http.client
import socket
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from urllib.parse import urlsplit

import pyarrow.parquet as pq
import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from otel_audit.archive.listing import list_log
from otel_audit.collector.server import Collector
from otel_audit.config import load_settings
from otel_audit.log.engine import ActivityLog

PROTOBUF = {"content-type": "application/x-protobuf"}


@dataclass(frozen=True)
class Reply:
    status: int
    headers: Message
    body: bytes


class Client:
    """One keep-alive connection."""

    def __init__(self, collector: Collector) -> None:
        address = urlsplit(collector.url)
        self.port = address.port
        self._http = http.client.HTTPConnection(address.hostname, address.port, timeout=30)

    def ask(self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> Reply:
        self._http.request(method, path, body, headers or {})
        with closing(self._http.getresponse()) as response:
            return Reply(response.status, response.headers, response.read())

    def send(self, body: bytes, **headers: str) -> Reply:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.ask("POST", "/v1/logs", body, PROTOBUF | named)

    def raw(self) -> socket.socket:
        """A bare connection to the same collector."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)

    def close(self) -> None:
        self._http.close()


class Running:
    """A collector, its folder and a client."""

    def __init__(self, collector: Collector, log: ActivityLog, folder: Path) -> None:
        self.collector, self.log, self.folder = collector, log, folder
        self.client = Client(collector)

    def rows(self) -> list[dict]:
        return rows_of(self.folder)

    def kept(self, ids: list[str]) -> list[str]:
        """Which of these ids are committed, in log order."""
        return [row["record_id"] for row in self.rows() if row["record_id"] in set(ids)]

    def metric(self, name: str) -> float:
        return self.metric_of(self.client, name)

    @staticmethod
    def metric_of(client: Client, name: str) -> float:
        for line in client.ask("GET", "/metrics").body.decode().splitlines():
            if line.startswith(name + " "):
                return float(line.rpartition(" ")[2])
        raise AssertionError(f"no metric {name}")


def rows_of(folder: Path) -> list[dict]:
    """Every committed row, in log order."""
    files = list_log(folder).files
    return [row for file in files for row in pq.read_table(file.path, partitioning=None).to_pylist()]


def request_of(*record_ids: str | bytes, others: int = 0) -> bytes:
    """A request with an activity for each id (bytes stand in the wire as they are), and records that are none."""
    request = ExportLogsServiceRequest()
    records = request.resource_logs.add().scope_logs.add().log_records
    swaps = {}
    for record_id in record_ids:
        record = records.add(time_unix_nano=1_700_000_000_000_000_000)
        if isinstance(record_id, bytes):
            placeholder = f"~{len(swaps)}".ljust(len(record_id), "~")  # as it stands in no other id
            assert len(placeholder) == len(record_id)
            swaps[placeholder.encode()] = record_id
            record_id = placeholder
        for key, value in (("audit.record.id", record_id), ("audit.actor.id", "ada"), ("audit.action", "test")):
            record.attributes.add(key=key).value.string_value = value
    for _ in range(others):
        records.add().body.string_value = "a plain log line"
    body = request.SerializeToString()
    for placeholder, real in swaps.items():
        body = body.replace(placeholder, real)
    return body


def fresh_ids(count: int) -> list[str]:
    return [str(uuid.uuid4()) for _ in range(count)]


def start(folder: Path, *, reads=None, log=None, **arguments) -> Running:
    """A collector on a free port; `log` may wrap the real one."""
    settings = load_settings({}, data_dir=str(folder), **{"port": 0} | arguments)
    opened = ActivityLog.open(folder, settings)
    try:
        collector = Collector(log(opened) if log else opened, settings, reads=reads)
        collector.start()
    except BaseException:
        opened.close()
        raise
    return Running(collector, opened, folder)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Start a collector with these settings; stopped at the end."""
    running: list[Running] = []

    def one(*, folder: Path = tmp_path / "data", **arguments) -> Running:
        running.append(start(folder, **arguments))
        return running[-1]

    yield one
    for each in running:
        each.client.close()
        each.collector.stop()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One with the default settings, for tests that only look at answers and at their own ids."""
    server = start(tmp_path_factory.mktemp("shared") / "data")
    yield server
    server.client.close()
    server.collector.stop()


@pytest.fixture
def request_body() -> Callable[..., bytes]:
    return request_of


@pytest.fixture
def new_ids() -> Callable[[int], list[str]]:
    return fresh_ids


@pytest.fixture
def committed() -> Callable[[Path], list[dict]]:
    return rows_of
