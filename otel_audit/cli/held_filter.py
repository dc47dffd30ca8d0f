"""Which held records a command of `otel-audit quarantine` means, as its flags say it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from otel_audit.cli.moments import parse_moment
from otel_audit.log.held import Held, held_matching
from otel_audit.otlp.actors import actor_of

__all__ = ["ActorOption", "HeldFilter", "ReasonOption", "ServiceOption", "SinceOption", "UntilOption", "held_filter"]

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


@dataclass(frozen=True, slots=True)
class HeldFilter:
    """All that are given must hold; `since` and `until` are half open, over the time it was put in quarantine."""

    reason: str | None = None
    service: str | None = None
    actor: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def __bool__(self) -> bool:
        return self != HeldFilter()

    def find(self, folder: Path) -> list[Held]:
        """What matches, oldest first. Raises ArchiveFaultError."""
        if self.actor is None:
            return held_matching(folder, self._told)
        return held_matching(folder, self._told, lambda request: actor_of(request) == self.actor)

    def _told(self, one: Held) -> bool:
        at = datetime.fromisoformat(one.recorded_at)
        return (
            (self.reason is None or self.reason in one.reason)
            and (self.service is None or self.service == one.source)
            and (self.since is None or at >= self.since)
            and (self.until is None or at < self.until)
        )


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
