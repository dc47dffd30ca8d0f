"""Every command explains itself: a sentence, an example, and a flag for each setting it takes."""

from __future__ import annotations

from typing import Any

import pytest

from otel_audit.cli.examples import examples, plain
from otel_audit.cli.flags import FILTER_FLAGS, setting_flag
from otel_audit.cli.reference import commands
from otel_audit.config import SETTINGS
from otel_audit.model.filters import Filter

COMMANDS = dict(commands())
EXPECTED = {
    "otel-audit", "otel-audit collector", "otel-audit append", "otel-audit get", "otel-audit get entity",
    "otel-audit get actor", "otel-audit get owner", "otel-audit get action", "otel-audit get record",
    "otel-audit search", "otel-audit count", "otel-audit sql", "otel-audit views", "otel-audit export",
    "otel-audit files", "otel-audit seal", "otel-audit status",
    "otel-audit gaps", "otel-audit quarantine", "otel-audit quarantine list", "otel-audit quarantine show",
    "otel-audit quarantine release", "otel-audit quarantine drop", "otel-audit spool", "otel-audit spool status",
    "otel-audit spool list", "otel-audit spool deliver", "otel-audit spool retry", "otel-audit spool resend",
    "otel-audit spool export", "otel-audit ping", "otel-audit import", "otel-audit import git", "otel-audit demo",
    "otel-audit settings", "otel-audit backup", "otel-audit repair",
}  # fmt: skip


def flags(command: Any) -> set[str]:
    return {flag for parameter in command.params for flag in (*parameter.opts, *parameter.secondary_opts)}


def test_these_are_the_commands() -> None:
    """A command does not come or go by accident."""
    assert set(COMMANDS) == EXPECTED


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_help_has_a_sentence_and_an_example_of_the_command_itself(name: str) -> None:
    """`--help` of every command shows how it is typed, and every flag it shows says what it does."""
    command = COMMANDS[name]
    assert command.help
    lines = plain(command.epilog)
    assert lines
    assert all(name in line for line in lines)
    for parameter in command.params:
        assert parameter.help, parameter.name
        assert parameter.param_type_name == "argument" or parameter.is_flag or parameter.metavar, parameter.name


def test_examples_use_only_flags_that_exist() -> None:
    """An example that is copied runs."""
    for name, command in COMMANDS.items():
        for line in plain(command.epilog):
            words = line.partition(name)[2].replace(";", " ").replace(")", " ").split("#")[0].split("|")[0].split()
            used = {word for word in words if word.startswith("--")}
            known = flags(command) if not hasattr(command, "commands") else used
            assert used <= known, f"{line}: {used - known}"


def test_the_collector_has_a_flag_for_each_of_its_settings() -> None:
    """The settings' table is the only list of them."""
    wanted = {setting_flag(setting) for setting in SETTINGS if setting.side in ("collector", "reading")}
    assert wanted <= flags(COMMANDS["otel-audit collector"])


def test_every_condition_of_a_filter_is_a_flag() -> None:
    """What can be asked in code can be asked on the command line."""
    names = {name if name != "entity_ref" else "entity" for name in Filter.__dataclass_fields__}
    assert names == set(FILTER_FLAGS)
    for name in ("search", "count"):
        assert {flag for flag, _, _ in FILTER_FLAGS.values()} <= flags(COMMANDS[f"otel-audit {name}"])


def test_examples_survive_the_markup_of_the_help() -> None:
    """Square brackets in an example are shown, not taken for a style."""
    assert plain(examples("a [b] c", "d [/e]")) == ["a [b] c", "d [/e]"]
