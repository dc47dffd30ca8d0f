"""Where records go and how: one endpoint, and the options of its connection.

Order of endpoints: the argument, `OTEL_AUDIT_ENDPOINT` (both base URLs), `OTEL_EXPORTER_OTLP_LOGS_ENDPOINT` (used as it
is), `OTEL_EXPORTER_OTLP_ENDPOINT` (a base URL; a warning names it, since it was set for other telemetry), then
http://127.0.0.1:4318. A protocol counts only together with an endpoint of the exporter's own: the distro sets gRPC for
everybody, also for those who never heard of it. Headers, timeout, compression, certificates and credential provider
mean what they mean to opentelemetry-exporter-otlp-proto-http, whose own parsing is private and therefore repeated here.

`OTEL_SDK_DISABLED`, `OTEL_LOGS_EXPORTER` and `OTEL_ATTRIBUTE_*_LIMIT` are not read: they must not touch auditing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit, urlunsplit

from opentelemetry.util.re import parse_env_headers

from otel_audit._version import __version__
from otel_audit.delivery.notices import report
from otel_audit.errors import ConfigError
from otel_audit.model.printing import public_url

__all__ = ["DEFAULT_BASE_URL", "LOGS_PATH", "Compression", "Endpoint", "resolve_endpoint"]

DEFAULT_BASE_URL = "http://127.0.0.1:4318"
LOGS_PATH = "/v1/logs"
Compression = Literal["none", "gzip", "deflate"]

_DEFAULT_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A checked endpoint.

    Attributes:
        url: where requests are posted, path included.
        source: what named it (an argument, a variable, "default"), for messages.
        headers: sent with every request; names in lower case.
        timeout_s: longest wait of one request for the peer: to connect, to send, and for the answer as a whole.
        verify: a CA bundle's path, or True for the usual ones.
        cert: client certificate (and key), for mutual TLS.
        credential_provider: name of an entry point of group `opentelemetry_otlp_credential_provider`, or "".
    """

    url: str
    source: str
    headers: Mapping[str, str]
    timeout_s: float = _DEFAULT_TIMEOUT_S
    compression: Compression = "none"
    verify: bool | str = True
    cert: str | tuple[str, str] | None = None
    credential_provider: str = ""

    @property
    def shown_url(self) -> str:
        """The URL as it may be shown and kept; see `public_url`."""
        return public_url(self.url)

    @property
    def base_url(self) -> str | None:
        """The URL without `/v1/logs`, under which our collector serves everything else; None if it ends otherwise."""
        parts = urlsplit(self.url)
        if parts.query or not parts.path.endswith(LOGS_PATH):
            return None
        return urlunsplit((parts.scheme, parts.netloc, parts.path.removesuffix(LOGS_PATH), "", ""))


def resolve_endpoint(
    env: Mapping[str, str],
    *,
    argument: str | None = None,
    audit_endpoint: str = "",
    audit_source: str = "OTEL_AUDIT_ENDPOINT",
    headers: Mapping[str, str] | None = None,
) -> Endpoint:
    """The endpoint that arguments and environment name.

    Args:
        env: the environment, for the `OTEL_EXPORTER_OTLP_*` variables.
        argument: a base URL given in code.
        audit_endpoint: the setting `endpoint`, a base URL, or "".
        audit_source: what gave that setting its value; see `Settings.source`.
        headers: added to the variables' headers; these win.

    Raises:
        ConfigError: no usable URL, another protocol than http/protobuf, a timeout or a certificate that cannot be used.
    """
    url, source = _url(env, argument, audit_endpoint, "endpoint" if audit_source == "argument" else audit_source)
    _check_url(url, source)
    endpoint = Endpoint(
        url=url,
        source=source,
        headers=_headers(env, headers),
        timeout_s=_timeout_s(env),
        compression=_compression(env),
        verify=_pick(env, "CERTIFICATE") or True,
        cert=_client_certificate(env),
        credential_provider=env.get("OTEL_PYTHON_EXPORTER_OTLP_HTTP_CREDENTIAL_PROVIDER")
        or env.get("OTEL_PYTHON_EXPORTER_OTLP_HTTP_LOGS_CREDENTIAL_PROVIDER")
        or "",
    )
    if url.lower().startswith("https:"):
        _check_files(endpoint)
    return endpoint


def _pick(env: Mapping[str, str], option: str) -> str:
    """The variable of logs, else the general one; empty counts as unset, as it does for the exporter."""
    return env.get(f"OTEL_EXPORTER_OTLP_LOGS_{option}") or env.get(f"OTEL_EXPORTER_OTLP_{option}") or ""


def _url(env: Mapping[str, str], argument: str | None, audit_endpoint: str, audit_source: str) -> tuple[str, str]:
    if argument is not None:
        return _with_logs_path(argument), "endpoint"
    if audit_endpoint:
        return _with_logs_path(audit_endpoint), audit_source
    if url := env.get("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT"):
        _check_protocol(env)
        return url, "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT"
    if base := env.get("OTEL_EXPORTER_OTLP_ENDPOINT"):
        _check_protocol(env)
        url = base.removesuffix("/") + LOGS_PATH
        report(
            "warning",
            "activity records go where OTEL_EXPORTER_OTLP_ENDPOINT points; set OTEL_AUDIT_ENDPOINT to choose",
            url=public_url(url),
        )
        return url, "OTEL_EXPORTER_OTLP_ENDPOINT"
    return DEFAULT_BASE_URL + LOGS_PATH, "default"


def _with_logs_path(base: str) -> str:
    """`/v1/logs` added to a base URL; an URL that has it already was meant as it is."""
    base = base.strip().rstrip("/")
    return base if base.endswith(LOGS_PATH) else base + LOGS_PATH


def _check_protocol(env: Mapping[str, str]) -> None:
    protocol = _pick(env, "PROTOCOL").strip().lower()
    if protocol in ("", "http/protobuf"):
        return
    named = "OTEL_EXPORTER_OTLP_LOGS_PROTOCOL"
    if not env.get(named):
        named = "OTEL_EXPORTER_OTLP_PROTOCOL"
    raise ConfigError(
        f"{named}={protocol}: activity records are sent by http/protobuf. Set OTEL_AUDIT_ENDPOINT to the HTTP endpoint "
        "of your collector, or OTEL_EXPORTER_OTLP_LOGS_PROTOCOL=http/protobuf if the endpoint speaks it"
    )


def _check_url(url: str, source: str) -> None:
    try:
        parts = urlsplit(url)
        usable = parts.scheme.lower() in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ConfigError(f"{source}: {public_url(url)!r} is no URL like http://collector:4318")


def _headers(env: Mapping[str, str], given: Mapping[str, str] | None) -> dict[str, str]:
    headers = {"content-type": "application/x-protobuf", "user-agent": f"otel-audit/{__version__}"}
    headers.update(parse_env_headers(_pick(env, "HEADERS"), liberal=True))
    headers.update({name.lower(): value for name, value in (given or {}).items()})
    return headers


def _timeout_s(env: Mapping[str, str]) -> float:
    raw = _pick(env, "TIMEOUT")
    if not raw:
        return _DEFAULT_TIMEOUT_S
    try:
        timeout_s = float(raw)
    except ValueError:
        report("warning", "invalid OTEL_EXPORTER_OTLP_TIMEOUT, using the default", value=raw, used_s=_DEFAULT_TIMEOUT_S)
        return _DEFAULT_TIMEOUT_S
    # The exporter takes these too, and then loses every record; here they would be tried for ever.
    if not math.isfinite(timeout_s) or timeout_s <= 0:
        raise ConfigError(f"OTEL_EXPORTER_OTLP_TIMEOUT: {raw!r} is no number of seconds above 0")
    return timeout_s


def _compression(env: Mapping[str, str]) -> Compression:
    value = _pick(env, "COMPRESSION").strip().lower()
    match value:
        case "" | "none":
            return "none"
        case "gzip":
            return "gzip"
        case "deflate":
            return "deflate"
        case _:
            report("warning", "unsupported OTEL_EXPORTER_OTLP_COMPRESSION, sending uncompressed", value=value)
            return "none"


def _client_certificate(env: Mapping[str, str]) -> str | tuple[str, str] | None:
    certificate, key = _pick(env, "CLIENT_CERTIFICATE"), _pick(env, "CLIENT_KEY")
    return (certificate, key) if certificate and key else certificate or None


def _check_files(endpoint: Endpoint) -> None:
    """A missing file would otherwise show only as records that never arrive."""
    cert = endpoint.cert
    named = [*((cert,) if isinstance(cert, str) else cert or ())]
    if isinstance(endpoint.verify, str):
        named.append(endpoint.verify)
    for path in named:
        if not Path(path).exists():
            raise ConfigError(
                f"{path}: no such certificate or key (OTEL_EXPORTER_OTLP_[LOGS_]*CERTIFICATE, *CLIENT_KEY)"
            )
