"""The command line answers at once: what a command needs is loaded when that command runs."""

from __future__ import annotations

import subprocess
import sys

from otel_audit.cli.app import COMMANDS
from otel_audit.cli.reference import commands
from tests.cli.conftest import CLEAN, Invoke

LOADED = """
import contextlib, io, sys
from otel_audit.cli.main import main
for line in sys.argv[1:]:
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
        main(line.split())
heavy = {"pyarrow", "duckdb", "fastapi", "opentelemetry", "requests", "google", "numpy", "uvicorn", "structlog"}
print(*sorted(heavy & set(sys.modules)))
"""
LIGHT = (
    "append",
    "collector",
    "count",
    "gaps",
    "get",
    "import",
    "search",
    "seal",
    "settings",
    "sql",
    "status",
    "views",
)


def loaded(*lines: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", LOADED, *lines], capture_output=True, text=True, env=CLEAN, timeout=60, check=True
    )
    return set(done.stdout.split())


def test_neither_version_nor_help_loads_what_commands_work_with() -> None:
    assert loaded("--version", "--help") == set()


def test_the_help_of_a_command_does_not_load_what_it_works_with() -> None:
    assert loaded(*(f"{name} --help" for name in LIGHT)) <= {"structlog"}


def test_the_list_of_commands_says_what_each_says_of_itself() -> None:
    """The summaries stand in a table, so that listing them loads no command; here is whether the table is true."""
    found = {name.removeprefix("otel-audit "): command for name, command in commands() if name.count(" ") == 1}
    assert set(found) == set(COMMANDS)
    for name, command in found.items():
        assert " ".join(command.help.split("\n\n")[0].split()) == COMMANDS[name][1]


def test_no_help_shows_a_type_where_nothing_is_typed(invoke: Invoke) -> None:
    """A flag takes no value."""
    for words in (["--help"], ["search", "--help"], ["collector", "--help"], ["get", "entity", "--help"]):
        done = invoke(*words)
        assert done.code == 0
        assert "--help" in done.out
        assert "<bool>" not in done.out


def test_a_shell_can_be_taught_to_complete_commands_and_flags() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "otel_audit.cli.main", "--show-completion", "bash"],
        capture_output=True, text=True, env=CLEAN | {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}, timeout=60,
    )  # fmt: skip
    assert "complete -o default -F _otel_audit_completion otel-audit" in done.stdout
    assert completions("otel-audit se") == ["search", "seal", "settings"]
    assert completions("otel-audit get e") == ["entity"]
    assert "--since" in completions("otel-audit search --s")


def completions(line: str) -> list[str]:
    words = {"COMP_WORDS": line, "COMP_CWORD": str(line.count(" ")), "_OTEL_AUDIT_COMPLETE": "complete_bash"}
    done = subprocess.run(
        [sys.executable, "-m", "otel_audit.cli.main"], capture_output=True, text=True, env=CLEAN | words, timeout=60
    )
    return done.stdout.split()
