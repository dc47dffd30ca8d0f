"""Where records go: the order of endpoints, and each OTEL_EXPORTER_OTLP_* variable as the exporter package has it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import requests
from opentelemetry._logs import LogRecord
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk.resources import Resource

from otel_audit.delivery.endpoint import resolve_endpoint
from otel_audit.delivery.transport import Transport
from otel_audit.errors import ConfigError
from tests.delivery.scripted_peer import Peer, Seen
from tests.logs import capture_events

BASE = "http://collector.example:4318"
Setenv = Callable[[dict[str, str]], None]


@pytest.fixture
def setenv(monkeypatch: pytest.MonkeyPatch) -> Setenv:
    def put(variables: dict[str, str]) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return put


ALL = {
    "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": f"{BASE}/custom",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "http://other.example:4318",
}


@pytest.mark.parametrize(
    ("arguments", "env", "url"),
    [
        ({"argument": BASE, "audit_endpoint": "http://b:1"}, ALL, f"{BASE}/v1/logs"),
        ({"argument": f"{BASE}/"}, ALL, f"{BASE}/v1/logs"),
        ({"argument": f"{BASE}/v1/logs"}, ALL, f"{BASE}/v1/logs"),
        ({"audit_endpoint": f"{BASE}/prefix/"}, ALL, f"{BASE}/prefix/v1/logs"),
        ({}, ALL, f"{BASE}/custom"),
        ({}, {"OTEL_EXPORTER_OTLP_ENDPOINT": BASE}, f"{BASE}/v1/logs"),
        ({}, {"OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": "", "OTEL_EXPORTER_OTLP_ENDPOINT": ""}, None),
        ({}, {}, None),
    ],
)
def test_the_first_endpoint_named_wins(arguments: dict[str, str], env: dict[str, str], url: str | None) -> None:
    assert resolve_endpoint(env, **arguments).url == (url or "http://127.0.0.1:4318/v1/logs")  # type: ignore[arg-type]


def test_only_the_general_variable_is_warned_of_and_named() -> None:
    with capture_events() as logs:
        resolve_endpoint({"OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": f"{BASE}/custom"})
        resolve_endpoint(ALL, argument=BASE)
        assert logs == []
        resolve_endpoint({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://user:secret@collector.example"})
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" in logs[0]["event"]
    assert "secret" not in str(logs)


@pytest.mark.parametrize("protocol", ["grpc", "http/json"])
@pytest.mark.parametrize("variable", ["OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"])
def test_another_protocol_is_refused_with_the_way_out(variable: str, protocol: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve_endpoint({variable: protocol, "OTEL_EXPORTER_OTLP_ENDPOINT": BASE})
    with pytest.raises(ConfigError):
        resolve_endpoint({variable: protocol, "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": BASE})
    assert resolve_endpoint({variable: protocol}).source == "default"
    for word in (f"{variable}={protocol}", "http/protobuf", "OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "OTEL_AUDIT_ENDPOINT"):
        assert word in str(caught.value)
    assert resolve_endpoint({variable: protocol}, audit_endpoint=BASE).url == f"{BASE}/v1/logs"
    assert resolve_endpoint({variable: protocol}, argument=BASE).url == f"{BASE}/v1/logs"


def test_the_protocol_of_logs_beats_the_general_one() -> None:
    env = {"OTEL_EXPORTER_OTLP_LOGS_PROTOCOL": "http/protobuf", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
    assert resolve_endpoint(env).source == "default"


@pytest.mark.parametrize("url", ["", "collector:4318", "ftp://collector", "http://", "http://[::1", "http://h:port"])
def test_a_text_that_is_no_http_url_is_refused(url: str) -> None:
    with pytest.raises(ConfigError):
        resolve_endpoint({}, argument=url)


def test_the_base_url_is_known_only_under_the_standard_path() -> None:
    assert resolve_endpoint({}, argument=f"{BASE}/a").base_url == f"{BASE}/a"
    assert resolve_endpoint({"OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": f"{BASE}/in"}).base_url is None


def test_headers_given_in_code_win_over_the_variables() -> None:
    endpoint = resolve_endpoint({"OTEL_EXPORTER_OTLP_HEADERS": "X-Key=a,X-Other=b"}, headers={"x-KEY": "c"})
    assert endpoint.headers["x-key"] == "c"
    assert endpoint.headers["x-other"] == "b"


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf"])
def test_a_timeout_no_request_can_have_is_refused(value: str) -> None:
    with pytest.raises(ConfigError, match="TIMEOUT"):
        resolve_endpoint({"OTEL_EXPORTER_OTLP_TIMEOUT": value})


def test_a_missing_certificate_is_refused_for_https_only() -> None:
    env = {"OTEL_EXPORTER_OTLP_CERTIFICATE": "/nowhere/ca.pem"}
    with pytest.raises(ConfigError, match=r"/nowhere/ca\.pem"):
        resolve_endpoint(env, argument="https://collector.example")
    assert resolve_endpoint(env, argument=BASE).verify == "/nowhere/ca.pem"


def test_a_header_that_http_cannot_carry_is_refused() -> None:
    with pytest.raises(ConfigError, match="headers"):
        Transport(resolve_endpoint({}, argument=BASE, headers={"x-key": "a\nb"}))


# --- parity with opentelemetry-exporter-otlp-proto-http, on the wire where there is one ---


def exporter_sends(peer: Peer) -> Seen:
    """What the exporter package sends under the current environment."""
    OTLPLogExporter().export([ReadableLogRecord(LogRecord(body="x"), Resource({}))])
    return peer.seen.pop()


def ours_sends(peer: Peer, env: dict[str, str]) -> Seen:
    """What we send under the same."""
    transport = Transport(resolve_endpoint(env))
    transport.post(b"\x0a\x00")
    transport.close()
    return peer.seen.pop()


def told(seen: Seen) -> dict[str, str]:
    return {name: value for name, value in seen.headers.items() if name not in ("user-agent", "content-length")}


@pytest.mark.parametrize(
    "variables",
    [
        {"OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": "{url}/some/path?x=1"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "{url}"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "{url}/base/"},
        {"OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": "{url}/a", "OTEL_EXPORTER_OTLP_ENDPOINT": "{url}/b"},
        {"OTEL_EXPORTER_OTLP_HEADERS": "Api-Key=a%20b,other = c=d , ,bad key=1,x=not encoded"},
        {"OTEL_EXPORTER_OTLP_LOGS_HEADERS": "k=logs", "OTEL_EXPORTER_OTLP_HEADERS": "k=general,only=general"},
        {"OTEL_EXPORTER_OTLP_HEADERS": "content-type=application/x-other"},
        {"OTEL_EXPORTER_OTLP_COMPRESSION": "none"},
        {"OTEL_EXPORTER_OTLP_COMPRESSION": " GZIP "},
        {"OTEL_EXPORTER_OTLP_COMPRESSION": "deflate"},
        {"OTEL_EXPORTER_OTLP_COMPRESSION": "brotli"},
        {"OTEL_EXPORTER_OTLP_LOGS_COMPRESSION": "deflate", "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip"},
    ],
)
def test_variables_mean_on_the_wire_what_they_mean_to_the_exporter(
    peer: Peer, setenv: Setenv, variables: dict[str, str]
) -> None:
    env = {name: value.replace("{url}", peer.url) for name, value in variables.items()}
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": peer.url} | env
    setenv(env)
    theirs, ours = exporter_sends(peer), ours_sends(peer, env)
    assert ours.path == theirs.path
    assert told(ours) == told(theirs)


@pytest.mark.parametrize(
    "env",
    [
        {},
        {"OTEL_EXPORTER_OTLP_TIMEOUT": "3.5"},
        {"OTEL_EXPORTER_OTLP_LOGS_TIMEOUT": "2", "OTEL_EXPORTER_OTLP_TIMEOUT": "3"},
        {"OTEL_EXPORTER_OTLP_TIMEOUT": "soon"},
    ],
)
def test_a_timeout_means_what_it_means_to_the_exporter(setenv: Setenv, env: dict[str, str]) -> None:
    setenv(env)
    assert resolve_endpoint(env).timeout_s == OTLPLogExporter()._client._timeout


@pytest.mark.parametrize(
    "env",
    [
        {},
        {"OTEL_EXPORTER_OTLP_CERTIFICATE": "ca"},
        {"OTEL_EXPORTER_OTLP_LOGS_CERTIFICATE": "logs-ca", "OTEL_EXPORTER_OTLP_CERTIFICATE": "ca"},
        {"OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": "cert"},
        {"OTEL_EXPORTER_OTLP_CLIENT_KEY": "key"},
        {"OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": "cert", "OTEL_EXPORTER_OTLP_CLIENT_KEY": "key"},
        {
            "OTEL_EXPORTER_OTLP_LOGS_CLIENT_CERTIFICATE": "logs-cert",
            "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": "cert",
            "OTEL_EXPORTER_OTLP_LOGS_CLIENT_KEY": "logs-key",
            "OTEL_EXPORTER_OTLP_CLIENT_KEY": "key",
        },
    ],
)
def test_certificates_mean_what_they_mean_to_the_exporter(setenv: Setenv, env: dict[str, str]) -> None:
    setenv(env)
    theirs = OTLPLogExporter()._client._transport._session  # type: ignore[attr-defined]
    ours = Transport(resolve_endpoint(env)).open_session()
    assert (ours.verify, ours.cert) == (theirs.verify, theirs.cert)


@pytest.fixture
def providers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed distribution with three credential providers: a good one, another, and a broken one."""
    (tmp_path / "signing_for_test.py").write_text(
        "import requests\n"
        "def one():\n    s = requests.Session(); s.headers['x-signed'] = 'one'; return s\n"
        "def two():\n    s = requests.Session(); s.headers['x-signed'] = 'two'; return s\n"
        "def wrong():\n    return object()\n"
        "def failing():\n    raise OSError('no key')\n"
    )
    info = tmp_path / "signing_for_test-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: signing-for-test\nVersion: 1\n")
    (info / "entry_points.txt").write_text(
        "[opentelemetry_otlp_credential_provider]\n"
        + "".join(f"{name} = signing_for_test:{name}\n" for name in ("one", "two", "wrong", "failing"))
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "signing_for_test", raising=False)


GENERAL = "OTEL_PYTHON_EXPORTER_OTLP_HTTP_CREDENTIAL_PROVIDER"
LOGS = "OTEL_PYTHON_EXPORTER_OTLP_HTTP_LOGS_CREDENTIAL_PROVIDER"


@pytest.mark.usefixtures("providers")
@pytest.mark.parametrize("variables", [{GENERAL: "one"}, {LOGS: "one"}, {GENERAL: "one", LOGS: "two"}])
def test_a_credential_provider_means_what_it_means_to_the_exporter(
    peer: Peer, setenv: Setenv, variables: dict[str, str]
) -> None:
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": peer.url} | variables
    setenv(env)
    theirs, ours = exporter_sends(peer), ours_sends(peer, env)
    assert ours.headers["x-signed"] == theirs.headers["x-signed"]


@pytest.mark.usefixtures("providers")
@pytest.mark.parametrize("name", ["wrong", "failing", "absent"])
def test_a_credential_provider_that_cannot_serve_is_refused_when_the_exporter_refuses_it(
    setenv: Setenv, name: str
) -> None:
    setenv({GENERAL: name})
    with pytest.raises((RuntimeError, OSError)):
        OTLPLogExporter()
    with pytest.raises(ConfigError, match=name):
        Transport(resolve_endpoint({GENERAL: name}))


@pytest.mark.usefixtures("providers")
def test_a_provider_gives_a_new_session_after_a_fork() -> None:
    transport = Transport(resolve_endpoint({GENERAL: "one"}))
    first, second = transport._session, transport.fresh().open_session()
    assert isinstance(first, requests.Session)
    assert first is not second


def test_an_endpoint_that_cannot_be_used_is_blamed_on_what_named_it() -> None:
    for source, blamed in [("argument", "endpoint"), ("OTEL_AUDIT_ENDPOINT",) * 2, ("/etc/otel-audit.toml",) * 2]:
        with pytest.raises(ConfigError, match=f"^{blamed}: 'localhost:4318/v1/logs' is no URL like"):
            resolve_endpoint({}, audit_endpoint="localhost:4318", audit_source=source)


def test_netrc_does_not_take_the_place_of_the_authorization_given(
    peer: Peer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login other password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    for given, sent in [
        ({"OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer mine"}, "Bearer mine"),
        ({}, None),
    ]:
        Transport(resolve_endpoint(given, argument=peer.url)).post(b"x")
        assert peer.seen[-1].headers.get("authorization") == sent
    Transport(resolve_endpoint({}, argument=peer.url.replace("://", "://ann:pw@"))).post(b"x")
    assert peer.seen[-1].headers["authorization"] == "Basic YW5uOnB3"


def test_the_certificates_given_hold_also_where_the_environment_names_others_for_everybody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for variable in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.setenv(variable, requests.certs.where())
    certificate = Path(__file__).parents[1] / "cli" / "proxy.pem"
    peer = Peer(certificate=certificate)
    try:
        env = {"OTEL_EXPORTER_OTLP_CERTIFICATE": str(certificate)}
        for _ in range(2):
            assert Transport(resolve_endpoint(env, argument=peer.url)).post(b"x").status == 200
        with pytest.raises(requests.exceptions.SSLError):
            Transport(resolve_endpoint({}, argument=peer.url)).post(b"x")
    finally:
        peer.stop()


def test_a_token_in_the_url_is_used_and_not_shown() -> None:
    endpoint = resolve_endpoint({"OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": "https://ann:pw@collector/v1/logs?token=secret"})
    assert endpoint.url == "https://ann:pw@collector/v1/logs?token=secret"
    assert endpoint.shown_url == "https://collector/v1/logs"
