"""The five usage examples of the component's page, as programs."""

import json
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
USAGE = Path(__file__).with_name("usage.txt")
PROGRAMS = [
    "1_record_after_success.py",
    "2_entity_history.py",
    "3_owner_feed.py",
    "4_actor_audit.py",
    "5_test_your_logging.py",
]


def output(program):
    done = subprocess.run([sys.executable, str(EXAMPLES / program)], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def usage_lines(number):
    """The lines of one example, without indentation (the page has none)."""
    blocks = ("\n" + USAGE.read_text(encoding="utf-8")).split("\n== ")
    return blocks[number].splitlines()[1:]


@pytest.mark.parametrize("number", range(1, 6))
def test_a_program_holds_its_example_line_by_line(number):
    """In order and verbatim; an import may name more, and what stands around it is the program's own."""
    lines = iter((EXAMPLES / PROGRAMS[number - 1]).read_text(encoding="utf-8").splitlines())
    for wanted in usage_lines(number):
        found = next((line for line in lines if says(line.split("  # fmt:")[0].strip(), wanted)), None)
        assert found is not None, wanted


def says(line, wanted):
    imported = re.fullmatch(r"from otel_audit import (.*)", wanted)
    if imported and line.startswith("from otel_audit import "):
        return set(imported[1].split(", ")) <= set(line.removeprefix("from otel_audit import ").split(", "))
    return line == wanted


def test_the_use_case_logs_what_it_did():
    assert output(PROGRAMS[0]) == "create_task {'title': 'Buy milk'}\n"


def test_the_history_of_a_task_comes_oldest_first():
    assert output(PROGRAMS[1]).splitlines() == [
        "2024-01-15 10:30:00+00:00: create_task by user-123",
        "2024-01-15 11:00:00+00:00: update_task by user-123",
        "2024-01-15 14:22:00+00:00: complete_task by user-456",
    ]


def test_the_feed_has_what_others_did_to_ones_data_and_not_what_one_did_to_others():
    created, updated = json.loads(output(PROGRAMS[2]))
    assert created == {
        "action": "create_task",
        "entity": "Task#42",
        "actor": created["actor"],
        "when": "2024-01-15T09:00:00+00:00",
        "details": {"title": "Buy milk"},
    }
    assert (updated["action"], updated["actor"]) == ("update_task", "support-bot")


def test_the_actions_of_an_actor_are_counted():
    assert output(PROGRAMS[3]) == "Counter({'create_task': 45, 'complete_task': 32, 'delete_task': 3})\n"


def test_the_logging_test_passes_as_a_program_and_as_a_test():
    assert output(PROGRAMS[4]) == "logged as it should be\n"
    runpy.run_path(str(EXAMPLES / PROGRAMS[4]))["test_task_creation_logs_activity"]()
