"""Where a command reads: one word means one thing in all of them, and a proxy before a collector is no obstacle."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests

from otel_audit import ActivityRecord, EntityRef, OTelActivityLogRepo
from otel_audit.cli.demo.child import CollectorProcess
from otel_audit.cli.reference import commands
from otel_audit.otlp.encode import encode_record, encode_resource, frame_request
from otel_audit.otlp.names import LOG_HEADER
from tests.cli.conftest import Invoke
from tests.log.requests import ARRIVAL_NS, record

PEM = Path(__file__).parent / "proxy.pem"
"""A key of no worth and its own certificate, for 127.0.0.1."""
READING = [
    "get entity Task 42", "get actor ann", "get owner bob", "get action create_task", "search", "count",
    "gaps --all", "status", "quarantine list", "quarantine list --causes",
    "quarantine list --reason actor --since 1d --limit 1",
]  # fmt: skip
MEANINGS = {
    "--data": ("PATH", "folder"),
    "--url": ("URL", "collector"),
    "--endpoint": ("URL", "OTLP endpoint"),
    "--header": ("'NAME: VALUE'", "proxy"),
    "--cacert": ("FILE", "CA certificates"),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("log") / "data"


@pytest.fixture(scope="module")
def proxy(data: Path) -> Iterator[str]:
    """TLS with a certificate of its own, and an answer for those alone who bring the token."""
    with CollectorProcess(data) as collector:
        with OTelActivityLogRepo(collector.url, durability="memory") as log:
            for number in range(3):
                log.append(
                    ActivityRecord.create(
                        actor_id="ann",
                        owner_id="bob",
                        action="create_task",
                        entity_ref=EntityRef("Task", 42),
                        metadata={"number": number},
                    )
                )
        _hold(collector.url)

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.headers["Authorization"] != "Bearer secret":
                    self.send_error(401)
                    return
                answer = requests.request(self.command, collector.url + self.path, timeout=30)
                self.send_response(answer.status_code)
                for name in ("Content-Type", LOG_HEADER):
                    if name in answer.headers:
                        self.send_header(name, answer.headers[name])
                self.send_header("Content-Length", str(len(answer.content)))
                self.end_headers()
                self.wfile.write(answer.content)

            do_POST = do_GET

            def log_message(self, *_: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(PEM)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"https://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


def _hold(url: str) -> None:
    """Two records that lack their actor go to quarantine."""
    for name in ("broken-1", "broken-2"):
        broken = encode_record(record(name), ARRIVAL_NS).replace(b"audit.actor.id", b"audit.actor.xx")
        body = frame_request(encode_resource({}), [broken])
        headers = {"Content-Type": "application/x-protobuf"}
        assert requests.post(f"{url}/v1/logs", data=body, headers=headers, timeout=30).status_code == 200


@pytest.fixture(scope="module")
def access() -> list[str]:
    return ["--header", "Authorization: Bearer secret", "--cacert", str(PEM)]


@pytest.mark.parametrize("line", READING)
def test_every_reading_command_reads_through_a_proxy(
    invoke: Invoke, proxy: str, access: list[str], data: Path, line: str
) -> None:
    through = invoke(*line.split(), "--url", proxy, *access)
    assert (through.code, through.err) == (0, "")
    assert invoke(*line.split(), "--data", str(data)).out == through.out != ""


def test_a_held_record_is_shown_through_a_proxy_as_from_the_folder(
    invoke: Invoke, proxy: str, access: list[str], data: Path
) -> None:
    first = json.loads(invoke("quarantine", "list", "--data", str(data)).out.splitlines()[0])
    beginning = first["sha256"][:12]
    through = invoke("quarantine", "show", beginning, "--url", proxy, *access)
    assert (through.code, through.err) == (0, "")
    assert invoke("quarantine", "show", beginning, "--data", str(data)).out == through.out
    shown = json.loads(through.out)
    assert shown["sha256"] == first["sha256"]
    assert shown["request"]["resourceLogs"]
    assert (
        invoke("quarantine", "show", "none", "--url", proxy, *access).code
        == invoke("quarantine", "show", "none", "--data", str(data)).code
        != 0
    )


def test_a_stream_is_settled_through_a_proxy(invoke: Invoke, proxy: str, access: list[str], data: Path) -> None:
    row = json.loads(invoke("gaps", "--all", "--data", str(data)).out)
    words = ["gaps", "--settle", row["stream_id"], "--reason", "looked into", "--url", proxy]
    assert invoke(*words, "--cacert", str(PEM)).code == 69
    done = invoke(*words, *access)
    assert done.code == 0, done.err
    assert json.loads(done.out)["settled_reason"] == "looked into"


def test_what_needs_the_files_says_so_when_it_is_given_a_collector(invoke: Invoke) -> None:
    for line in ("status --check", "sql SELECT"):
        done = invoke(*line.split(), "--url", "http://127.0.0.1:9")
        assert done.code == 2
        assert "--data" in done.err
        assert "files" in done.err


def test_the_same_proxy_is_found_behind_the_endpoint(invoke: Invoke, proxy: str, access: list[str]) -> None:
    """Without a flag that says where to read, the server that records are sent to is asked, in the same way."""
    done = invoke("count", *access, env={"OTEL_AUDIT_ENDPOINT": proxy})
    assert (done.code, json.loads(done.out)) == (0, {"count": 3})
    env = {
        "OTEL_AUDIT_ENDPOINT": proxy,
        "OTEL_EXPORTER_OTLP_HEADERS": "Authorization=Bearer%20secret",
        "OTEL_EXPORTER_OTLP_CERTIFICATE": str(PEM),
    }
    done = invoke("count", env=env)
    assert (done.code, json.loads(done.out)) == (0, {"count": 3})


def test_certificates_given_win_against_those_of_the_environment(
    invoke: Invoke, proxy: str, access: list[str], tmp_path: Path
) -> None:
    other = tmp_path / "other.pem"
    other.write_bytes(Path(ssl.get_default_verify_paths().cafile or PEM).read_bytes())
    done = invoke("count", "--url", proxy, *access, env={"REQUESTS_CA_BUNDLE": str(other)})
    assert (done.code, done.err) == (0, "")


def test_what_a_proxy_wants_is_said_and_no_secret_with_it(invoke: Invoke, proxy: str, tmp_path: Path) -> None:
    done = invoke("count", "--url", proxy, "--cacert", str(PEM), "--header", "Authorization: Bearer wrong")
    assert done.code == 69
    assert "401" in done.err
    done = invoke("count", "--url", proxy)
    assert done.code == 69
    assert "certificate" in done.err
    done = invoke("count", "--url", proxy, "--cacert", str(tmp_path / "none.pem"))
    assert (done.code, "none.pem" in done.err) == (78, True)
    for header in ("Bearer secret", "Authorization: Bearer secret\nX: y", ": secret"):
        done = invoke("count", "--url", proxy, "--header", header)
        assert done.code == 2
        assert "secret" not in done.err


def test_headers_and_certificates_are_not_for_a_folder(invoke: Invoke, access: list[str], data: Path) -> None:
    """To take them and to do nothing with them would let somebody believe in them."""
    done = invoke("count", "--data", str(data), *access)
    assert done.code == 78
    assert "is a folder" in done.err


def test_one_word_means_one_thing_in_all_commands() -> None:
    for name, command in commands():
        for parameter in command.params:
            for flag, (metavar, meaning) in MEANINGS.items():
                if flag in parameter.opts:
                    assert parameter.metavar == metavar, name
                    assert meaning in parameter.help or flag == "--data", f"{name} {flag}: {parameter.help}"
            assert not {"--reader", "--collector", "--ca"} & set(parameter.opts), name


def test_the_beginning_of_a_streams_id_in_a_table_names_it(
    invoke: Invoke, proxy: str, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A table has no room for a whole id; `--stream` takes its beginning."""
    (whole,) = (json.loads(line)["stream_id"] for line in invoke("gaps", "--all", "--data", str(data)).out.splitlines())
    monkeypatch.setattr("otel_audit.cli.output.PIPE_WIDTH", 80)
    line = invoke("gaps", "--all", "--data", str(data), "--format", "table").out.splitlines()[1]
    assert whole.startswith(line.split()[0])
    assert 8 < len(line.split()[0]) < len(whole)
    assert len(line) <= 80
