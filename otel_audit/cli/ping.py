"""`otel-audit ping`: who answers at endpoint and reader, or one record the whole way round; each leg timed."""

from __future__ import annotations

import time
from typing import Annotated, Any
from uuid import uuid4

import typer

from otel_audit import bootstrap
from otel_audit.cli.examples import examples
from otel_audit.cli.options import DataOption, EndpointOption, FormatOption, UrlOption, check_one_source
from otel_audit.cli.output import Shown, printable, write_rows
from otel_audit.cli.sending import opened_repo
from otel_audit.config import load_settings
from otel_audit.delivery.endpoint import Endpoint
from otel_audit.delivery.knock import knock, readiness
from otel_audit.errors import ReaderUnavailableError
from otel_audit.model.record import ActivityRecord, EntityRef
from otel_audit.ports import ActivityLogReader
from otel_audit.repos.otel import OTelActivityLogRepo

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
            "otel-audit ping --record --endpoint http://127.0.0.1:14318 --data audit-data",
        ),
    )(_ping)


def _ping(
    endpoint: EndpointOption = None,
    data: DataOption = None,
    url: UrlOption = None,
    record: Annotated[
        bool, typer.Option("--record", help="Append a record, which stays in the archive, and read it back.")
    ] = False,
    timeout: Annotated[float, typer.Option("--timeout", min=0.1, metavar="SECONDS", help="For each leg.")] = 10.0,
    format: FormatOption = None,
) -> None:
    """Ask the configured endpoint whether it takes records, and the reader whether it answers; stores nothing.

    An OTLP server between here and the collector answers for itself. With --record a system record goes the whole way.
    """
    check_one_source(data, url)
    reader = url if data is None else str(data)
    settings = load_settings(endpoint=endpoint, reader=reader)
    target = bootstrap.endpoint_of(settings)
    legs = _Legs()
    with opened_repo(endpoint, reader) as repo:
        legs.end("open", "the sender stands")
        if record:
            _send(repo, target.shown_url, timeout, legs)
        else:
            _ask(repo, target, timeout, legs, reads=bool(settings.reader))
    legs.total("together", "from nothing to the last answer")
    write_rows(legs.rows, _SHOWN, format=format, title=f"ping {target.shown_url}")


class _Legs:
    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self._began = self._at = time.perf_counter()

    def end(self, name: str, meaning: str) -> None:
        """A leg ends, and the next begins."""
        now = time.perf_counter()
        self.rows.append({"leg": name, "ms": round((now - self._at) * 1000, 1), "meaning": meaning})
        self._at = now

    def total(self, name: str, meaning: str) -> None:
        """All of it."""
        self._at = self._began
        self.end(name, meaning)


def _ask(repo: ActivityLogReader, target: Endpoint, timeout: float, legs: _Legs, *, reads: bool) -> None:
    log = knock(target, timeout)
    who = f"our collector, log {printable(log)}" if log else "another OTLP server, for itself"
    legs.end("answer", f"takes an empty request: {who}")
    if log and target.base_url is not None:
        legs.end("ready", readiness(target, timeout))
    if log or reads:
        repo.get_by_id(uuid4())
        legs.end("read", "the reader looked for an id")


def _send(repo: OTelActivityLogRepo, url: str, timeout: float, legs: _Legs) -> None:
    record = ActivityRecord.create(
        actor_id=_NAME,
        actor_type="system",
        owner_id=_NAME,
        action="ping",
        entity_ref=EntityRef("Endpoint", url),
    )
    repo.append(record, timeout_s=timeout)
    legs.end("append", "taken by this process")
    repo.flush(timeout_s=timeout)
    legs.end("acknowledge", "the endpoint answered success")
    _wait_for(repo, record, timeout)
    legs.end("read back", f"found by its id {record.record_id}")


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
