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


PROTOBUF = "application/x-protobuf"


def verdict(status: int, body: bytes = b"", **headers: str) -> object:
    return judge(Answer(status, {name.replace("_", "-"): value for name, value in headers.items()}, body), NOW_S)


def test_an_empty_body_is_success() -> None:
    assert verdict(200) == Delivered()
    assert verdict(200, content_type=PROTOBUF) == Delivered()


def test_a_partial_success_that_rejects_nothing_is_success() -> None:
    assert verdict(200, b"\x0a\x00", content_type=PROTOBUF) == Delivered()


def test_a_remark_without_rejections_is_success_with_a_warning() -> None:
    assert verdict(200, partial(0, "deprecated"), content_type=PROTOBUF) == Delivered("deprecated")


def test_rejected_records_are_refused_with_the_peers_message() -> None:
    found = verdict(200, partial(2, "bad tenant"), content_type=PROTOBUF)
    assert isinstance(found, Refused)
    assert found.rejected == 2
    assert "bad tenant" in found.reason


@pytest.mark.parametrize(
    ("content_type", "body", "shown"),
    [
        ("application/json", b'{"status":"ok"}', 'application/json, "{"status":"ok"}"'),
        ("application/json", b'{"error":"unauthorized","login":"https://x"}', "unauthorized"),
        ("application/json", b"[]", 'application/json, "[]"'),
        ("application/json", b"{}", 'application/json, "{}"'),
        ("text/html", b"", "text/html, 0 bytes"),
        ("text/html; charset=utf-8", b"<html>\n\x1b]0;log in\x07</html>", "<html> \\x1b]0;log in\\x07</html>"),
        ("text/plain", b"hi", 'text/plain, "hi"'),
        (PROTOBUF, b"hi", f'{PROTOBUF}, "hi"'),
        (PROTOBUF, b"\x0a\x02hi", PROTOBUF),
        (PROTOBUF, b"\xff\xff\xff", "\\xff\\xff\\xff"),
        (PROTOBUF, partial(-1), PROTOBUF),
        ("", b"Ok", 'no content type, "Ok"'),
        ("", b"\x0a\x00", "no content type"),
    ],
)
def test_a_200_that_no_otlp_server_gives_proves_nothing_and_is_told(content_type: str, body: bytes, shown: str) -> None:
    found = verdict(200, body, content_type=content_type)
    assert isinstance(found, Retry)
    assert "not from an OTLP server" in found.reason
    assert shown in found.reason


@pytest.mark.parametrize("status", [201, 202, 203, 204, 206, 299])
def test_only_200_is_success(status: int) -> None:
    assert isinstance(verdict(status), Retry)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 507, 520, 521, 522, 523, 524])
def test_what_can_pass_by_itself_is_retried_after_the_time_asked(status: int) -> None:
    assert verdict(status) == Retry(f"HTTP {status}", stuck=status == 500)
    assert verdict(status, retry_after="7") == Retry(f"HTTP {status}", 7.0, stuck=status == 500)


def test_a_404_of_an_ingress_with_nothing_behind_it_is_retried_and_one_of_an_otlp_server_is_not() -> None:
    assert isinstance(verdict(404, b"default backend - 404", content_type="text/plain"), Retry)
    assert isinstance(verdict(404), Retry)
    found = verdict(404, b"\x08\x05\x12\x09no tenant", content_type=PROTOBUF)
    assert found == Refused("HTTP 404 (no tenant)")


@pytest.mark.parametrize("status", [301, 302, 307, 308, 400, 401, 403, 405, 409, 415, 501, 505])
def test_every_other_status_is_final(status: int) -> None:
    found = verdict(status, retry_after="7")
    assert isinstance(found, Refused)
    assert found.rejected is None
    assert str(status) in found.reason


def test_413_asks_for_less_at_once() -> None:
    assert isinstance(verdict(413), TooLarge)


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (PROTOBUF, b"\x08\x0d\x12\x09(no disk)"),
        ("application/json", b'{"code": 13, "message": "(no disk)"}'),
        ("application/problem+json", b'{"title": "Full", "detail": "(no disk)"}'),
        ("text/plain", b"(no disk)\n"),
        ("", b" (no   disk)"),
        (PROTOBUF, b"(no disk)"),
        ("application/json", b"(no disk)"),
    ],
)
def test_what_the_peer_says_is_part_of_the_reason(content_type: str, body: bytes) -> None:
    assert verdict(507, body, content_type=content_type) == Retry("HTTP 507 ((no disk))")


@pytest.mark.parametrize("body", [b"[]", b'{"message": 7}', b'{"message": ""}', b'"x"', b"\xff", b"[" * 100_000])
def test_json_that_is_no_status_is_told_as_it_is(body: bytes) -> None:
    found = verdict(400, body, content_type="application/json")
    assert isinstance(found, Refused)
    assert len(found.reason) < 300


def test_a_long_answer_is_told_in_part() -> None:
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
