"""`otel-audit ping`: one record the whole way round, each leg timed."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from otel_audit import bootstrap
from otel_audit.cli.examples import examples
from otel_audit.cli.options import FormatOption
from otel_audit.cli.output import Shown, write_rows
from otel_audit.cli.sending import opened_repo
from otel_audit.config import load_settings
from otel_audit.errors import ReaderUnavailableError
from otel_audit.model.record import ActivityRecord, EntityRef
from otel_audit.ports import ActivityLogReader

__all__ = ["add_to"]

_NAME = "otel-audit"
_POLL_S = 0.05
_SHOWN = (
    Shown("leg", "leg", style="bold"),
    Shown("ms", "ms", style="green", right=True),
    Shown("what it means", "meaning", style="dim"),
)


def add_to(app: typer.Typer) -> None:
    """Add the command `ping`."""
    app.command(
        "ping",
        epilog=examples(
            "otel-audit ping",
            "otel-audit ping --endpoint http://127.0.0.1:14318 --reader audit-data",
        ),
    )(_ping)


def _ping(
    endpoint: Annotated[
        str | None, typer.Option("--endpoint", metavar="URL", help="OTLP endpoint; default the configured one.")
    ] = None,
    reader: Annotated[
        str | None, typer.Option("--reader", metavar="URL|PATH", help="Where to read it back.", show_default=False)
    ] = None,
    timeout: Annotated[float, typer.Option("--timeout", min=0.1, metavar="SECONDS", help="For each leg.")] = 10.0,
    format: FormatOption = None,
) -> None:
    """Append a system record through the configured endpoint and wait until it reads back."""
    settings = load_settings(endpoint=endpoint)
    url = bootstrap.endpoint_url(settings)
    legs: list[dict[str, Any]] = []

    def leg(name: str, meaning: str, since: float) -> float:
        now = time.perf_counter()
        legs.append({"leg": name, "ms": round((now - since) * 1000, 1), "meaning": meaning})
        return now

    began = time.perf_counter()
    with opened_repo(endpoint, reader) as repo:
        at = leg("open", f"the sender stands, for {url}", began)
        record = ActivityRecord.create(
            actor_id=_NAME,
            actor_type="system",
            owner_id=_NAME,
            action="ping",
            entity_ref=EntityRef("Endpoint", url),
        )
        repo.append(record, timeout_s=timeout)
        at = leg("append", "taken by this process", at)
        repo.flush(timeout_s=timeout)
        at = leg("acknowledge", "the endpoint answered success", at)
        _wait_for(repo, record, timeout)
        at = leg("read back", f"found by its id {record.record_id}", at)
    leg("together", "from nothing to read back", began)
    write_rows(legs, _SHOWN, format=format, title=f"ping {url}")


def _wait_for(repo: ActivityLogReader, record: ActivityRecord, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while (found := repo.get_by_id(record.record_id)) is None:
        if time.monotonic() > deadline:
            raise ReaderUnavailableError(
                f"acknowledged, but not readable after {timeout:g} s; does the reader belong to this endpoint?"
            )
        time.sleep(_POLL_S)
    if found != record:
        raise ReaderUnavailableError(f"another record reads back than was sent: {found}")
