"""The collector as a process: stopped under load, killed, bombed, and what it writes for its operator."""

from __future__ import annotations

import gzip
import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import zstandard

pytestmark = pytest.mark.slow

MIB = 1 << 20
PROGRAM = """
import sys
from otel_audit.collector.logging import configure_logging
from otel_audit.collector.server import Collector
from otel_audit.config import load_settings
from otel_audit.log.engine import ActivityLog

if __name__ == "__main__":
    configure_logging()
    settings = load_settings({}, data_dir=sys.argv[1], port=0, decode_workers=sys.argv[2])
    Collector(ActivityLog.open(sys.argv[1], settings), settings).serve()
"""


class Process:
    """A collector in a process of its own; `lines` are what it logged so far."""

    def __init__(self, folder: Path, workers: int) -> None:
        program = folder.parent / "serve.py"
        program.write_text(PROGRAM)
        self.popen = subprocess.Popen(
            [sys.executable, str(program), str(folder), str(workers)], stderr=subprocess.PIPE, text=True
        )
        self.lines: list[dict] = []
        self._listening = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._listening.wait()
        assert self.popen.poll() is None, self.lines
        self.url = next(line["url"] for line in self.lines if line["event"] == "listening")

    def _read(self) -> None:
        for line in self.popen.stderr:
            # A worker whose parent was killed may leave a traceback of the interpreter's own.
            self.lines.append(json.loads(line) if line.startswith("{") else {"event": line})
            if self.lines[-1]["event"] == "listening":
                self._listening.set()
        self._listening.set()

    def connection(self) -> http.client.HTTPConnection:
        address = urlsplit(self.url)
        return http.client.HTTPConnection(address.hostname, address.port, timeout=60)

    def send(self, body: bytes, encoding: str = "identity") -> int:
        connection = self.connection()
        headers = {"content-type": "application/x-protobuf", "content-encoding": encoding}
        connection.request("POST", "/v1/logs", body, headers)
        status = connection.getresponse().status
        connection.close()
        return status

    def peak_bytes(self) -> int:
        with open(f"/proc/{self.popen.pid}/status") as file:
            return next(int(line.split()[1]) << 10 for line in file if line.startswith("VmHWM"))

    def children(self) -> list[int]:
        found = []
        for thread in os.listdir(f"/proc/{self.popen.pid}/task"):
            with open(f"/proc/{self.popen.pid}/task/{thread}/children") as file:
                found += [int(word) for word in file.read().split()]
        return found

    def end(self) -> None:
        if self.popen.poll() is None:
            self.popen.kill()
        self.popen.wait()
        self._reader.join()
        self.popen.stderr.close()


@pytest.fixture
def process(tmp_path: Path) -> Iterator:
    started: list[Process] = []

    def start(workers: int = 0) -> Process:
        started.append(Process(tmp_path / "data", workers))
        return started[-1]

    yield start
    for each in started:
        each.end()


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_whatever_ends_the_process_what_was_answered_200_is_in_the_files(
    process, request_body, new_ids, committed, tmp_path, how, workers
):
    server = process(workers)
    acknowledged: list[str] = []
    statuses: set[int] = set()
    enough, ended = threading.Event(), threading.Event()

    def sender() -> None:
        connection = server.connection()
        while not ended.is_set():
            ids = new_ids(50)
            try:
                connection.request("POST", "/v1/logs", request_body(*ids), {"content-type": "application/x-protobuf"})
                response = connection.getresponse()
                response.read()
            except (OSError, http.client.HTTPException):
                connection.close()
                return
            statuses.add(response.status)
            if response.status == 200:
                acknowledged.extend(ids)
                if len(acknowledged) > 3000:
                    enough.set()

    senders = [threading.Thread(target=sender) for _ in range(4)]
    for each in senders:
        each.start()
    enough.wait()
    children = server.children()
    assert len([pid for pid in children if alive(pid)]) >= workers
    server.popen.send_signal(how)
    code = server.popen.wait(60)
    ended.set()
    for each in senders:
        each.join()
    rows = [row["record_id"] for row in committed(tmp_path / "data")]
    assert set(acknowledged) <= set(rows)
    assert len(rows) == len(set(rows))
    assert code == (0 if how == signal.SIGTERM else -signal.SIGKILL)
    assert statuses <= {200, 503}
    while any(alive(pid) for pid in children):
        time.sleep(0.05)
    if how == signal.SIGTERM:
        server.end()
        assert server.lines[-1]["event"] == "stopped"


def test_a_second_signal_ends_it_on_the_spot(process):
    server = process()
    address = urlsplit(server.url)
    connection = http.client.HTTPConnection(address.hostname, address.port)
    connection.putrequest("POST", "/v1/logs")
    connection.putheader("content-type", "application/x-protobuf")
    connection.putheader("content-length", "1000")
    connection.endheaders(b"x")
    time.sleep(0.3)
    server.popen.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    assert server.popen.poll() is None
    server.popen.send_signal(signal.SIGTERM)
    assert server.popen.wait(10) == 128 + signal.SIGTERM
    connection.close()


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_a_bomb_is_413_in_bounded_memory_while_others_are_served(process, request_body, new_ids, encoding):
    compress = gzip.compress if encoding == "gzip" else zstandard.ZstdCompressor().compress
    bomb = compress(bytes(1024 * MIB))
    server = process()
    assert server.send(request_body(*new_ids(10))) == 200
    before = server.peak_bytes()
    statuses: list[int] = []
    attackers = [threading.Thread(target=lambda: statuses.append(server.send(bomb, encoding))) for _ in range(2)]
    for each in attackers:
        each.start()
    assert server.send(request_body(*new_ids(10))) == 200
    for each in attackers:
        each.join()
    assert set(statuses) <= {413, 503}
    assert 413 in statuses
    assert server.peak_bytes() - before < 320 * MIB


def test_ten_million_empty_records_are_413_in_bounded_memory(process, request_body, new_ids):
    records = b"\x12\x00" * 10_000_000
    scope = b"\x12" + _varint(len(records)) + records
    bomb = gzip.compress(b"\x0a" + _varint(len(scope)) + scope)
    server = process()
    assert server.send(request_body(*new_ids(10))) == 200
    before = server.peak_bytes()
    assert server.send(bomb, "gzip") == 413
    assert server.peak_bytes() - before < 160 * MIB


def test_what_it_says_is_json_off_a_terminal_and_names_each_refusal(process):
    server = process()
    assert server.send(b"not protobuf") == 400
    server.popen.terminate()
    server.popen.wait(30)
    server.end()
    refused = next(line for line in server.lines if line["event"] == "refused")
    assert (refused["status"], refused["reason"], refused["peer"]) == (400, "malformed", "127.0.0.1")
    assert {"listening", "stopped"} <= {line["event"] for line in server.lines}


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes((*out, value))
