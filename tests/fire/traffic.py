"""Senders as they should be: they send until they are answered with success, and note every answer on the way."""

from __future__ import annotations

import http.client
import json
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

from otel_audit.otlp.encode import encode_record, frame_request
from tests.e2e.processes import archived_ids
from tests.log.requests import ARRIVAL_NS, RESOURCE, record

OTLP = {"content-type": "application/x-protobuf"}
CUT = "cut"
"""Stands for a connection that ended before an answer."""


def fresh_ids(count: int) -> list[str]:
    return [str(uuid.uuid4()) for _ in range(count)]


def body_of(ids: Sequence[str]) -> bytes:
    """A request with an activity for each id; the same ids make the same bytes."""
    return frame_request(RESOURCE, [encode_record(record(one), ARRIVAL_NS) for one in ids])


def head_of(length: int) -> bytes:
    """The head of a request whose body takes so many bytes."""
    lines = ("POST /v1/logs HTTP/1.1", "host: localhost", "content-type: application/x-protobuf")
    return "\r\n".join((*lines, f"content-length: {length}", "", "")).encode()


def until(condition: Callable[[], Any], within_s: float = 30.0) -> Any:
    """Wait for what another thread or process brings about; its first true value."""
    end = time.monotonic() + within_s
    while not (value := condition()):
        assert time.monotonic() < end, f"did not come about within {within_s} s"
        time.sleep(0.02)
    return value


class Peer:
    """One keep-alive connection to a collector, made again when it was cut."""

    def __init__(self, port: int, timeout_s: float = 30.0) -> None:
        self._http = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)

    def ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, http.client.HTTPMessage, bytes]:
        """As HTTP clients do, once more where a connection that was idle turns out to be closed."""
        reused = self._http.sock is not None
        try:
            return self._ask(method, path, body)
        except (BrokenPipeError, ConnectionResetError, http.client.RemoteDisconnected):
            if not reused:
                raise
            return self._ask(method, path, body)

    def _ask(self, method: str, path: str, body: bytes | None) -> tuple[int, http.client.HTTPMessage, bytes]:
        try:
            self._http.request(method, path, body, OTLP if body is not None else {})
            response = self._http.getresponse()
            return response.status, response.headers, response.read()
        except (OSError, http.client.HTTPException):
            self._http.close()
            raise

    def send(self, ids: Sequence[str]) -> int:
        """The status of a request with these ids; a refusal must be one that senders take for "later"."""
        status, headers, body = self.ask("POST", "/v1/logs", body_of(ids))
        if status != 200:
            assert status in {429, 503}, (status, body)
            assert headers["retry-after"], status
        return status

    def metric(self, name: str) -> float:
        for line in self.ask("GET", "/metrics")[2].decode().splitlines():
            if line.startswith(name + " "):
                return float(line.rpartition(" ")[2])
        raise AssertionError(f"no metric {name}")

    def ready(self) -> str:
        """ "" when `/readyz` says so, else its reason; the metric must say the same."""
        status, _, body = self.ask("GET", "/readyz")
        content = json.loads(body)
        assert status == (200 if content["status"] == "ready" else 503)
        return str(content.get("reason", content["status"])) if status != 200 else ""

    def close(self) -> None:
        self._http.close()


class Traffic:
    """Several senders at once, from entering to leaving.

    Attributes:
        acknowledged: the ids that were answered with success.
        answers: how often each status came, and CUT.
    """

    def __init__(self, port: int, senders: int = 4, records: int = 20, timeout_s: float = 30.0) -> None:
        self.acknowledged: list[str] = []
        self.answers: Counter[int | str] = Counter()
        self._port = port
        self._records = records
        self._timeout_s = timeout_s
        self._stop = threading.Event()
        self._failures: list[BaseException] = []
        self._threads = [threading.Thread(target=self._run) for _ in range(senders)]

    def _run(self) -> None:
        peer = Peer(self._port, self._timeout_s)
        ids: list[str] = []
        try:
            while not self._stop.is_set():
                if not ids:
                    ids = fresh_ids(self._records)
                try:
                    status: int | str = peer.send(ids)
                except (OSError, http.client.HTTPException):
                    status = CUT
                self.answers[status] += 1
                if status == 200:
                    self.acknowledged += ids
                    ids = []
                else:
                    self._stop.wait(0.05)
        except BaseException as error:
            self._failures.append(error)
        finally:
            peer.close()

    @property
    def failed(self) -> bool:
        """Whether a sender has ended, with an answer that must not be."""
        return bool(self._failures)

    def more(self, records: int = 200, within_s: float = 30.0) -> None:
        """Wait until so many more records are acknowledged."""
        wanted = len(self.acknowledged) + records
        until(lambda: self.failed or len(self.acknowledged) >= wanted, within_s)

    def refused(self, times: int = 5) -> None:
        """Wait until so many more requests are refused."""
        wanted = self.answers[503] + times
        until(lambda: self.failed or self.answers[503] >= wanted)

    def check(self, data: Path) -> None:
        """Every acknowledged record is in the archive, and none is there twice."""
        archived = archived_ids(data)
        assert set(self.acknowledged) <= set(archived)
        assert max(archived.values()) == 1

    def end(self) -> None:
        """Stop the senders; whatever failed in one fails here."""
        self._stop.set()
        for thread in self._threads:
            thread.join()
        for failure in self._failures:
            raise failure

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()
