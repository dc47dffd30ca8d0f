"""What is advised exists: commands with their flags, variables, and pages, in errors, help and documentation."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path

from otel_audit import errors
from otel_audit.cli.reference import commands
from otel_audit.config import SETTINGS

ROOT = Path(__file__).parents[2]
FLAGS = {
    name: {flag for parameter in command.params for flag in (*parameter.opts, *parameter.secondary_opts)}
    for name, command in commands()
}
VARIABLES = {"OTEL_AUDIT_CONFIG", *(setting.env for setting in SETTINGS)}


def texts() -> Iterator[tuple[str, str]]:
    for name, error in inspect.getmembers(errors, inspect.isclass):
        yield name, getattr(error, "advice", "")
    for path in [ROOT / "README.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").glob("*.md"))]:
        yield path.name, path.read_text(encoding="utf-8")
    for path in sorted((ROOT / "otel_audit").rglob("*.py")):
        named = re.findall(r"`otel-audit [a-z][^`\n]*`|\bOTEL_AUDIT_\w+", path.read_text(encoding="utf-8"))
        yield path.name, "\n".join(named)


def command_lines(text: str) -> Iterator[list[str]]:
    for line in re.findall(r"`otel-audit ([a-z][^`\n]*)`", text) + re.findall(
        r"^\$? ?otel-audit ([a-z].*)$", text, re.M
    ):
        yield re.split(r"\s+#|[|;>&]", line)[0].split()


def test_every_command_that_is_named_exists_with_its_flags() -> None:
    count = 0
    for where, text in texts():
        for words in command_lines(text):
            name = "otel-audit"
            while words and f"{name} {words[0].rstrip('.,:')}" in FLAGS:
                name += f" {words.pop(0).rstrip('.,:')}"
            assert name != "otel-audit", f"{where}: {words}"
            used = {word.split("=")[0] for word in words if re.fullmatch(r"--[a-z-]+", word.split("=")[0])}
            assert used <= FLAGS[name] | {"--help"}, f"{where}: {name} {used - FLAGS[name]}"
            count += 1
    assert count > 50


def test_every_variable_that_is_named_is_a_setting() -> None:
    for where, text in texts():
        for found in re.findall(r"\bOTEL_AUDIT_[A-Z_]+[A-Z]\b(?![_*<])", text):
            assert found in VARIABLES, f"{where}: {found}"


def test_every_page_that_an_error_names_exists() -> None:
    for error in vars(errors).values():
        for page in re.findall(r"\bdocs/[\w./-]+\.md", getattr(error, "advice", "")):
            assert (ROOT / page).is_file(), page
