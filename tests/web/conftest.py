"""Servers over a log in memory."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from otel_audit.repos.memory import InMemoryActivityLogRepo
from otel_audit.web import create_app
from otel_audit.web.examples import EXAMPLE_RECORDS
from tests.web.serving import serving


@pytest.fixture(scope="module")
def example_log() -> InMemoryActivityLogRepo:
    log = InMemoryActivityLogRepo()
    log.append_many(EXAMPLE_RECORDS)
    return log


@pytest.fixture(scope="module")
def examples_at(example_log: InMemoryActivityLogRepo) -> Iterator[str]:
    """The base URL of a server that holds the documented examples."""
    with serving(create_app(example_log)) as url:
        yield url
