"""The table of errors and answers: what makes a client resend, and what makes it throw its batch away."""

from __future__ import annotations

import json

import pytest
from google.rpc.status_pb2 import Status
from hypothesis import given
from hypothesis import strategies as st

from otel_audit import errors
from otel_audit.collector.answers import Dialect, answer_for, format_status, refusal

RETRYABLE = {429, 502, 503, 504}


def all_errors(kind=errors.OtelAuditError):
    yield kind
    for child in kind.__subclasses__():
        yield from all_errors(child)


@given(st.integers(0, 16), st.text(max_size=400))
def test_a_status_is_what_google_reads(code, message):
    parsed = Status.FromString(format_status(code, message))
    assert (parsed.code, parsed.message) == (code, message)


def test_a_status_takes_any_text():
    assert Status.FromString(format_status(3, "lone \ud800 surrogate")).message == "lone ? surrogate"


@pytest.mark.parametrize("kind", list(all_errors()))
def test_only_what_was_sent_can_earn_an_answer_that_is_final(kind):
    error = kind.__new__(kind)
    Exception.__init__(error, "words")
    answer = answer_for(error, Dialect.PROTOBUF)
    if isinstance(error, errors.PeerBytesError | errors.QueryError | errors.RecordError):
        assert answer.status == kind.http_status
    else:
        assert answer.status in RETRYABLE
        assert (b"retry-after", b"1") in answer.headers
    assert answer.status != 500
    assert Status.FromString(answer.body).message == "words"


def test_an_unforeseen_exception_is_answered_later_and_keeps_its_text_to_itself():
    answer = answer_for(KeyError("password"), Dialect.PROBLEM)
    assert answer.status == 503
    assert b"password" not in answer.body


def test_each_dialect_says_the_same():
    said = "no such thing"
    assert Status.FromString(refusal(404, said, Dialect.PROTOBUF).body).message == said
    assert json.loads(refusal(404, said, Dialect.OTLP_JSON).body) == {"code": 5, "message": said}
    problem = json.loads(refusal(404, said, Dialect.PROBLEM).body)
    assert problem == {"type": "about:blank", "title": "Not Found", "status": 404, "detail": said}
