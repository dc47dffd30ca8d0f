"""Decisions about held records, by the collector that owns their folder, or on a folder that nobody owns."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from otel_audit import bootstrap
from otel_audit.cli.output import printable
from otel_audit.cli.running import ask, owner_url
from otel_audit.config import load_settings
from otel_audit.errors import OtelAuditError, OverloadedError, RecordNotFoundError, StillHeldError, StorageError
from otel_audit.log.held import Held

__all__ = ["Decision", "confirm", "decide_many", "decide_one"]

Decision = Literal["release", "drop"]
Decide = Callable[[list[str]], dict[str, OtelAuditError]]

_PAST: dict[Decision, str] = {"release": "released", "drop": "dropped"}
_BATCH_RECORDS = 5_000
"""As each batch reads all that is held; its hashes fit into one request."""
_BATCH_BYTES = 32 * 1024 * 1024
"""Of held records, which are in memory together while they are released."""


def decide_one(folder: Path, sha256: str, decision: Decision) -> None:
    """Raises what keeps the record held."""
    with _decider(folder, decision) as decide:
        for error in decide([sha256]).values():
            raise error
    typer.echo(f"{_PAST[decision]} {sha256}")


def confirm(count: int, decision: Decision) -> None:
    """Ask on a terminal. Raises BadParameter elsewhere."""
    what = f"{count:,} held record{'' if count == 1 else 's'}"
    if not sys.stdin.isatty():
        raise typer.BadParameter(f"this would {decision} {what}; add --yes to do it")
    typer.confirm(f"{decision} {what}?", abort=True, err=True)


def decide_many(folder: Path, found: list[Held], decision: Decision, cause: Callable[[str], str]) -> None:
    """Decide about each, and go on after those that fail.

    Args:
        cause: a reason without what differs from one record to the next.

    Raises:
        StillHeldError, or the error of the most common cause: some stay held; how many for which cause is printed.
    """
    failed: dict[str, OtelAuditError] = {}
    done = 0
    try:
        with _decider(folder, decision) as decide, _progress_bar(decision, len(found)) as progress:
            for batch in _batches(found):
                failed |= decide([one.sha256 for one in batch])
                done += len(batch)
                progress(done)
    finally:
        typer.echo(f"{_PAST[decision]} {done - len(failed):,} of {len(found):,}")
    if not failed:
        return
    counted = Counter((type(error), cause(_reason(error))) for error in failed.values()).most_common()
    for (_, why), count in counted:
        typer.echo(f"{count:,} for: {printable(why)}", err=True)
    (kind, _), _ = counted[0]
    if kind is StillHeldError:
        raise StillHeldError(f"{len(failed):,} of {len(found):,} held records", "not released; the causes stand above")
    raise next(error for error in failed.values() if type(error) is kind)


def _reason(error: OtelAuditError) -> str:
    return error.rule if isinstance(error, StillHeldError) else str(error)


def _batches(found: list[Held]) -> Iterator[list[Held]]:
    batch: list[Held] = []
    size = 0
    for one in found:
        if batch and (len(batch) == _BATCH_RECORDS or size + one.request_bytes > _BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(one)
        size += one.request_bytes
    if batch:
        yield batch


@contextmanager
def _decider(folder: Path, decision: Decision) -> Iterator[Decide]:
    url = owner_url(folder)
    if url is not None:
        yield lambda digests: _asked(url, digests, decision)
        return
    with bootstrap.open_log(load_settings(data_dir=str(folder))) as log:
        yield lambda digests: log.decisions.decide_all(digests, decision)


def _asked(url: str, digests: list[str], decision: Decision) -> dict[str, OtelAuditError]:
    body = "".join(f"{digest}\n" for digest in digests).encode()
    answer = ask(url, f"/admin/quarantine/{decision}", body)
    return {one["sha256"]: _error(**one) for one in answer["failed"]}


def _error(sha256: str, error: str, reason: str) -> OtelAuditError:
    if error == StillHeldError.__name__:
        return StillHeldError(f"held record {sha256[:12]}", reason)
    kinds = {kind.__name__: kind for kind in (RecordNotFoundError, OverloadedError)}
    return kinds.get(error, StorageError)(reason)


@contextmanager
def _progress_bar(decision: Decision, total: int) -> Iterator[Callable[[int], None]]:
    """A bar on stderr, while that is a terminal."""
    console = Console(stderr=True)
    columns = (TextColumn(decision), BarColumn(), MofNCompleteColumn(), TextColumn("records"), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task("", total=total)
        yield lambda done: progress.update(task, completed=done)
