"""What an HTTP answer to an export request means. Pure: an answer in, a verdict out.

The rules (OTLP specification, "OTLP/HTTP Response"; RFC 9110 §10.2.3 for Retry-After):
- only 200 with a readable ExportLogsServiceResponse proves delivery. An empty body is one; so is a `partial_success`
  that is present but rejects nothing, which otelcol sends with every success;
- `rejected_log_records` > 0: the peer refused some for good and says not which;
- 200 with another body, and every other 2xx: whoever answered did not promise to have stored anything. A login page
  answers 200, and 202 is "perhaps later". So: no proof, send again;
- 429, 502, 503, 504: send again, not before Retry-After;
- 413: too much at once; halves may pass;
- all else, redirects included, is the peer's final word.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime

from google.protobuf import json_format
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse

__all__ = ["Answer", "Delivered", "Refused", "Retry", "TooLarge", "Verdict", "judge", "parse_retry_after"]

_RETRYABLE = frozenset({429, 502, 503, 504})
_EXCERPT_CHARS = 200


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer. `headers` has names in lower case; `body` may be cut off after 4 MiB, the most OTLP allows."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Delivered:
    """The peer has all of them. `warning` is what it had to say besides."""

    warning: str = ""


@dataclass(frozen=True, slots=True)
class Retry:
    """No proof of delivery; send the same again, not before `after_s` seconds if the peer said so."""

    reason: str
    after_s: float | None = None


@dataclass(frozen=True, slots=True)
class TooLarge:
    """The peer does not take that much in one request."""

    reason: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The peer will never take them: `rejected` of them, or all (None)."""

    reason: str
    rejected: int | None = None


Verdict = Delivered | Retry | TooLarge | Refused


def judge(answer: Answer, now_s: float) -> Verdict:
    """The verdict on an answer.

    Args:
        now_s: seconds since 1970, to turn a Retry-After date into a pause.
    """
    status = answer.status
    if status == 200:
        return _judge_body(answer)
    said = f"HTTP {status}{_excerpt(answer)}"
    if 200 <= status < 300:
        return Retry(f"{said}; only 200 promises that the records are kept")
    if status in _RETRYABLE:
        return Retry(said, parse_retry_after(answer.headers.get("retry-after", ""), now_s))
    if status == 413:
        return TooLarge(said)
    if 300 <= status < 400:
        return Refused(f"{said}; redirects are not followed, name the final URL")
    return Refused(said)


def parse_retry_after(value: str, now_s: float) -> float | None:
    """Seconds to wait, from a Retry-After of seconds or of an HTTP-date; None for anything else."""
    value = value.strip()
    try:
        seconds = float(value)
    except ValueError:
        pass
    else:
        return max(seconds, 0.0) if math.isfinite(seconds) else None
    try:
        moment = parsedate_to_datetime(value)
        # An HTTP-date is in GMT by definition, however its zone is spelled.
        aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
        return max(aware.timestamp() - now_s, 0.0)
    except (TypeError, ValueError, OverflowError):
        return None


def _judge_body(answer: Answer) -> Verdict:
    response = ExportLogsServiceResponse()
    try:
        if answer.headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json":
            json_format.Parse(answer.body, response, ignore_unknown_fields=True)
        else:
            response.ParseFromString(answer.body)
    except (DecodeError, json_format.ParseError, UnicodeDecodeError, RecursionError):
        return Retry(f"HTTP 200, but not from an OTLP server{_excerpt(answer)}")
    partial = response.partial_success
    if partial.rejected_log_records > 0:
        reason = f"partial success, {partial.rejected_log_records} rejected"
        message = f": {partial.error_message}" if partial.error_message else ""
        return Refused(reason + message, partial.rejected_log_records)
    return Delivered(partial.error_message)


def _excerpt(answer: Answer) -> str:
    """What the body says, if it is text a person can read; a google.rpc.Status carries its message in the open."""
    text = answer.body[: 4 * _EXCERPT_CHARS].decode("utf-8", "replace")
    readable = " ".join("".join(c if c.isprintable() and c != "\ufffd" else " " for c in text).split())
    return f" ({readable[:_EXCERPT_CHARS]})" if readable else ""
