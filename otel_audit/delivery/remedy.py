"""What to do about a delivery that does not get on: the advice that fits what the peer said, or why it said nothing."""

from __future__ import annotations

import re

__all__ = ["remedy"]

_NOT_OTLP = "Something else than an OTLP server answers there, as a proxy or a login page does: check the URL."
_STATUS = re.compile(r"HTTP (\d{3})\b")
_TLS = re.compile(r"ssl|tls|certificate", re.IGNORECASE)
_NO_NAME = re.compile(r"name or service|name resolution|nodename|no address associated", re.IGNORECASE)
_NOBODY = re.compile(r"refused|unreachable|no route", re.IGNORECASE)
_ABSENT = "Is a collector running there (`otel-audit collector`)? OTEL_AUDIT_ENDPOINT names another place."


def remedy(trouble: str) -> str:
    """One or two sentences.

    Args:
        trouble: the words of an outbox for why it does not get on.
    """
    if "not from an OTLP server" in trouble:
        return _NOT_OTLP
    if status := _STATUS.search(trouble):
        return _for_status(int(status[1]))
    if _TLS.search(trouble):
        return (
            "Check the certificates (OTEL_EXPORTER_OTLP_CERTIFICATE, _CLIENT_CERTIFICATE, _CLIENT_KEY), and that the "
            "URL's scheme is the server's."
        )
    if _NO_NAME.search(trouble):
        return "Check the host's name in the endpoint's URL."
    if "timed out" in trouble.lower() or "too long" in trouble:
        return "Nothing answers in time: check address, port and firewalls, or raise OTEL_EXPORTER_OTLP_TIMEOUT."
    if "proxy" in trouble.lower():
        return "Check the proxy that HTTP_PROXY or HTTPS_PROXY names; NO_PROXY leaves it out for a host."
    if not trouble or _NOBODY.search(trouble):
        return _ABSENT
    return "Something is there that does not answer as an OTLP server does: check address, port and the URL's scheme."


def _for_status(status: int) -> str:
    if status in (401, 403, 407):
        return "Check the token or the credentials (OTEL_EXPORTER_OTLP_HEADERS), and what they are allowed to do."
    if status == 404:
        return "Check the path of the endpoint's URL, and whether the collector behind the ingress is up."
    if 300 <= status < 400:
        return "Name the final URL by OTEL_AUDIT_ENDPOINT."
    if status == 413:
        return "Raise the peer's limit for a request's size."
    if 200 <= status < 300:
        return _NOT_OTLP
    if status == 429 or status >= 500:
        return "The server is there and does not take records now: its own log and its disk say why."
    return "Check the endpoint, and what stands between you and the collector."
