"""A read ends with its client and with its time, in the database too."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from otel_audit.query import engine
from otel_audit.query.reader import DuckDBReader
from otel_audit.web import create_app
from tests.query.folder import record, write
from tests.web.serving import serving

ENDLESS = "SELECT count(*) FROM range(1000000000000) AS a(i), range(1000000) AS b(j) WHERE a.i * b.j = -1"
WAIT_S = 60.0


class Endless(DuckDBReader):
    """A reader whose counting never ends by itself."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.began, self.ended = threading.Event(), threading.Event()

    def count(self, where: Any = None) -> int:
        self.began.set()
        try:
            return super().count(where)
        finally:
            self.ended.set()


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Endless]:
    write(tmp_path, 0, [record(n) for n in range(3)])
    known: Callable[[str], str] = engine.statement
    monkeypatch.setattr(engine, "statement", lambda name: ENDLESS if name == "count" else known(name))
    run = engine.Engine.rows
    monkeypatch.setattr(
        engine.Engine, "rows", lambda self, name, values: run(self, name, {} if name == "count" else values)
    )
    with Endless(tmp_path) as reader:
        yield reader


def test_a_read_is_ended_when_its_time_is_up_and_the_answer_says_what_to_do(reader: Endless) -> None:
    with serving(create_app(reader, time_limit_s=0.2)) as url:
        refused = requests.get(f"{url}/v1/audit/count?action=create", timeout=WAIT_S)
        assert reader.ended.is_set()
        assert (refused.status_code, refused.headers.get("retry-after")) == (503, None)
        problem = refused.json()
        assert problem["type"] == "urn:otel-audit:problem:read-limit"
        assert problem["detail"] == "the read took more than 0.2 s and was ended"
        assert problem["diagnostics"].startswith("Ask for less")
        assert len(requests.get(f"{url}/v1/audit/records", timeout=WAIT_S).json()["records"]) == 3


def test_a_read_is_ended_when_its_client_goes_away(reader: Endless) -> None:
    with serving(create_app(reader)) as url:
        with socket.create_connection(("127.0.0.1", urlsplit(url).port)) as client:
            client.sendall(b"GET /v1/audit/count?action=create HTTP/1.1\r\nhost: localhost\r\n\r\n")
            assert reader.began.wait(WAIT_S)
            time.sleep(0.1)
            assert not reader.ended.is_set()
        assert reader.ended.wait(WAIT_S)
