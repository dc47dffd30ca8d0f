"""`otel-audit settings`: every setting with the value in force and where it comes from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from otel_audit.cli.examples import examples
from otel_audit.cli.options import FormatOption
from otel_audit.cli.output import Shown, write_rows
from otel_audit.config import SETTINGS, load_settings
from otel_audit.model.printing import public_url

__all__ = ["add_to"]

_SHOWN = (
    Shown("setting", "name", style="bold"),
    Shown("value", "value", style="green", cut=True),
    Shown("unit", "unit"),
    Shown("from", "source", style="cyan", cut=True),
)


def add_to(app: typer.Typer) -> None:
    """Add the command `settings`."""
    app.command(
        "settings",
        epilog=examples(
            "otel-audit settings",
            "otel-audit settings --side collector --format csv",
            "OTEL_AUDIT_CONFIG=audit.toml otel-audit settings",
        ),
    )(_settings)


def _settings(
    side: Annotated[
        str | None, typer.Option("--side", metavar="WORD", help="Only those of application, collector or reading.")
    ] = None,
    format: FormatOption = None,
) -> None:
    """All settings: the value in force, and whether the environment, the file or the default gave it."""
    sides = sorted({setting.side for setting in SETTINGS})
    if side is not None and side not in sides:
        raise typer.BadParameter(f"--side: {side!r} is none of {', '.join(sides)}")
    write_rows(_rows(side), _SHOWN, format=format)


def _rows(side: str | None) -> Iterator[dict[str, Any]]:
    settings = load_settings()
    for setting in SETTINGS:
        if side in (None, setting.side):
            yield {
                "name": setting.name,
                "value": _shown(settings[setting.name]),
                "unit": setting.unit,
                "source": settings.source(setting.name),
                "side": setting.side,
                "default": setting.default,
                "env": setting.env,
                "help": setting.help,
            }


def _shown(value: Any) -> Any:
    """A value as it may be shown: an address may have a password in it."""
    return public_url(value) if isinstance(value, str) and "://" in value else value
