"""`otel-audit spool export`: the spool's records as plain OTLP, for whatever else is to be done with them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from otel_audit.cli.examples import examples
from otel_audit.cli.options import check_no_terminal
from otel_audit.cli.output import json_text
from otel_audit.cli.spool.options import SpoolOption, StreamOption, matching, opened_spool
from otel_audit.otlp.encode import frame_request
from otel_audit.otlp.file_format import delimited, request_to_json
from otel_audit.spool.format import Entry
from otel_audit.spool.holdings import Held, holdings, read_held, read_waiting
from otel_audit.spool.places import ASIDE, PARKED, SENT

__all__ = ["add_to"]

_PER_REQUEST = 1_000


class Part(StrEnum):
    """Which records; those that are delivered are in `sent`, and in the newest file of a stream that is going on."""

    WAITING = "waiting"
    PARKED = PARKED
    SENT = SENT
    ASIDE = ASIDE


def add_to(group: typer.Typer) -> None:
    """Add `export`."""
    group.command(
        "export",
        epilog=examples(
            "otel-audit spool export > undelivered.jsonl",
            "otel-audit spool export --part parked --stream 019ab4f2",
            "otel-audit spool export --part sent --raw > requests.bin",
        ),
    )(_export)


def _export(
    spool_dir: SpoolOption = None,
    part: Annotated[
        list[Part] | None,
        typer.Option(
            "--part",
            metavar="|".join(Part),
            help="Which records; may be given several times. Default waiting and parked.",
        ),
    ] = None,
    stream: StreamOption = None,
    raw: Annotated[
        bool, typer.Option("--raw", help="Protobuf messages, each behind its length as a varint, instead of JSON.")
    ] = False,
) -> None:
    """Write records as ExportLogsServiceRequests, one a line, in OTLP/JSON. Nothing is changed in the spool."""
    if raw:
        check_no_terminal()
    _, root = opened_spool(spool_dir)
    parts = list(dict.fromkeys(part or [Part.WAITING, Part.PARKED]))
    count = requests = 0
    for held, entries in _chosen(root, parts, stream):
        for at in range(0, len(entries), _PER_REQUEST):
            payloads = [entry.payload for entry in entries[at : at + _PER_REQUEST]]
            _write(frame_request(held.header.resource, payloads, held.header.schema_url), raw=raw)
            count += len(payloads)
            requests += 1
    sys.stdout.flush()
    typer.echo(f"{count:,} records in {requests:,} requests ({', '.join(parts)})", err=True)


def _chosen(root: Path, parts: list[Part], stream: str | None) -> Iterator[tuple[Held, list[Entry]]]:
    found = holdings(root).files
    for stream_id in matching(found, stream):
        for part in parts:
            if part is Part.WAITING:
                yield from ((held, content.records) for held, content in read_waiting(found[stream_id], root))
                continue
            for held in found[stream_id]:
                content = read_held(held, root) if held.pool == part else None
                if content is not None:
                    yield held, content.records


def _write(request: bytes, *, raw: bool) -> None:
    if raw:
        sys.stdout.buffer.write(delimited(request))
    else:
        sys.stdout.write(json_text(request_to_json(request)) + "\n")
