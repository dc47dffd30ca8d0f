"""Exit codes and words of the command line as a process has them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from otel_audit import errors
from otel_audit.cli.main import exit_code_of
from otel_audit.cli.reference import pages
from tests.cli.conftest import Invoke

DOCS = Path(__file__).parents[2] / "docs"


def run(*words: str, env: dict[str, str] | None = None, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    return subprocess.run(
        [sys.executable, "-m", "otel_audit.cli.main", *words],
        capture_output=True, text=True, env=clean | (env or {}), cwd=cwd, check=False,
    )  # fmt: skip


def tree(error: type[errors.OtelAuditError]) -> list[type[errors.OtelAuditError]]:
    return [error, *(leaf for below in error.__subclasses__() for leaf in tree(below))]


def test_every_error_leaves_with_its_own_code_and_its_advice(capsys: pytest.CaptureFixture[str]) -> None:
    """One place turns each error of the tree into "error: ...", its advice, and its exit code."""
    for kind in tree(errors.OtelAuditError):
        error = kind.__new__(kind)
        Exception.__init__(error, "what happened")

        def fail(error: errors.OtelAuditError = error) -> None:
            raise error

        assert exit_code_of(fail) == kind.exit_code
        assert capsys.readouterr().err == f"error: {error}\n{kind.advice}\n"


def test_exit_codes_leave_room_for_the_shells_own() -> None:
    """No error uses 0, a usage error's 2, or the codes of signals from 126 on."""
    assert all(1 <= kind.exit_code <= 125 and kind.exit_code != 2 for kind in tree(errors.OtelAuditError))


def test_an_interrupt_is_130_and_other_exits_keep_their_code() -> None:
    """Ctrl-C reads as the shell expects it."""

    def interrupt() -> None:
        raise KeyboardInterrupt

    assert exit_code_of(interrupt) == 130
    assert exit_code_of(lambda: sys.exit(5)) == 5
    assert exit_code_of(lambda: None) == 0


def test_a_fault_of_ours_keeps_its_traceback() -> None:
    """An exception outside the tree is not dressed up as an answer."""

    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        exit_code_of(fail)


def test_a_wrong_command_line_is_2_and_names_the_mistake(invoke: Invoke) -> None:
    """Usage errors are typer's, on stderr, with code 2."""
    for words in (["serch"], ["get", "entity", "Task"], ["search", "--limit", "0"], ["settings", "--side", "left"]):
        done = invoke(*words)
        assert (done.code, done.out) == (2, "")
        assert "Error" in done.err


def test_a_wrong_setting_is_an_error_that_names_its_source() -> None:
    """The variable or the file is named, with the advice, and stdout stays empty."""
    done = run("settings", env={"OTEL_AUDIT_PORT": "many"})
    assert (done.returncode, done.stdout) == (78, "")
    assert done.stderr.startswith("error: OTEL_AUDIT_PORT: 'many' is not a whole number\n")


def test_settings_say_where_each_value_comes_from(invoke: Invoke, tmp_path: Path) -> None:
    """Environment before file before default."""
    file = tmp_path / "audit.toml"
    file.write_text('port = 5000\nhost = "127.0.0.2"\n')
    done = invoke(
        "settings", "--format", "csv", "--side", "collector",
        env={"OTEL_AUDIT_CONFIG": str(file), "OTEL_AUDIT_PORT": "6000"},
    )  # fmt: skip
    lines = {line.split(",")[0]: line for line in done.out.splitlines()}
    assert lines["port"].startswith("port,6000,port,OTEL_AUDIT_PORT,collector")
    assert lines["host"].startswith(f"host,127.0.0.2,address,{file},collector")
    assert lines["insecure"].startswith("insecure,false,,default,collector")


def test_output_that_nobody_reads_to_its_end_is_no_error() -> None:
    """`otel-audit settings | head -0` says nothing on stderr."""
    shell = f"{sys.executable} -m otel_audit.cli.main settings | true"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_without_the_extra_the_pip_line_is_said(tmp_path: Path) -> None:
    """With the base install alone the command exists and tells what to install."""
    (tmp_path / "typer.py").write_text("raise ModuleNotFoundError(\"No module named 'typer'\", name='typer')\n")
    done = run("--help", env={"PYTHONPATH": str(tmp_path)})
    assert done.returncode == 78
    assert "pip install 'otel-audit[cli]'" in done.stderr


@pytest.mark.parametrize("name", ["cli.md", "settings.md", "errors.md"])
def test_reference_pages_are_up_to_date(name: str) -> None:
    """docs/ is what the code says; `python -m otel_audit.cli.reference` writes it anew."""
    page = DOCS / name
    written = page.read_text(encoding="utf-8") if page.exists() else ""
    assert written == pages()[name], f"docs/{name} is stale: run python -m otel_audit.cli.reference"


def test_an_error_names_the_argument_that_was_given(invoke: Invoke, tmp_path: Path) -> None:
    """And not a variable that was not, or a file's key."""
    for words in (["append", *RECORD, "--endpoint", "localhost:4318"], ["count", "--endpoint", "x"]):
        done = invoke(*words)
        assert "OTEL_AUDIT_ENDPOINT" not in done.err
    done = invoke("append", *RECORD, "--endpoint", "localhost:4318")
    assert (done.code, done.err.partition("\n")[0]) == (
        78,
        "error: endpoint: 'localhost:4318/v1/logs' is no URL like http://collector:4318",
    )
    done = invoke("append", *RECORD, env={"OTEL_AUDIT_ENDPOINT": "localhost:4318"})
    assert done.err.startswith("error: OTEL_AUDIT_ENDPOINT: 'localhost:4318/v1/logs' is no URL")
    done = invoke("collector", "--port", "70000", "--data", str(tmp_path / "data"))
    assert (done.code, done.err.partition("\n")[0]) == (
        78,
        "error: --port: 70000 is above the greatest value, 65535",
    )


RECORD = ("--actor", "a", "--owner", "o", "--action", "x", "--entity", "T", "1")


@pytest.mark.parametrize("command", ["status", "search", "count", "sql SELECT(1)", "quarantine list", "seal", "gaps"])
def test_a_folder_that_is_to_be_read_and_is_none_is_not_answered_with_how_to_make_one(
    invoke: Invoke, tmp_path: Path, command: str
) -> None:
    folder = tmp_path / "none"
    done = invoke(*command.split(), "--data", str(folder))
    assert done.code == 74
    assert str(folder) in done.err
    assert "started with" in done.err
    assert "empty" not in done.err
    assert not folder.exists()


def test_a_variable_that_is_no_setting_is_named_at_the_start(tmp_path: Path) -> None:
    """By a command, by an application and by a collector alike."""
    env = {"OTEL_AUDIT_SPOOL_DRI": str(tmp_path)}
    told = "OTEL_AUDIT_SPOOL_DRI is no setting (did you mean OTEL_AUDIT_SPOOL_DIR?)"
    done = run("settings", env=env)
    assert (done.returncode, done.stderr) == (0, f"warning: {told}\n")
    program = "from otel_audit import OTelActivityLogRepo\nOTelActivityLogRepo(durability='memory').close()"
    clean = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=clean | env, check=True)
    assert done.stderr.count(told) == 1
    (tmp_path / "file").touch()
    done = run("collector", "--data", str(tmp_path / "file"), "--port", "0", env=env)
    assert done.returncode != 0
    assert done.stderr.count(told) == 1
