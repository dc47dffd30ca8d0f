"""`otel-audit get`: the four questions every activity log must answer, and one record by its id."""

from __future__ import annotations

from typing import Annotated

import typer

from otel_audit.cli.examples import examples
from otel_audit.cli.flags import with_filter, with_source
from otel_audit.cli.options import FormatOption, LimitOption, OrderOption, Source
from otel_audit.cli.record_rows import write_record, write_records
from otel_audit.errors import RecordNotFoundError
from otel_audit.model.filters import Filter, checked_order, entity_filter

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Add the group `get`."""
    group = typer.Typer(
        help="The history of an entity, or what an actor did, an owner's data saw, an action was used for.",
        epilog=examples("otel-audit get entity Task 42", "otel-audit get actor alice@example.com --limit 20"),
        no_args_is_help=True,
    )
    app.add_typer(group, name="get")
    for name, command, example in (
        ("entity", _entity, "otel-audit get entity File README.md --limit 10 --format jsonl"),
        ("actor", _actor, "otel-audit get actor alice@example.com --since 30d"),
        ("owner", _owner, "otel-audit get owner my-repository --limit 50 --order desc"),
        ("action", _action, "otel-audit get action delete_file --since 2026-11-01 --format csv"),
    ):
        group.command(name, epilog=examples(example))(with_filter(with_source(command), only_range=True))
    example = "otel-audit get record 0193a1b2-7c3d-7e4f-8a5b-6c7d8e9f0a1b"
    group.command("record", epilog=examples(example))(with_source(_record))


def _entity(
    where: Filter,
    source: Source,
    entity_type: Annotated[str, typer.Argument(help="Its type, as the application calls it.")],
    entity_id: Annotated[str, typer.Argument(help="Its id.")],
    limit: LimitOption = None,
    order: OrderOption = "asc",
    format: FormatOption = None,
) -> None:
    """The history of one thing, oldest first."""
    entity = entity_filter(entity_type, entity_id)
    with source.opened() as reader:
        found = reader.get_by_entity(
            entity, limit=limit, since=where.since, until=where.until, order=checked_order(order)
        )
        write_records(found, format)


def _actor(
    where: Filter,
    source: Source,
    actor_id: Annotated[str, typer.Argument(help="The actor's id.")],
    limit: LimitOption = None,
    order: OrderOption = "asc",
    format: FormatOption = None,
) -> None:
    """What one actor did, oldest first."""
    with source.opened() as reader:
        found = reader.get_by_actor(
            actor_id, limit=limit, since=where.since, until=where.until, order=checked_order(order)
        )
        write_records(found, format)


def _owner(
    where: Filter,
    source: Source,
    owner_id: Annotated[str, typer.Argument(help="The owner's id.")],
    limit: LimitOption = None,
    order: OrderOption = "asc",
    format: FormatOption = None,
) -> None:
    """What happened to one owner's data, oldest first."""
    with source.opened() as reader:
        found = reader.get_by_owner(
            owner_id, limit=limit, since=where.since, until=where.until, order=checked_order(order)
        )
        write_records(found, format)


def _action(
    where: Filter,
    source: Source,
    action: Annotated[str, typer.Argument(help="The application's verb, exactly.")],
    limit: LimitOption = None,
    order: OrderOption = "asc",
    format: FormatOption = None,
) -> None:
    """Every use of one verb, oldest first."""
    with source.opened() as reader:
        found = reader.get_by_action(
            action, limit=limit, since=where.since, until=where.until, order=checked_order(order)
        )
        write_records(found, format)


def _record(
    source: Source,
    record_id: Annotated[str, typer.Argument(help="The record's id.")],
    format: FormatOption = None,
) -> None:
    """One record with all its fields."""
    with source.opened() as reader:
        record = reader.get_by_id(record_id)
    if record is None:
        raise RecordNotFoundError(f"no record has the id {record_id}")
    write_record(record, format)
