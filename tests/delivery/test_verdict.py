"""What an HTTP answer to an export request means."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_audit.delivery.verdict import Answer, Delivered, Refused, Retry, TooLarge, judge, parse_retry_after
from tests.delivery.scripted_peer import partial

NOW_S = 1_800_000_000.0


def verdict(status: int, body: bytes = b"", **headers: str) -> object:
    return judge(Answer(status, {name.replace("_", "-"): value for name, value in headers.items()}, body), NOW_S)


def test_an_empty_body_is_success() -> None:
    assert verdict(200) == Delivered()


def test_a_partial_success_that_rejects_nothing_is_success() -> None:
    assert verdict(200, b"\x0a\x00") == Delivered()


def test_a_remark_without_rejections_is_success_with_a_warning() -> None:
    assert verdict(200, partial(0, "deprecated")) == Delivered("deprecated")


def test_rejected_records_are_refused_with_the_peers_message() -> None:
    found = verdict(200, partial(2, "bad tenant"))
    assert isinstance(found, Refused)
    assert found.rejected == 2
    assert "bad tenant" in found.reason


def test_an_answer_in_json_is_understood_too() -> None:
    assert verdict(200, b"{}", content_type="application/json; charset=utf-8") == Delivered()
    body = b'{"partialSuccess": {"rejectedLogRecords": "3", "errorMessage": "no"}}'
    found = verdict(200, body, content_type="application/json")
    assert isinstance(found, Refused)
    assert found.rejected == 3


@pytest.mark.parametrize("body", [b"<html>please log in</html>", b"ok", b"{}", b"\xff\xff\xff"])
def test_a_200_that_no_otlp_server_gives_proves_nothing(body: bytes) -> None:
    assert isinstance(verdict(200, body), Retry)
    assert isinstance(verdict(200, b"{broken", content_type="application/json"), Retry)


@pytest.mark.parametrize("status", [201, 202, 203, 204, 206, 299])
def test_only_200_is_success(status: int) -> None:
    assert isinstance(verdict(status), Retry)


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_the_four_retryable_statuses_are_retried_after_the_time_asked(status: int) -> None:
    assert verdict(status) == Retry(f"HTTP {status}")
    assert verdict(status, retry_after="7") == Retry(f"HTTP {status}", 7.0)


@pytest.mark.parametrize("status", [301, 302, 307, 308, 400, 401, 403, 404, 405, 408, 409, 415, 500, 501, 505])
def test_every_other_status_is_final(status: int) -> None:
    found = verdict(status, retry_after="7")
    assert isinstance(found, Refused)
    assert found.rejected is None
    assert str(status) in found.reason


def test_413_asks_for_less_at_once() -> None:
    assert isinstance(verdict(413), TooLarge)


def test_what_the_peer_says_is_part_of_the_reason() -> None:
    found = verdict(400, b"\x12\x1bmissing attribute audit.xyz")
    assert isinstance(found, Refused)
    assert "missing attribute audit.xyz" in found.reason
    assert len(judge(Answer(400, {}, b"x" * 10_000), NOW_S).reason) < 300  # type: ignore[union-attr]


@given(st.integers(min_value=0, max_value=10**9))
def test_retry_after_in_seconds_and_as_a_date_mean_the_same(seconds: int) -> None:
    date = format_datetime(datetime.fromtimestamp(NOW_S + seconds, UTC), usegmt=True)
    assert parse_retry_after(str(seconds), NOW_S) == parse_retry_after(date, NOW_S) == seconds


@pytest.mark.parametrize("value", ["-5", "Wed, 21 Oct 2015 07:28:00 GMT"])
def test_a_time_that_is_over_means_now(value: str) -> None:
    assert parse_retry_after(value, NOW_S) == 0.0


@pytest.mark.parametrize("value", ["", "soon", "inf", "nan", "1e999", "Wed, 99 Oct 2015"])
def test_a_retry_after_that_says_nothing_is_none(value: str) -> None:
    assert parse_retry_after(value, NOW_S) is None


@given(st.text())
def test_any_retry_after_is_a_time_or_nothing(value: str) -> None:
    found = parse_retry_after(value, NOW_S)
    assert found is None or 0 <= found < float("inf")


@given(
    st.integers(min_value=200, max_value=599),
    st.binary(max_size=64),
    st.sampled_from(["", "application/x-protobuf", "application/json", "text/html"]),
)
def test_any_answer_has_a_verdict(status: int, body: bytes, content_type: str) -> None:
    found = verdict(status, body, content_type=content_type)
    assert isinstance(found, Delivered | Retry | TooLarge | Refused)
    assert status == 200 or not isinstance(found, Delivered)
