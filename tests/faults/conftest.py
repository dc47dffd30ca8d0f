"""Fixtures of the fault beds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.logs import capture_events


@pytest.fixture
def quiet() -> Iterator[None]:
    """Thousands of runs in which the disk fails would report each of it."""
    with capture_events():
        yield
