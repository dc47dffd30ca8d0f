"""What these tests do to a collector takes Linux: mounts, limits of other processes, and /proc to see what it holds."""

from __future__ import annotations

import sys

import pytest


@pytest.fixture(autouse=True)
def linux() -> None:
    if sys.platform != "linux":
        pytest.skip("mounts, prlimit and /proc are needed")
