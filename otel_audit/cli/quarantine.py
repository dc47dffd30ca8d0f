"""`otel-audit quarantine`: look at records that were no valid activities, and decide about them."""

from __future__ import annotations

import re
import sys
from base64 import b64decode
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from otel_audit.cli.deciding import Decision, confirm, decide_many, decide_one
from otel_audit.cli.examples import examples
from otel_audit.cli.flags import with_source
from otel_audit.cli.held_filter import (
    ActorOption,
    ReasonOption,
    ServiceOption,
    SinceOption,
    UntilOption,
    held_filter,
)
from otel_audit.cli.options import DataOption, FormatOption, Source, check_no_terminal, data_folder
from otel_audit.cli.output import Format, Shown, format_for, json_text, write_rows
from otel_audit.errors import NoLogError
from otel_audit.log.folder import read_identity
from otel_audit.log.held import held_records
from otel_audit.log.inspector import find_held
from otel_audit.model.held_filter import HeldFilter
from otel_audit.ports import FolderInspector

__all__ = ["add_to"]

_SHORT = 12
_PAGE = 10_000
_SHOWN = (
    Shown("sha256", "short", style="bold"),
    Shown("held since", "since", style="cyan"),
    Shown("from", "received_from", cut=True),
    Shown("bytes", "bytes", right=True),
    Shown("why", "reason", style="yellow", rest=True),
)
_COLUMNS = ("sha256", "recorded_at", "received_from", "service_name", "bytes", "reason")
_CAUSE_COLUMNS = ("service", "cause", "records")
_RECORD_ID = re.compile(r"with id .* and", re.DOTALL)
_NUMBER = re.compile(r"(?<![\w.])-?[0-9]+(?![\w.])")

HashArgument = Annotated[str, typer.Argument(metavar="SHA256", help="The record's hash, or the beginning of it.")]

SomeHashArgument = Annotated[
    str | None, typer.Argument(metavar="[SHA256]", help="One record's hash, or the beginning of it.")
]
AllOption = Annotated[bool, typer.Option("--all", help="Everything that is held.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask; needed where no terminal is.")]


def add_to(app: typer.Typer) -> None:
    """Add the group `quarantine`."""
    group = typer.Typer(
        help="Records that were accepted, are no valid activities, and wait for a decision.",
        epilog=examples("otel-audit quarantine list", "otel-audit quarantine show 3fa9"),
        no_args_is_help=True,
    )
    app.add_typer(group, name="quarantine")
    group.command(
        "list",
        epilog=examples(
            "otel-audit quarantine list --data audit-data --format jsonl",
            "otel-audit quarantine list --causes",
            "otel-audit quarantine list --actor ann --since 7d",
            "otel-audit quarantine list --service shop --reason conflict --limit 10",
        ),
    )(with_source(_list))
    group.command(
        "show",
        epilog=examples("otel-audit quarantine show 3fa9", "otel-audit quarantine show 3fa9 --raw > request.bin"),
    )(with_source(_show))
    group.command(
        "release",
        epilog=examples(
            "otel-audit quarantine release 3fa9", "otel-audit quarantine release --service shop --since 7d --yes"
        ),
    )(_release)
    group.command(
        "drop",
        epilog=examples("otel-audit quarantine drop 3fa9", "otel-audit quarantine drop --reason conflict --yes"),
    )(_drop)


def _list(
    source: Source,
    reason: ReasonOption = None,
    service: ServiceOption = None,
    actor: ActorOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, metavar="N", help="Only the N that have waited longest.")
    ] = None,
    causes: Annotated[bool, typer.Option("--causes", help="Count them by service and cause instead.")] = False,
    format: FormatOption = None,
) -> None:
    """What is held, oldest first."""
    where = held_filter(reason, service, actor, since, until)
    with source.inspected() as inspector:
        found = _found(inspector, where, None if causes else limit)
    if causes:
        counted = Counter((one["service_name"] or one["received_from"], _cause(one["reason"])) for one in found)
        rows: list[dict[str, object]] = [
            {"service": name, "cause": cause, "records": count} for (name, cause), count in counted.most_common(limit)
        ]
        write_rows(rows, columns=_CAUSE_COLUMNS, format=format, empty="nothing is held")
        return
    if format_for(format, sys.stdout) is Format.TABLE:
        found = [row | _table_cells(row) for row in found]
    write_rows(found, _SHOWN, columns=_COLUMNS, format=format, empty="nothing is held")


def _table_cells(row: Mapping[str, Any]) -> dict[str, str]:
    since = datetime.fromisoformat(row["recorded_at"]).astimezone(UTC)
    return {"short": row["sha256"][:_SHORT], "since": since.strftime("%m-%d %H:%M")}


def _found(inspector: FolderInspector, where: HeldFilter, limit: int | None) -> list[dict[str, Any]]:
    """What matches, so many at most, a page at a time. One that comes again after a decision counts once."""
    found: dict[str, dict[str, Any]] = {}
    cursor = None
    while limit is None or len(found) < limit:
        page = inspector.quarantined(where, limit=min(_PAGE, limit or _PAGE), cursor=cursor)
        for row in page["held"]:
            found.setdefault(row["sha256"], row)
        cursor = page["next_cursor"]
        if cursor is None:
            break
    return list(found.values())[:limit]


def _cause(reason: str) -> str:
    """A reason without what differs from one record to the next."""
    return _NUMBER.sub("…", _RECORD_ID.sub("with id … and", reason))


def _show(
    sha256: HashArgument,
    source: Source,
    raw: Annotated[bool, typer.Option("--raw", help="The OTLP request itself, as bytes; not to a terminal.")] = False,
) -> None:
    """One held record: why it is held, and the OTLP request as it came."""
    if raw:
        check_no_terminal()
    with source.inspected() as inspector:
        found = inspector.quarantined_record(sha256)
    request = b64decode(found["request"])
    if raw:
        sys.stdout.buffer.write(request)
        return
    told = {name: value for name, value in found.items() if name != "request"}
    shown = told | _differences(found["reason"], request, source) | {"request": _request_json(request)}
    typer.echo(json_text(shown, indent=2))


def _differences(reason: str, request: bytes, source: Source) -> dict[str, list[str]]:
    """In which fields a conflict contradicts the record in the log."""
    from otel_audit.query.conflicts import differing_fields

    if "other content" not in reason:
        return {}
    with source.opened() as reader:
        return {"differs_in": differing_fields(request, reader.get_by_id)}


def _release(
    sha256: SomeHashArgument = None,
    data: DataOption = None,
    reason: ReasonOption = None,
    service: ServiceOption = None,
    actor: ActorOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    every: AllOption = False,
    yes: YesOption = False,
) -> None:
    """Try held records again: those that are valid activities by now go into the log; the others stay held.

    Names one record, or chooses with the filters of `list`. Goes on after one that fails; then exits non-zero.
    """
    _decide(_folder(data), sha256, held_filter(reason, service, actor, since, until), every, yes, "release")


def _drop(
    sha256: SomeHashArgument = None,
    data: DataOption = None,
    reason: ReasonOption = None,
    service: ServiceOption = None,
    actor: ActorOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    every: AllOption = False,
    yes: YesOption = False,
) -> None:
    """Decide that held records are of no use; their bytes stay in the quarantine's files.

    Names one record, or chooses with the filters of `list`.
    """
    _decide(_folder(data), sha256, held_filter(reason, service, actor, since, until), every, yes, "drop")


def _decide(folder: Path, sha256: str | None, chosen: HeldFilter, every: bool, yes: bool, decision: Decision) -> None:
    if (sha256 is not None) + bool(chosen) + every != 1:
        raise typer.BadParameter("give a record's hash, or filters, or --all")
    if sha256 is not None:
        decide_one(folder, held_records(folder, sha256.lower())[0].sha256, decision)
        return
    found = find_held(folder, chosen)
    if not found:
        typer.echo("nothing is held" if every else "nothing that is held matches")
        return
    if not yes:
        confirm(len(found), decision)
    decide_many(folder, found, decision, _cause)


def _folder(data: DataOption) -> Path:
    """Raises NoLogError, lest a wrong path read as "nothing is held"."""
    folder = data_folder(data)
    if read_identity(folder) is None:
        raise NoLogError(f"{folder} holds no log")
    return folder


def _request_json(request: bytes) -> object:
    """OTLP/JSON of a request, or its bytes in hex where it is not even protobuf (or not even UTF-8)."""
    try:
        return MessageToDict(ExportLogsServiceRequest.FromString(request))
    except (DecodeError, UnicodeDecodeError, ValueError):
        return {"hex": request.hex()}
