"""What every test run has in common."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Generator
from typing import Any

import hypothesis
import pytest

# A deadline per example would be a timing assert, and these machines are noisy. CI looks longer than a desk does.
hypothesis.settings.register_profile("desk", deadline=None, max_examples=20)
hypothesis.settings.register_profile("ci", deadline=None, max_examples=150, print_blob=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") == "true" else "desk")

_tests = itertools.count()
_AN_END_S = 5.0
_SLOW_S = 600.0
_CLOSED = {"otel-audit-sender", "otel-audit-commit", "otel-audit-maintain"}


@pytest.fixture(autouse=True)
def _a_spool_of_its_own(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test writes into the user's own spool, or finds what another one has left."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.getbasetemp() / f"state-{next(_tests)}"))


@pytest.fixture(autouse=True)
def _threads_end_with_their_test(_a_spool_of_its_own: None) -> Generator[None, Any, Any]:
    """A sender or a log left open goes on beside the tests that follow, and takes part in what they patch."""
    before = set(threading.enumerate())
    yield
    left = [thread for thread in threading.enumerate() if thread.name in _CLOSED and thread not in before]
    for thread in left:
        thread.join(_AN_END_S)
    names = sorted(thread.name for thread in left if thread.is_alive())
    assert not names, f"the test has left running: {', '.join(names)}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What is slow on a quiet machine takes minutes on a busy one: the limit is there to end what hangs."""
    for item in items:
        if item.get_closest_marker("slow") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(_SLOW_S))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> Generator[None, Any, Any]:
    """In CI a skipped test is a failed one: what is optional on a desk must be there where the verdict is given."""
    report = yield
    if os.environ.get("CI") == "true" and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, which CI does not allow: {report.longrepr}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Generator[None, Any, Any]:
    """The same for a whole module that skips itself."""
    report = yield
    if os.environ.get("CI") == "true" and report.skipped:
        report.outcome = "failed"
        report.longrepr = f"{collector.nodeid} was skipped, which CI does not allow: {report.longrepr}"
    return report
