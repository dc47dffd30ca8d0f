"""Merge and seal: many small files become one that hides them; only when the new one is proven do the old ones go."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from otel_audit.archive.columns import conformed
from otel_audit.archive.digest import rows_digest
from otel_audit.archive.footer import Footer, read_footer, unreadable, utc_day
from otel_audit.archive.listing import HOT
from otel_audit.archive.names import FileName, Stage, format_name
from otel_audit.archive.verify import open_checked
from otel_audit.archive.write import distinct_counts, regroup, stream_parquet
from otel_audit.errors import ArchiveFaultError, StorageError
from otel_audit.log.store import Store

__all__ = ["compact", "prove"]


def compact(store: Store, inputs: tuple[FileName, ...], stage: Stage) -> FileName:
    """Write the rows of adjacent hot files into one file of a later stage, prove it, publish it.

    The inputs stay on disk; whoever removes them waits until no reader can still hold a list that names them.

    Raises:
        UnwritableError: as `Store.publish`; the inputs are untouched.
        ArchiveFaultError: an input is damaged or the output does not prove equal, and nothing was published; or the
            published file, opened again, is not what was written, and the store is not settled.
        StorageError: a file cannot be read now; the store is not settled when it is the one just published.
    """
    known = store.known(inputs)
    footers = [one.footer for one in known]
    footer = _combined(footers)
    name = FileName(store.log, footer.first, footer.last, stage)
    folder = store.root / HOT
    if stage is Stage.SEALED:
        folder = store.sealed_folder(utc_day(footer.recorded_min_us))
    distinct = distinct_counts(regroup(_rows(store, inputs, bloom_only=True)), store.columns)
    content = stream_parquet(regroup(_rows(store, inputs)), footer, store.columns, stage, distinct)
    # Proven from the bytes that will be written: an encoder's mistake must not cost the only copy.
    _prove_bytes(pa.BufferReader(content), store, inputs, folder / format_name(name))
    path = store.publish(name, folder, content, footer)
    try:
        _read_back(path, content)
    except StorageError:
        # It hides its inputs already: they must not go before recovery has proven it, or has found the fault in it.
        store.settled = False
        raise
    return name


def _read_back(path: Path, content: pa.Buffer) -> None:
    try:
        same = content.equals(pa.py_buffer(path.read_bytes()))
    except OSError as error:
        raise unreadable(path, error) from error
    if not same:
        raise ArchiveFaultError(f"{path}: does not hold what was written to it")


def prove(store: Store, output: FileName, inputs: tuple[FileName, ...]) -> None:
    """Re-open a published file and compare its footer and every row with the files it hides.

    Raises:
        ArchiveFaultError: naming the file; the inputs must stay.
    """
    (known,) = store.known((output,))
    footer = read_footer(known.path)
    wanted = _combined([one.footer for one in store.known(inputs)])
    if (footer.log, footer.first, footer.last, footer.rows) != (wanted.log, wanted.first, wanted.last, wanted.rows):
        raise ArchiveFaultError(f"{known.path}: its range or row count differs from the files it replaces")
    _prove_bytes(known.path, store, inputs, known.path)


def _prove_bytes(source: Path | pa.BufferReader, store: Store, inputs: tuple[FileName, ...], path: Path) -> None:
    try:
        with _opened(source) as file:
            groups = (conformed(file.read_row_group(at), store.schema) for at in range(file.metadata.num_row_groups))
            after = rows_digest(groups)
    except (pa.ArrowException, OSError) as error:
        raise unreadable(path, error) from error
    if after != rows_digest(_rows(store, inputs)):
        raise ArchiveFaultError(f"{path}: its rows differ from the files it replaces")


def _opened(source: Path | pa.BufferReader) -> pq.ParquetFile:
    if isinstance(source, Path):
        return open_checked(source)
    return pq.ParquetFile(source, page_checksum_verification=True)


def _rows(store: Store, inputs: tuple[FileName, ...], *, bloom_only: bool = False) -> Iterator[pa.Table]:
    names = [column.name for column in store.columns if column.bloom or not bloom_only]
    schema = pa.schema([store.schema.field(name) for name in names])
    for name in inputs:
        table = store.recent(name)
        if table is not None:
            yield table.select(names)
            continue
        (known,) = store.known((name,))
        try:
            with open_checked(known.path) as file:
                for at in range(file.metadata.num_row_groups):
                    yield conformed(file.read_row_group(at, columns=names), schema)
        except (pa.ArrowException, OSError) as error:
            raise unreadable(known.path, error) from error


def _combined(footers: list[Footer]) -> Footer:
    occurred_min = [f.occurred_min_us for f in footers if f.occurred_min_us is not None]
    occurred_max = [f.occurred_max_us for f in footers if f.occurred_max_us is not None]
    return Footer(
        log=footers[0].log,
        first=footers[0].first,
        last=footers[-1].last,
        rows=sum(f.rows for f in footers),
        recorded_min_us=min(f.recorded_min_us for f in footers),
        recorded_max_us=max(f.recorded_max_us for f in footers),
        occurred_min_us=min(occurred_min, default=None),
        occurred_max_us=max(occurred_max, default=None),
        chain_before=footers[0].chain_before,
        chain=footers[-1].chain,
        repeats=None if any(f.repeats is None for f in footers) else sum(f.repeats or 0 for f in footers),
    )
