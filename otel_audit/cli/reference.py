"""Writes the reference pages that are made from code: `python -m otel_audit.cli.reference [FOLDER]`.

docs/cli.md from the commands, docs/settings.md from `config.SETTINGS`, docs/errors.md from the error tree, and the
tables inside the wire and archive format pages. A test says which page is stale.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main

from otel_audit import errors
from otel_audit.cli.app import Commands, build_app
from otel_audit.cli.examples import plain
from otel_audit.cli.flags import setting_flag
from otel_audit.cli.reference_tables import table, with_tables
from otel_audit.config import SETTINGS

__all__ = ["TABLED", "cli_page", "errors_page", "pages", "settings_page", "write_pages"]

_PROGRAM = "otel-audit"
TABLED = ("wire-format.md", "archive-format.md")
"""Pages written by hand around tables made from code."""
_NOTE = "<!-- made by `python -m otel_audit.cli.reference`; edit the code, not this page -->"


def pages() -> dict[str, str]:
    """Every generated page by its file name."""
    return {"cli.md": cli_page(), "settings.md": settings_page(), "errors.md": errors_page()}


def write_pages(folder: Path) -> None:
    """Write all pages into a folder."""
    for name, text in pages().items():
        (folder / name).write_text(text, encoding="utf-8")
    for name in TABLED:
        path = folder / name
        path.write_text(with_tables(path.read_text(encoding="utf-8")), encoding="utf-8")


def commands() -> Iterator[tuple[str, Any]]:
    """Every command and group with its full name, in the order of the help."""
    yield from _walk(_PROGRAM, typer.main.get_command(build_app()))


def _walk(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    yield name, command
    children = command.loaded() if isinstance(command, Commands) else getattr(command, "commands", {}).items()
    for child, below in children:
        yield from _walk(f"{name} {child}", below)


def cli_page() -> str:
    """The commands with their arguments, flags and examples."""
    parts = [
        "# Command line",
        _NOTE,
        "Reading commands take `--data PATH` (a data folder) or `--url URL` (a collector); without them they read "
        "where `OTEL_AUDIT_READER` says, else from the collector behind the endpoint if ours answers there, else from "
        "the data folder. `--header` and `--cacert` are for a proxy in front of a collector. `--endpoint` is the OTLP "
        "endpoint that a command sends to.",
        "`--format` is `table`, `json`, `jsonl` or `csv`: a table on a terminal and `jsonl` elsewhere unless told. "
        "Text that a spreadsheet would run as a formula gets an apostrophe in CSV; control characters are written as "
        "escapes in every format, so CSV is not for restoring exact values: JSON is. A table shows what fits the "
        "terminal; the other formats have everything.",
        "Exit codes: 0 done, 2 the command line itself is wrong, 130 interrupted, otherwise the error's own "
        "([errors](errors.md)).",
    ]
    for name, command in commands():
        group = hasattr(command, "commands")
        parts.append(f"{'#' * (2 if name.count(' ') < 2 else 3)} `{name}`")
        parts.append(inspect.cleandoc(command.help or ""))
        rows = [row for parameter in command.params if (row := _parameter(parameter))]
        if rows:
            parts.append(table(("argument or flag", "value", "meaning"), rows))
        if group and name != _PROGRAM:
            parts.append("Commands: " + ", ".join(f"`{child}`" for child in command.commands) + ".")
        lines = plain(command.epilog or "")
        if lines:
            parts.append("```sh\n" + "\n".join(lines) + "\n```")
    return "\n\n".join(parts) + "\n"


def _parameter(parameter: Any) -> tuple[str, str, str] | None:
    flags = [*parameter.opts, *parameter.secondary_opts]
    if "--help" in flags:
        return None
    if parameter.param_type_name == "argument":
        return f"`{(parameter.metavar or parameter.name).upper()}`", "", _sentence(parameter.help)
    value = "" if parameter.is_flag else parameter.metavar
    words = _sentence(parameter.help)
    if parameter.default not in (None, False, ...):
        words += f" Default {parameter.default}."
    return ", ".join(f"`{flag}`" for flag in flags), _cell(value), words


def _sentence(text: str | None) -> str:
    return _cell(" ".join((text or "").split()))


def settings_page() -> str:
    """All settings, by side."""
    parts = [
        "# Settings",
        _NOTE,
        "Order of precedence: an argument or flag, the environment variable, the TOML file that `OTEL_AUDIT_CONFIG` "
        "names (keys are the settings' names), the default. A value of the wrong kind is an error that names its "
        "source. `otel-audit settings` prints the values in force and where each comes from.",
        "The `OTEL_EXPORTER_OTLP_*` variables (endpoint, headers, timeout, compression, certificates) mean what they "
        "mean to the OpenTelemetry exporter.",
    ]
    titles = {"application": "In the application", "collector": "In the collector", "reading": "Reading"}
    for side, title in titles.items():
        rows = [
            (
                f"`{setting.name}`",
                f"`{setting.env}`",
                f"`{setting_flag(setting)}`" if side != "application" else "",
                f"`{str(setting.default).lower() if setting.type is bool else setting.default}`"
                if setting.default != ""
                else "unset",
                setting.unit,
                _sentence(setting.help) + (f" One of: {', '.join(setting.choices)}." if setting.choices else ""),
            )
            for setting in SETTINGS
            if setting.side == side
        ]
        heads = ("setting", "environment", "flag of `collector`", "default", "unit", "meaning")
        parts.extend((f"## {title}", table(heads, rows)))
    return "\n\n".join(parts) + "\n"


def errors_page() -> str:
    """The error tree with exit codes, HTTP statuses and advice."""
    rows = [
        (
            f"{'&emsp;' * depth}`{error.__name__}`",
            str(error.exit_code),
            str(error.http_status),
            "yes" if error.retryable else "",
            _sentence((inspect.getdoc(error) or "").split("\n\n")[0]),
            _sentence(error.advice),
        )
        for error, depth in _tree(errors.OtelAuditError, 0)
    ]
    parts = [
        "# Errors",
        _NOTE,
        "One tree, sorted by whose fault it is; catch a family. `retryable` means that the same call may succeed later "
        "with nothing changed by the caller. On the command line an error is `error: …` and the advice, on stderr.",
        "Exit codes of the command line: 0 done; 1 a fault in otel-audit, or whoever read the output closed it; 2 the "
        "command line itself is wrong; 130 interrupted; else the error's own, from the table.",
        table(("error", "exit code", "HTTP", "retryable", "what happened", "what to do"), rows),
    ]
    return "\n\n".join(parts) + "\n"


def _tree(error: type[errors.OtelAuditError], depth: int) -> Iterator[tuple[type[errors.OtelAuditError], int]]:
    yield error, depth
    for below in error.__subclasses__():
        if below.__module__ == errors.__name__:
            yield from _tree(below, depth + 1)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    write_pages(Path(sys.argv[1] if len(sys.argv) > 1 else "docs"))
