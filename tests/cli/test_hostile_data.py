"""What others wrote never speaks to a terminal: every command, with records, streams, peers and answers that try to."""

from __future__ import annotations

import io
import json
import logging
import re
import shutil
import sys
import threading
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import requests
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from otel_audit import ActivityRecord, EntityRef, OTelActivityLogRepo, UndeliveredError
from otel_audit.cli.demo.child import CollectorProcess
from otel_audit.cli.main import main
from otel_audit.cli.reference import commands
from otel_audit.collector.logging import configure_logging
from otel_audit.events import report
from tests.cli.conftest import Done, Stream, git, put

EVIL = "\x1b[5;31mred\x1b]8;;http://evil\x07link\x1b]8;;\x07\x9b2J\x85\u202egpj\u2066\u061c\r\nFORGED \t=1+1\x00\x7f"
CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
COLOURS = re.compile("\x1b\\[[0-9;]*m")
ANSWERS = [("table", True), ("csv", True), ("json", False), ("csv", False)]
"""Formats, and whether stdout is a terminal."""
PASSWORD = "hunter2"

READ = (
    "get entity {evil} {evil}", "get actor {evil}", "get owner {evil}", "get action {evil}", "get record {id}",
    "search", "search --all", "search --limit 1", "count", "count --by actor_id", "count --by action", "gaps --all",
)  # fmt: skip
FOLDER = ("files", "sql {select}", "status", "quarantine list")
SPOOL = ("spool status", "spool list")
SETTINGS = ("settings",)
FAILING = (
    "sql {cast}", "get record {evil}", "search --cursor {evil}", "search --since {evil}", "search --order {evil}",
    "count --by {evil}", "search --entity {evil} x --header {evil}", "{evil}", "search --{evil}", "search {evil}",
    "search --data {evil}", "search --url {evil}", "search --url {peer}", "count --url {peer}", "gaps --url {peer}",
    "get record x --url {peer}", "status --data {evil}", "quarantine show {evil}", "quarantine release {evil}",
    "quarantine drop {evil}", "spool list --spool-dir {evil}", "spool retry --stream {evil}", "import git {evil}",
    "spool retry --endpoint {peer} --timeout 1 --quiet",
    "spool resend --missing --url {peer} --quiet", "seal --url {peer}", "seal --data {evil}",
    "append --actor a --owner o --action {evil} --entity T 1 --endpoint {peer} --timeout 1", "settings --side {evil}",
    "ping --endpoint {peer} --timeout 1", "gaps --expect {evil}", "append --metadata {evil}", "sql {evil}",
    "backup {evil} --data {evil} --quiet", "files --data {evil}", "export --data {evil}", "export --format {evil}",
    "export --url {peer} --format jsonl", "gaps --data {data} --settle {evil} --reason {evil}", "repair --data {evil}",
)  # fmt: skip
OTHERS = (
    "quarantine show {held}", "spool export --part parked", "spool export", "seal --data {data}",
    "import git {repository} --owner {evil} --endpoint {url} --quiet",
    "append --actor {evil} --owner {evil} --action {evil} --entity {evil} {evil} --endpoint {url}",
    "views --data x",
    "export --data {data} --format csv", "export --data {data} --format jsonl", "ping --endpoint {url}",
    "ping --endpoint {url} --record", "spool resend --stream {stream} --endpoint {url} --any-endpoint --quiet",
    "spool deliver --endpoint {peer} --timeout 0.1 --quiet", "spool retry --quiet --timeout 1", "settings",
    "gaps --data {data} --all",
    "quarantine drop {held}", "quarantine release {held}",
)  # fmt: skip
ELSEWHERE = {"collector": "its lines are the last test's", "demo": "made of the same parts; test_demo.py runs it"}


class Stdout(io.StringIO):
    """A terminal, or a pipe."""

    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


@dataclass(frozen=True)
class World:
    words: dict[str, str]
    env: dict[str, str]


@pytest.fixture(scope="module")
def peer() -> Iterator[str]:
    """Answers whatever is asked with what should not be printed."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            problem = {"type": EVIL, "title": EVIL, "detail": EVIL, "status": 500}
            self.answer(500, "application/problem+json", json.dumps(problem, ensure_ascii=False).encode())

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.answer(400, "text/plain", EVIL.encode())

        def answer(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://user:{PASSWORD}@127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, peer: str) -> Iterator[World]:
    root = tmp_path_factory.mktemp("hostile")
    data, spool, evil = root / "data", root / "spool", EVIL.replace("\x00", "")
    record = ActivityRecord.create(
        actor_id=EVIL, owner_id=EVIL, action=EVIL, entity_ref=EntityRef(EVIL, EVIL), tenant_id=EVIL, reason=EVIL,
        outcome="failure", metadata={EVIL: EVIL, "deep": [EVIL]}, changes={EVIL: [EVIL, None]},
    )  # fmt: skip
    for_argv = record.replace(
        record_id="second", actor_id=evil, owner_id=evil, action=evil, entity_ref=EntityRef(evil, evil)
    )
    repository = root / "project"
    repository.mkdir()
    git(repository, "init", "-q", "-b", "main")
    stream = Stream()
    stream.commit(put(b"name\x1b[5;31m", b"x"), subject=b"\x1b]0;owned\x07", author=b"A\x1b[5;31m <a> 1700000000 +0000")
    git(repository, "fast-import", "--quiet", stdin=b"".join(stream.parts))
    with pytest.MonkeyPatch.context() as patched, CollectorProcess(data) as collector:
        patched.setenv("OTEL_SERVICE_NAME", evil)
        with OTelActivityLogRepo(collector.url, durability="memory") as log:
            log.append_many([record, for_argv])
        with (
            pytest.raises(UndeliveredError),
            OTelActivityLogRepo(peer, durability="disk", spool_dir=spool) as log,
        ):
            log.append(record.replace(record_id="third"))
            log.flush(timeout_s=20)
        send_invalid(collector.url)
        held = json.loads(run(["quarantine", "list", "--data", str(data), "--format", "jsonl"]).out.splitlines()[0])
        (parked,) = run(["spool", "list", "--spool-dir", str(spool), "--format", "jsonl"]).out.splitlines()
        yield World(
            {
                "evil": evil, "id": str(record.record_id), "peer": peer, "data": str(data), "url": collector.url,
                "held": held["sha256"], "stream": json.loads(parked)["stream_id"], "repository": str(repository),
                "select": "SELECT * FROM activity", "cast": "SELECT actor_id::INT FROM activity",
            },
            {"OTEL_AUDIT_SPOOL_DIR": str(spool), "OTEL_AUDIT_ENDPOINT": peer, "OTEL_AUDIT_READER": str(data)},
        )  # fmt: skip
    shutil.rmtree(root)


def send_invalid(url: str) -> None:
    """A record without an action, which is held, from a stream with a name of that kind."""
    request = ExportLogsServiceRequest()
    logs = request.resource_logs.add()
    logs.resource.attributes.add(key="service.name").value.string_value = EVIL
    held = logs.scope_logs.add().log_records.add(time_unix_nano=1)
    for key, value in (("audit.record.id", EVIL), ("audit.actor.id", EVIL), ("audit.actor.type", EVIL)):
        held.attributes.add(key=key).value.string_value = value
    numbered = logs.scope_logs.add().log_records.add(time_unix_nano=1)
    for key in ("audit.record.id", "audit.actor.id", "audit.action", "audit.sequence.stream_id"):
        numbered.attributes.add(key=key).value.string_value = "numbered" + EVIL
    numbered.attributes.add(key="audit.sequence.number").value.int_value = 3
    answer = requests.post(
        f"{url}/v1/logs", request.SerializeToString(), headers={"Content-Type": "application/x-protobuf"}, timeout=30
    )
    assert answer.status_code == 200


def run(words: list[str], *, terminal: bool = False, env: dict[str, str] | None = None) -> Done:
    out, err = Stdout(terminal), Stdout(terminal)
    with pytest.MonkeyPatch.context() as patched, redirect_stdout(out), redirect_stderr(err):
        for name, value in (env or {}).items():
            patched.setenv(name, value)
        patched.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
        with pytest.raises(SystemExit) as leaving:
            main(words)
    return Done(int(leaving.value.code or 0), out.getvalue(), err.getvalue())


def harmless(text: str) -> None:
    assert "\x1b[5;31m" not in text
    assert CONTROL.search(COLOURS.sub("", text)) is None, text
    assert not any(line.startswith("FORGED") for line in COLOURS.sub("", text).splitlines()), text
    assert PASSWORD not in text, text


def words_of(line: str, world: World) -> list[str]:
    return [word.format_map(world.words) for word in line.split()]


@pytest.mark.slow
@pytest.mark.parametrize(("format", "terminal"), ANSWERS)
def test_no_answer_speaks_to_a_terminal(world: World, format: str, terminal: bool) -> None:
    """Nor to one at the end of a pipe; and there is an answer."""
    for line in (*READ, *FOLDER, *SPOOL, *SETTINGS):
        done = run([*words_of(line, world), "--format", format], terminal=terminal, env=world.env)
        assert (done.code, line) in ((0, line), (3, "gaps --all")), done.err
        assert done.out
        harmless(done.out)
        harmless(done.err)


@pytest.mark.slow
@pytest.mark.parametrize("terminal", [True, False], ids=["terminal", "pipe"])
def test_no_error_speaks_to_a_terminal(world: World, terminal: bool) -> None:
    """Whether a record, a peer or a word of the command line is quoted in it; and it is an error."""
    for line in FAILING:
        done = run(words_of(line, world), terminal=terminal, env=world.env)
        assert done.code != 0, line
        assert done.err
        harmless(done.out)
        harmless(done.err)


@pytest.mark.slow
@pytest.mark.parametrize("terminal", [True, False], ids=["terminal", "pipe"])
def test_no_command_that_does_something_speaks_to_a_terminal(world: World, terminal: bool) -> None:
    for line in OTHERS:
        done = run(words_of(line, world), terminal=terminal, env=world.env)
        harmless(done.out)
        harmless(done.err)


def test_every_command_is_walked() -> None:
    """A new command takes its place in one of the lists."""
    lines = (*READ, *FOLDER, *SPOOL, *SETTINGS, *FAILING, *OTHERS)
    for name, command in commands():
        words = name.removeprefix("otel-audit").strip()
        if not hasattr(command, "commands") and words not in ELSEWHERE:
            assert any(line == words or line.startswith(f"{words} ") for line in lines), words


@pytest.mark.parametrize("json_lines", [True, False])
def test_no_line_of_the_log_speaks_to_a_terminal(json_lines: bool, reset_logging: None) -> None:
    stream = Stdout(True)
    configure_logging(stream, json=json_lines)
    report("x", "warning", EVIL, peer=EVIL, reasons=[EVIL])
    harmless(stream.getvalue())
    assert "red" in stream.getvalue()


@pytest.fixture
def reset_logging() -> Iterator[None]:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield
    root.handlers[:], _ = before
    root.setLevel(before[1])
