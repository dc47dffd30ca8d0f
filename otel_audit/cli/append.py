"""`otel-audit append`: records from a shell or a script, through the configured endpoint."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer

from otel_audit.cli.examples import examples
from otel_audit.cli.options import EndpointOption, FormatOption
from otel_audit.cli.output import write_rows
from otel_audit.cli.sending import opened_repo
from otel_audit.errors import InvalidRecordError
from otel_audit.model.json_values import parse_json
from otel_audit.model.record import ActivityRecord, EntityRef

if TYPE_CHECKING:
    from otel_audit.repos.otel import OTelActivityLogRepo

__all__ = ["add_to", "record_from_line"]

_BATCH = 1_000
_COLUMNS = ("record_id", "state")


def add_to(app: typer.Typer) -> None:
    """Add the command `append`."""
    app.command(
        "append",
        epilog=examples(
            "otel-audit append --actor alice --owner bob --action share_task --entity Task 42",
            "otel-audit append --actor alice --owner bob --action pay --entity Invoice 7 --metadata '{\"cents\": 995}'",
            "otel-audit append --stdin < records.jsonl",
        ),
    )(_append)


def _append(
    actor: Annotated[str | None, typer.Option("--actor", metavar="ID", help="Who did it.")] = None,
    owner: Annotated[str | None, typer.Option("--owner", metavar="ID", help="Whose data it is.")] = None,
    action: Annotated[str | None, typer.Option("--action", metavar="VERB", help="The application's verb.")] = None,
    entity: Annotated[
        tuple[str, str] | None, typer.Option("--entity", metavar="TYPE ID", help="The thing acted upon.")
    ] = None,
    metadata: Annotated[str | None, typer.Option("--metadata", metavar="JSON", help="A JSON object.")] = None,
    actor_type: Annotated[
        str | None, typer.Option("--actor-type", metavar="WORD", help="user, service or system.")
    ] = None,
    outcome: Annotated[
        str | None, typer.Option("--outcome", metavar="WORD", help="success, failure or unknown.")
    ] = None,
    reason: Annotated[str | None, typer.Option("--reason", metavar="TEXT", help="Why.")] = None,
    tenant: Annotated[str | None, typer.Option("--tenant", metavar="ID", help="Tenant.")] = None,
    occurred_at: Annotated[
        str | None, typer.Option("--occurred-at", metavar="TIME", help="RFC 3339 with offset; default now.")
    ] = None,
    record_id: Annotated[
        str | None, typer.Option("--record-id", metavar="ID", help="The same id is stored once; default a new one.")
    ] = None,
    stdin: Annotated[
        bool, typer.Option("--stdin", help="Read records as JSON lines, keys as `get --format jsonl` writes them.")
    ] = False,
    endpoint: EndpointOption = None,
    timeout: Annotated[
        float, typer.Option("--timeout", min=0.1, metavar="SECONDS", help="Longest wait for an acknowledgement.")
    ] = 30.0,
    format: FormatOption = None,
) -> None:
    """Append one record, or many from standard input; each receipt is printed once it is acknowledged."""
    flags = {
        "actor_id": actor,
        "owner_id": owner,
        "action": action,
        "entity_ref": entity and {"entity_type": entity[0], "entity_id": entity[1]},
        "metadata": None if metadata is None else _json(metadata, "--metadata"),
        "actor_type": actor_type,
        "outcome": outcome,
        "reason": reason,
        "tenant_id": tenant,
        "occurred_at": occurred_at,
        "record_id": record_id,
    }
    given = {name: value for name, value in flags.items() if value is not None}
    if stdin and given:
        raise typer.BadParameter("--stdin takes whole records; leave the fields' flags out")
    records: Iterable[ActivityRecord]
    if stdin:
        records = _from_lines(sys.stdin.buffer)
    else:
        needed = {"actor": actor, "owner": owner, "action": action, "entity": entity}
        missing = [name for name, value in needed.items() if value is None]
        if missing:
            raise typer.BadParameter(f"give {', '.join(f'--{name}' for name in missing)} (or --stdin)")
        records = [_record(given)]
    with opened_repo(endpoint) as repo:
        write_rows(_receipts(repo, iter(records), timeout), columns=_COLUMNS, format=format)


def _receipts(repo: OTelActivityLogRepo, records: Iterator[ActivityRecord], timeout: float) -> Iterator[dict[str, Any]]:
    while batch := list(islice(records, _BATCH)):
        receipts = repo.append_many(batch, timeout_s=timeout)
        repo.flush(timeout_s=timeout)
        for receipt in receipts:
            yield {"record_id": str(receipt.record_id), "state": repo.stats.state}


def _from_lines(lines: Iterable[bytes]) -> Iterator[ActivityRecord]:
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                yield record_from_line(line)
            except InvalidRecordError as error:
                raise InvalidRecordError(f"line {number}: {error.field}", error.rule) from None


def record_from_line(line: bytes) -> ActivityRecord:
    """A record from one JSON object. Keys are the fields of `ActivityRecord`; null means "not given".

    Raises:
        InvalidRecordError: not a JSON object, an unknown key, or a field that breaks its rule.
    """
    values = _json(line, "record")
    if not isinstance(values, dict):
        raise InvalidRecordError("record", "must be a JSON object")
    return _record({name: value for name, value in values.items() if value is not None})


def _record(values: dict[str, Any]) -> ActivityRecord:
    known = dict(values)
    unknown = known.keys() - ActivityRecord.__dataclass_fields__.keys()
    if unknown:
        raise InvalidRecordError(min(unknown), "is no field of a record")
    entity = known.get("entity_ref")
    if entity is not None:
        if not isinstance(entity, dict) or entity.keys() != {"entity_type", "entity_id"}:
            raise InvalidRecordError("entity_ref", 'must be {"entity_type": …, "entity_id": …}')
        known["entity_ref"] = EntityRef(entity["entity_type"], entity["entity_id"])
    if "occurred_at" in known:
        try:
            known["occurred_at"] = datetime.fromisoformat(known["occurred_at"])
        except (ValueError, TypeError):
            raise InvalidRecordError("occurred_at", "must be an RFC 3339 time such as 2026-11-24T10:30:00Z") from None
    for name in ("actor_id", "owner_id", "action", "entity_ref"):
        if name not in known:
            raise InvalidRecordError(name, "must be given")
    return ActivityRecord.create(**known)


def _json(text: str | bytes, what: str) -> Any:
    try:
        return parse_json(text)
    except ValueError as error:
        raise InvalidRecordError(what, f"must be JSON ({error})") from None
