"""A request without records: what it is answered shows who is there, and leaves nothing behind."""

from __future__ import annotations

import time
from dataclasses import replace

from otel_audit.delivery.answer import Answer
from otel_audit.delivery.cause import cause
from otel_audit.delivery.endpoint import Endpoint
from otel_audit.delivery.remedy import remedy
from otel_audit.delivery.sender import unobserved
from otel_audit.delivery.transport import Transport
from otel_audit.delivery.verdict import Delivered, judge
from otel_audit.errors import NotDeliveredError
from otel_audit.otlp.encode import frame_request
from otel_audit.otlp.names import LOG_HEADER

__all__ = ["knock", "readiness"]


def knock(endpoint: Endpoint, timeout_s: float) -> str | None:
    """Name of the collector's log, if one of ours answers success; None for another OTLP server.

    Raises:
        NotDeliveredError: no answer, or none of an OTLP server's successes.
    """
    answer = _ask(endpoint, timeout_s, None)
    verdict = judge(answer, time.time())
    if not isinstance(verdict, Delivered):
        raise NotDeliveredError(f"{endpoint.shown_url}: {verdict.reason}. {remedy(verdict.reason)}")
    return answer.headers.get(LOG_HEADER)


def readiness(endpoint: Endpoint, timeout_s: float) -> str:
    """What our collector says of itself at `/readyz`.

    Raises:
        NotDeliveredError: it is not ready, or says nothing.
    """
    answer = _ask(endpoint, timeout_s, f"{endpoint.base_url}/readyz")
    if answer.status != 200:
        raise NotDeliveredError(f"{endpoint.shown_url}: not ready, HTTP {answer.status}: {answer.words}")
    return answer.words


def _ask(endpoint: Endpoint, timeout_s: float, page: str | None) -> Answer:
    transport = Transport(replace(endpoint, timeout_s=timeout_s))
    try:
        with unobserved():
            return transport.post(frame_request(b"", (), "")) if page is None else transport.get(page)
    except Exception as error:  # whatever stands between us and an answer, a credential provider's errors included
        trouble = cause(error)
        raise NotDeliveredError(f"{endpoint.shown_url}: {trouble}. {remedy(trouble)}") from error
    finally:
        transport.close()
