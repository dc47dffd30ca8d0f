"""`otel-audit search` and `otel-audit count`: any conditions together."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from otel_audit.cli.examples import examples
from otel_audit.cli.flags import with_filter, with_source
from otel_audit.cli.options import FormatOption, Source
from otel_audit.cli.output import Format, Shown, format_for, tell, write_rows
from otel_audit.cli.record_rows import write_records
from otel_audit.model.filters import COUNT_FIELDS, MAX_PAGE, Filter, checked_order
from otel_audit.model.ids import format_id

__all__ = ["add_to"]

_PAGE = 100


def add_to(app: typer.Typer) -> None:
    """Add the commands `search` and `count`."""
    app.command(
        "search",
        epilog=examples(
            "otel-audit search --since 7d --outcome failure",
            "otel-audit search --entity Task 42 --actor alice@example.com",
            "otel-audit search --action delete_file --all --format csv > deletions.csv",
            'otel-audit search --url https://audit.example.com --header "Authorization: Bearer $TOKEN" --since 1d',
        ),
    )(with_filter(with_source(_search)))
    app.command(
        "count",
        epilog=examples("otel-audit count --since 30d", "otel-audit count --by action --owner my-repository"),
    )(with_filter(with_source(_count)))


def _search(
    where: Filter,
    source: Source,
    limit: Annotated[
        int,
        typer.Option("--limit", "-n", min=1, max=MAX_PAGE, metavar="N", help=f"Records on a page, up to {MAX_PAGE}."),
    ] = _PAGE,
    everything: Annotated[bool, typer.Option("--all", help="Every match, streamed, instead of one page.")] = False,
    cursor: Annotated[
        str | None, typer.Option("--cursor", metavar="TEXT", help="The page after the one that named this cursor.")
    ] = None,
    order: Annotated[
        str | None, typer.Option("--order", metavar="asc|desc", help="desc (default): newest first. asc: oldest first.")
    ] = None,
    format: FormatOption = None,
) -> None:
    """Records that meet every condition, newest first."""
    if everything and cursor is not None:
        raise typer.BadParameter("--all takes no --cursor")
    with source.opened() as reader:
        if everything:
            write_records(reader.iter_records(where, order=checked_order(order or "desc")), format)
            return
        # A cursor carries its filter; conditions given again must be the same, which search() checks.
        conditions = None if cursor is not None and where == Filter() else where
        page = reader.search(
            conditions, limit=limit, cursor=cursor, order=None if order is None else checked_order(order)
        )
    write_records(page.records, format)
    if page.next_cursor is not None:
        tell(f"there are more; the next page: --cursor {page.next_cursor}")


def _count(
    where: Filter,
    source: Source,
    by: Annotated[
        str | None, typer.Option("--by", metavar="FIELD", help=f"Per value of a field: {', '.join(COUNT_FIELDS)}.")
    ] = None,
    format: FormatOption = None,
) -> None:
    """How many records meet every condition."""
    with source.opened() as reader:
        if by is None:
            total = reader.count(where)
            if format_for(format, sys.stdout) is Format.TABLE:
                typer.echo(f"{total:,}")
            else:
                write_rows([{"count": total}], format=format)
            return
        counted = reader.count_by(by, where)
    rows = ({by: None if value is None else format_id(value), "count": count} for value, count in counted.items())
    shown = (Shown(by, by, style="green"), Shown("count", "count", right=True))
    write_rows(rows, shown, columns=(by, "count"), format=format)
