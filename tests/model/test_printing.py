"""What others wrote, and URLs, as they may be shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_audit.model.printing import printable, public_url


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://collector:4318/v1/logs", "http://collector:4318/v1/logs"),
        ("https://ann:secret@collector/v1/logs", "https://collector/v1/logs"),
        ("https://secret@collector", "https://collector"),
        ("https://collector/v1/logs?token=secret#secret", "https://collector/v1/logs"),
        ("https://collector?token=secret@x", "https://collector"),
        ("https://collector:4318/a@b", "https://collector:4318/a@b"),
        ("http://[::1]:4318/a@b", "http://[::1]:4318/a@b"),
        ("http://[::1]/a@b", "http://[::1]/a@b"),
        ("https://ann:sec/ret@collector/v1/logs", "https://collector/v1/logs"),
        ("https://ann:sec?ret@collector:1/v1", "https://collector:1/v1"),
        ("https://ann:sec@ret@collector", "https://collector"),
        ("ann:secret@collector:4318", "collector:4318"),
        ("//ann:secret@collector", "//collector"),
        ("collector:4318", "collector:4318"),
        ("ftp://ann:secret@\x1b[2J", "ftp://\\x1b[2J"),
        ("", ""),
    ],
)
def test_a_url_is_shown_without_user_password_query_and_fragment(url: str, shown: str) -> None:
    assert public_url(url) == shown


@given(st.text())
def test_any_text_can_be_shown_as_a_url_and_shown_again(text: str) -> None:
    shown = public_url(text)
    assert public_url(shown) == shown
    assert printable(shown) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text, ümlaut, 漢字", "plain text, ümlaut, 漢字"),
        ("a\nb\tc\rd", "a\\nb\\tc\\rd"),
        ("\x1b]0;title\x07\x9b31m\x7f", "\\x1b]0;title\\x07\\x9b31m\\x7f"),
        ("\u202eevil\u2066\u2028", "\\u202eevil\\u2066\\u2028"),
        ("\udc80", "\\udc80"),
    ],
)
def test_text_of_others_cannot_speak_to_a_terminal(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.text(st.characters()))
def test_shown_text_has_no_control_character_and_is_not_changed_again(text: str) -> None:
    shown = printable(text)
    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in shown)
    assert printable(shown) == shown
    shown.encode()
