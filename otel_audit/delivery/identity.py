"""What a process authenticates with, as one text: two that have the same may deliver each other's records."""

from __future__ import annotations

import json
from urllib.parse import urlsplit

from otel_audit.delivery.endpoint import Endpoint

__all__ = ["authentication"]

_OURS = {"content-type", "user-agent"}


def authentication(endpoint: Endpoint) -> bytes:
    """Every header that was set, the client certificate, the credential provider, and what the URL itself carries."""
    parts = urlsplit(endpoint.url)
    headers = sorted((name, value) for name, value in endpoint.headers.items() if name not in _OURS)
    carried = [parts.netloc.rpartition("@")[0], parts.query]
    return json.dumps([headers, endpoint.cert, endpoint.credential_provider, carried]).encode()
