"""What an HTTP answer to an export request means. Pure: an answer in, a verdict out.

The rules (OTLP specification, "OTLP/HTTP Response"; RFC 9110 §10.2.3 for Retry-After):
- only what an OTLP server answers proves delivery: 200, and an ExportLogsServiceResponse without an unknown field under
  the content type of the request, application/x-protobuf; or nothing at all, neither body nor content type. A
  `partial_success` that is present but rejects nothing, which otelcol sends with every success, is one;
- `rejected_log_records` > 0: the peer refused some for good and says not which;
- 200 with anything else, and every other 2xx: whoever answered did not promise to have stored anything. A proxy's login
  page answers 200, and 202 is "perhaps later". So: no proof, send again;
- statuses that tell of a passing trouble of the peer or of what stands before it (`_RETRYABLE`), and a 404 that no OTLP
  server wrote, as of an ingress with nothing behind it: send again, not before Retry-After;
- 500 is among them, though a server that fails at one record, or an otelcol whose own peer refused it, answers so for
  ever: whoever sends must not wait for it without end;
- 413: too much at once; halves may pass;
- all else, redirects included, is the peer's final word on this request. Where it may be for the sake of one record
  (`_ABOUT_CONTENT`), the others may pass without it. Where it is about who asks or where (a token, a path), the same
  records may pass another time.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime

from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse

from otel_audit.delivery.answer import PROTOBUF, Answer
from otel_audit.model.printing import printable

__all__ = ["Answer", "Delivered", "Refused", "Retry", "TooLarge", "Verdict", "can_pass", "judge", "parse_retry_after"]

_RETRYABLE = frozenset({408, 425, 429, 500, 502, 503, 504, 507, 520, 521, 522, 523, 524})
_ABOUT_CONTENT = frozenset({400, 403, 406, 409, 422, 451})
_STATUS = re.compile(r"HTTP (\d{3})\b")
_CANNOT_PASS = frozenset({400, 406, 409, 413, 422, 451})


@dataclass(frozen=True, slots=True)
class Delivered:
    """The peer has all of them. `warning` is what it had to say besides."""

    warning: str = ""


@dataclass(frozen=True, slots=True)
class Retry:
    """No proof of delivery; send the same again, not before `after_s` seconds if the peer said so.

    Attributes:
        stuck: a peer may answer so for ever for the sake of one record.
    """

    reason: str
    after_s: float | None = None
    stuck: bool = False


@dataclass(frozen=True, slots=True)
class TooLarge:
    """The peer does not take that much in one request."""

    reason: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The peer does not take them as they are: `rejected` of them, or all (None).

    Attributes:
        divisible: it may be for the sake of some; the others may pass without them.
    """

    reason: str
    rejected: int | None = None
    divisible: bool = False


Verdict = Delivered | Retry | TooLarge | Refused


def judge(answer: Answer, now_s: float) -> Verdict:
    """The verdict on an answer.

    Args:
        now_s: seconds since 1970, to turn a Retry-After date into a pause.
    """
    status = answer.status
    if status == 200:
        return _judge_body(answer)
    words = answer.words
    said = f"HTTP {status}" + (f" ({words})" if words else "")
    if 200 <= status < 300:
        return Retry(f"{said}; only 200 promises that the records are kept")
    if status in _RETRYABLE:
        return Retry(said, parse_retry_after(answer.headers.get("retry-after", ""), now_s), stuck=status == 500)
    if status == 404 and answer.content_type != PROTOBUF:
        return Retry(f"{said}; no OTLP server is there, or it has another path")
    if status == 413:
        return TooLarge(said)
    if 300 <= status < 400:
        return Refused(f"{said}; redirects are not followed, name the final URL")
    return Refused(said, divisible=status in _ABOUT_CONTENT)


def can_pass(reason: str) -> bool:
    """Whether a refusal, by its reason, is about who asks or where, so that the same records may pass another time."""
    status = _STATUS.match(reason)
    return status is not None and int(status[1]) not in _CANNOT_PASS


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
    response = _response(answer)
    if response is None:
        kind = printable(answer.content_type) or "no content type"
        words = answer.words
        came = f'{kind}, "{words}"' if words else f"{kind}, {len(answer.body)} bytes"
        return Retry(f"HTTP 200, but not from an OTLP server: {came}")
    partial = response.partial_success
    message = printable(partial.error_message)
    if partial.rejected_log_records > 0:
        reason = f"partial success, {partial.rejected_log_records} rejected" + (f": {message}" if message else "")
        return Refused(reason, partial.rejected_log_records)
    return Delivered(message)


def _response(answer: Answer) -> ExportLogsServiceResponse | None:
    """The body as an OTLP server writes it, else None."""
    if not answer.body and "content-type" not in answer.headers:
        return ExportLogsServiceResponse()
    if answer.content_type != PROTOBUF:
        return None
    try:
        response = ExportLogsServiceResponse.FromString(answer.body)
    except (DecodeError, UnicodeDecodeError):
        return None
    is_whole = not _has_unknown(response) and not _has_unknown(response.partial_success)
    return response if is_whole and response.partial_success.rejected_log_records >= 0 else None


def _has_unknown(message: Message) -> bool:
    return len(UnknownFieldSet(message)) > 0
