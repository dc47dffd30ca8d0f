"""What the package reports goes through standard logging, so what an application set up there holds."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading

from otel_audit.events import RateLimit, report
from tests.logs import capture_events

REPORTING = """
import logging
from otel_audit.events import report
{setup}
report("log", "info", "went well", rows=3)
report("log", "warning", "went badly", why="disk full", path="/data")
report("delivery", "error", "went wrong", answer="\\x1b[31mred")
"""


def run(setup: str = "") -> str:
    code = REPORTING.format(setup=setup)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True).stderr


def test_without_any_set_up_warnings_go_to_stderr_with_their_facts_and_nothing_speaks_to_the_terminal() -> None:
    assert run().splitlines() == ["went badly why='disk full' path=/data", "went wrong answer=\\x1b[31mred"]


def test_a_level_set_by_the_application_holds() -> None:
    assert run('logging.getLogger("otel_audit").setLevel(logging.ERROR)') == "went wrong answer=\\x1b[31mred\n"
    told = run('logging.basicConfig(level=logging.INFO, format="%(name)s %(message)s")')
    assert told.splitlines()[0] == "otel_audit.log went well rows=3"


def test_a_formatter_finds_the_facts_as_values() -> None:
    with capture_events() as events:
        report("log", "warning", "went badly", rows=3)
    expected = {"event": "went badly", "rows": 3, "log_level": "warning", "logger": "otel_audit.log"}
    assert events == [expected]


def test_a_fork_while_another_thread_logs_leaves_a_child_that_reports() -> None:
    """The handler's lock is held at the fork by a thread that the child does not have."""
    inside, leave = threading.Event(), threading.Event()
    parent = os.getpid()

    class Slow(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if os.getpid() == parent:
                inside.set()
                leave.wait(30)

    handler = Slow()
    with capture_events():
        logging.getLogger("otel_audit").addHandler(handler)
        thread = threading.Thread(target=report, args=("log", "warning", "slow"))
        thread.start()
        try:
            assert inside.wait(30)
            child = os.fork()
            if child == 0:
                report("delivery", "warning", "in the child")
                os._exit(0)
            leave.set()
            assert os.waitpid(child, 0)[1] == 0
        finally:
            leave.set()
            thread.join()
            logging.getLogger("otel_audit").removeHandler(handler)


def test_one_event_of_a_kind_is_admitted_in_an_interval_with_the_count_of_all() -> None:
    now = 0.0
    limit = RateLimit(30.0, lambda: now)
    assert [limit.admit("a"), limit.admit("a", 5), limit.admit("b"), limit.admit("a")] == [1, None, 1, None]
    now = 30.0
    assert [limit.admit("a"), limit.admit("a")] == [7, None]


def test_kinds_that_a_peer_makes_up_take_no_memory_without_end() -> None:
    limit = RateLimit(30.0)
    for number in range(5_000):
        limit.admit(number)
    assert len(limit._kinds) <= 1_000
