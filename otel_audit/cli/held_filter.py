"""Which held records a command of `otel-audit quarantine` means, as its flags say it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from otel_audit.cli.moments import parse_moment
from otel_audit.model.held_filter import HeldFilter

__all__ = ["ActorOption", "ReasonOption", "ServiceOption", "SinceOption", "UntilOption", "held_filter"]

ReasonOption = Annotated[
    str | None, typer.Option("--reason", metavar="TEXT", help="Only those whose reason has this text in it.")
]
ServiceOption = Annotated[
    str | None, typer.Option("--service", metavar="NAME", help="Only those of this service, or else of this peer.")
]
ActorOption = Annotated[
    str | None, typer.Option("--actor", metavar="ID", help="Only those whose actor's id is this; reads their bytes.")
]
SinceOption = Annotated[
    str | None,
    typer.Option("--since", metavar="TIME", help="Held from this moment on: 2026-11-24, 2026-11-24T10:30:00Z, or 7d."),
]
UntilOption = Annotated[str | None, typer.Option("--until", metavar="TIME", help="Held before this moment.")]


def held_filter(
    reason: str | None, service: str | None, actor: str | None, since: str | None, until: str | None
) -> HeldFilter:
    """Raises InvalidFilterError: a time that is none."""
    now = datetime.now(UTC)
    return HeldFilter(
        reason,
        service,
        actor,
        None if since is None else parse_moment(since, now, "--since"),
        None if until is None else parse_moment(until, now, "--until"),
    )
