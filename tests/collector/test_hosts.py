"""Loopback, and the Host headers that name it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_audit.collector.hosts import host_allowed, is_loopback


@pytest.mark.parametrize(
    "value",
    [b"localhost", b"LocalHost:4318", b"127.0.0.1", b"127.0.0.1:1", b"127.9.8.7:65535", b"[::1]", b"[::1]:4318"],
)
def test_loopback_names_are_allowed_with_any_port(value):
    assert host_allowed([value])


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"evil.example",
        b"localhost.evil.example",
        b"127.0.0.1.evil.example",
        b"evil.example:4318",
        b"192.168.0.1",
        b"[::2]",
        b"::1",
        b"localhost:x",
        b"user@localhost",
        b"127.0.0.1 ",
        b"2130706433",
        b"127.1",
        b"0.0.0.0",
    ],
)
def test_every_other_host_is_refused(value):
    assert not host_allowed([value])


def test_two_host_headers_are_refused_and_none_is_an_old_client():
    assert not host_allowed([b"localhost", b"localhost"])
    assert host_allowed([])


@given(st.binary(max_size=40))
def test_any_bytes_are_judged_without_an_error(value):
    assert host_allowed([value]) in {True, False}


@pytest.mark.parametrize(
    ("address", "expected"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("::ffff:127.0.0.1", True), ("0.0.0.0", False),
     ("::", False), ("", False), ("10.0.0.1", False), ("example.org", False)],
)  # fmt: skip
def test_only_addresses_of_this_machine_are_loopback(address, expected):
    assert is_loopback(address) is expected
