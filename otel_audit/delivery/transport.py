"""One HTTP connection to an OTLP endpoint: a request in, an answer out. No retries, no redirects, no judgement.

Built on `requests` because credential providers (cloud request signing) hand over a `requests.Session`.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from importlib.metadata import entry_points

import requests
from requests.auth import HTTPBasicAuth
from requests.utils import get_auth_from_url

from otel_audit.delivery.deadline import limit_answers
from otel_audit.delivery.endpoint import Endpoint
from otel_audit.delivery.verdict import Answer
from otel_audit.errors import ConfigError

__all__ = ["Transport"]

_MAX_ANSWER_BYTES = 4 << 20
_PROVIDER_GROUP = "opentelemetry_otlp_credential_provider"


class Transport:
    """Posts requests to one endpoint over one session. Used by one thread at a time.

    Raises:
        ConfigError: a header that HTTP cannot carry, or a credential provider that is missing or gives no session.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._headers = dict(endpoint.headers)
        if endpoint.compression != "none":
            self._headers.setdefault("content-encoding", endpoint.compression)
        self._new_session = _session_factory(endpoint)
        _check_headers(endpoint, self._headers)
        # A provider's mistakes must show now, in the caller's thread, and not later in the sender's.
        self._session: requests.Session | None = self.open_session() if endpoint.credential_provider else None

    def fresh(self) -> Transport:
        """The same endpoint with a session of its own: connections must not be shared, least of all after a fork."""
        other = object.__new__(Transport)
        other._endpoint, other._headers, other._new_session = self._endpoint, self._headers, self._new_session
        other._session = None
        return other

    def post(self, body: bytes) -> Answer:
        """Send one request and read its answer.

        Raises:
            Exception: of any kind, when there is no answer: `requests` and credential providers raise what they like.
        """
        return self._exchange("POST", self._endpoint.url, self._compress(body))

    def get(self, url: str) -> Answer:
        """Fetch a page of the same server, with the same headers and certificates. Raises as `post` does."""
        return self._exchange("GET", url, None)

    @property
    def headers(self) -> dict[str, str]:
        """What is sent with every request, but for what describes a body."""
        about_body = ("content-type", "content-encoding")
        return {name: value for name, value in self._headers.items() if name not in about_body}

    def close(self) -> None:
        """Let go of the connection."""
        if self._session is not None:
            self._session.close()
            self._session = None

    def _exchange(self, method: str, url: str, body: bytes | None) -> Answer:
        if self._session is None:
            self._session = self.open_session()
        headers = self._headers if body is not None else self.headers
        with self._session.request(
            method,
            url,
            data=body,
            headers=headers,
            timeout=self._endpoint.timeout_s,
            # With each request: REQUESTS_CA_BUNDLE takes the place of a session's own certificates.
            verify=self._endpoint.verify,
            allow_redirects=False,
            stream=True,
        ) as response:
            # Bounded: whoever answers may be anyone.
            content = response.raw.read(_MAX_ANSWER_BYTES, decode_content=True) or b""
            return Answer(
                response.status_code, {name.lower(): value for name, value in response.headers.items()}, content
            )

    def _compress(self, body: bytes) -> bytes:
        match self._endpoint.compression:
            case "gzip":
                # The fastest level: a tenth more bytes for a quarter of the time.
                return gzip.compress(body, compresslevel=1, mtime=0)
            case "deflate":
                return zlib.compress(body, 1)
            case _:
                return body

    def open_session(self) -> requests.Session:
        """A new session with the endpoint's certificates and credentials; the caller closes it."""
        session = self._new_session()
        limit_answers(session)
        if session.auth is None:
            session.auth = _credentials_of_url
        # requests would read the whole body of a redirect, however long, before it gives the answer back.
        session.get_redirect_target = _nowhere  # type: ignore[method-assign, assignment]
        session.verify = self._endpoint.verify
        if self._endpoint.cert is not None:
            session.cert = self._endpoint.cert
        return session


def _credentials_of_url(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """What requests does by itself, but for ~/.netrc: a password for whatever else is on that host must not take the
    place of the Authorization header that was given."""
    user, password = get_auth_from_url(request.url or "")
    return HTTPBasicAuth(user, password)(request) if user or password else request


def _nowhere(response: requests.Response) -> None:
    return None


def _session_factory(endpoint: Endpoint) -> Callable[[], requests.Session]:
    name = endpoint.credential_provider
    if not name:
        return requests.Session
    found = next(iter(entry_points(group=_PROVIDER_GROUP, name=name)), None)
    if found is None:
        raise ConfigError(f"credential provider {name!r}: no such entry point in group {_PROVIDER_GROUP}")

    def provide() -> requests.Session:
        try:
            session = found.load()()
        except Exception as error:
            raise ConfigError(f"credential provider {name!r} failed: {type(error).__name__}: {error}") from error
        if not isinstance(session, requests.Session):
            raise ConfigError(f"credential provider {name!r} gave a {type(session).__name__}, not a requests.Session")
        return session

    return provide


def _check_headers(endpoint: Endpoint, headers: dict[str, str]) -> None:
    try:
        requests.Request("POST", endpoint.url, headers=headers).prepare()
        for name, value in headers.items():
            name.encode("ascii")
            value.encode("latin-1")
    except (requests.RequestException, ValueError) as error:
        raise ConfigError(f"headers or endpoint cannot be sent: {error}") from None
