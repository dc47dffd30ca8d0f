"""What went wrong on the way to a peer is said in the operating system's own words."""

from __future__ import annotations

import pytest
import requests

from otel_audit.delivery.cause import cause


def test_a_refused_connection_says_so_without_the_layers_around_it() -> None:
    with pytest.raises(requests.ConnectionError) as caught:
        requests.get("http://127.0.0.1:1/v1/logs", timeout=5)
    assert cause(caught.value) == "Connection refused"


def test_an_error_without_a_system_cause_keeps_its_own_words_and_a_cycle_ends() -> None:
    error = ValueError("odd")
    error.__cause__ = error
    assert cause(error) == "ValueError: odd"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            "HTTPConnectionPool(host='c', port=1): Max retries exceeded with url: /v1/logs?token=secret (Caused by X)",
            "HTTPConnectionPool(host='c', port=1): Max retries exceeded with url: /v1/logs (Caused by X)",
        ),
        ("Invalid URL 'https://ann:secret@c/v1?token=secret': no host", "Invalid URL 'https://c/v1': no host"),
        ("a\x1b[31m", "a\\x1b[31m"),
    ],
)
def test_no_secret_of_a_url_and_no_control_character_is_told(text: str, shown: str) -> None:
    assert cause(ValueError(text)) == f"ValueError: {shown}"
