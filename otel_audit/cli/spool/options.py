"""Flags of the commands about the spool, and what they lead to."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from otel_audit.cli.options import EndpointOption
from otel_audit.config import Settings, load_settings
from otel_audit.delivery.making import spool_root
from otel_audit.errors import QueryError

__all__ = ["EndpointOption", "SpoolOption", "StreamOption", "matching", "opened_spool"]

SpoolOption = Annotated[
    Path | None, typer.Option("--spool-dir", metavar="PATH", help="The spool; default the configured one.")
]
StreamOption = Annotated[
    str | None, typer.Option("--stream", metavar="ID", help="Only this stream; the beginning of its id is enough.")
]


def opened_spool(spool_dir: Path | None, endpoint: str | None = None) -> tuple[Settings, Path]:
    """The settings in force, and the spool they name. Raises ConfigError."""
    settings = load_settings(spool_dir=spool_dir and str(spool_dir), endpoint=endpoint)
    return settings, spool_root(settings)


def matching(stream_ids: Iterable[str], wanted: str | None) -> list[str]:
    """The streams whose ids begin so; None: all.

    Raises:
        QueryError: there is none. To find nothing would read as "nothing is there".
    """
    if wanted is None:
        return list(stream_ids)
    found = [stream_id for stream_id in stream_ids if stream_id.startswith(wanted)]
    if not found:
        raise QueryError(f"no stream in the spool begins with {wanted!r}")
    return found
