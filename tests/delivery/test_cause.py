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
