"""Rows to Parquet bytes: quick and small-footed for hot files, compact and prunable for merged and sealed ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from otel_audit.archive.checksums import stamp
from otel_audit.archive.columns import Column, parquet_schema
from otel_audit.archive.footer import FOOTER_KEY, Footer
from otel_audit.archive.names import Stage

__all__ = ["ROW_GROUP_BYTES", "ROW_GROUP_ROWS", "distinct_counts", "parquet_bytes", "regroup", "stream_parquet"]

ROW_GROUP_ROWS = 34_816
"""17 vectors of DuckDB's 2048. A Bloom filter of so many ids at 0.1 % fills 64 KiB, the power of two it is rounded up
to; a few more rows would double it."""
ROW_GROUP_BYTES = 128 << 20
"""About what a row group may take in memory. Rows of 4 KB and more would otherwise need gigabytes at a time."""
_PAGE_BYTES = 64 * 1024
_LEVEL = {Stage.COMMITTED: 1, Stage.MERGED: 1, Stage.SEALED: 3}
_FPP = 0.001
_UNIQUE = ("trace_id", "span_id", "metadata", "changes", "request")
"""Columns whose values hardly repeat: a dictionary would be built only to be thrown away. DELTA_LENGTH_BYTE_ARRAY keeps
the lengths apart from the text, which zstd then packs better: 6 bytes a record less (measured)."""
_DIFFERENCES = ("log_index", "occurred_at", "time_unix_nano", "observed_time_unix_nano")
"""Numbers near the one before: DELTA_BINARY_PACKED. Hardly one repeats, yet their dictionary would be kept, read whole
for a single row, and take 7 bytes a record more (measured)."""


def parquet_bytes(table: pa.Table, footer: Footer, columns: tuple[Column, ...], stage: Stage) -> pa.Buffer:
    """A whole Parquet file of rows in memory; arguments as for `stream_parquet`."""
    if stage is Stage.COMMITTED:
        return stream_parquet([table], footer, columns, stage, {})
    groups = list(regroup([table]))
    return stream_parquet(groups, footer, columns, stage, distinct_counts(groups, columns))


def stream_parquet(
    groups: Iterable[pa.Table],
    footer: Footer,
    columns: tuple[Column, ...],
    stage: Stage,
    distinct: Mapping[str, int],
) -> pa.Buffer:
    """A whole Parquet file, one row group in memory at a time (the compressed file itself is in memory).

    Args:
        groups: rows in log order, exactly `columns`; each table becomes a row group.
        stage: committed files go without Bloom filters and page index; merged and sealed ones carry both in full.
        distinct: per Bloom-filtered column, the most distinct values in one group (a filter's size follows from it).
    """
    encodings = _encodings(columns, distinct, min(ROW_GROUP_ROWS, footer.rows))
    prunable = stage is not Stage.COMMITTED
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(
        sink,
        parquet_schema(columns),
        compression="zstd",
        compression_level=_LEVEL[stage],
        use_dictionary=[column.name for column in columns if column.name not in encodings],
        column_encoding=encodings,
        data_page_size=_PAGE_BYTES,
        store_schema=False,
        write_statistics=True,
        write_page_index=prunable,
        write_page_checksum=True,
        bloom_filter_options={name: {"ndv": count, "fpp": _FPP} for name, count in distinct.items()} or None,
    ) as writer:
        writer.add_key_value_metadata({FOOTER_KEY.decode(): footer.format().decode()})
        for group in groups:
            writer.write_table(group, row_group_size=max(1, group.num_rows))
    content = sink.getvalue()
    stamp(content)
    return content


def _encodings(columns: tuple[Column, ...], distinct: Mapping[str, int], group_rows: int) -> dict[str, str]:
    """The encoding of each column that goes without a dictionary."""
    chosen: dict[str, str] = {}
    for column in columns:
        if column.delta:
            chosen[column.name] = "DELTA_BYTE_ARRAY"
        elif column.name in _DIFFERENCES:
            chosen[column.name] = "DELTA_BINARY_PACKED"
        elif column.name in _UNIQUE or distinct.get(column.name, 0) > group_rows // 2:
            chosen[column.name] = "DELTA_LENGTH_BYTE_ARRAY"
    return chosen


def distinct_counts(groups: Iterable[pa.Table], columns: tuple[Column, ...]) -> dict[str, int]:
    """The most distinct values that one group has, per Bloom-filtered column."""
    most = {column.name: 1 for column in columns if column.bloom}
    for group in groups:
        for name in most:
            most[name] = max(most[name], pc.count_distinct(group[name]).as_py())
    return most


def regroup(
    tables: Iterable[pa.Table], rows: int = ROW_GROUP_ROWS, size_bytes: int = ROW_GROUP_BYTES
) -> Iterator[pa.Table]:
    """The same rows, cut into tables of `rows` rows: fewer in the last one, and where they would take more than about
    `size_bytes` of memory."""
    held: list[pa.Table] = []
    count = size = 0
    for table in tables:
        while table.num_rows:
            fitting = (size_bytes - size) * table.num_rows // max(1, table.nbytes)
            taken = table.slice(0, min(rows - count, fitting if held else max(1, fitting)))
            if taken.num_rows:
                held.append(taken)
                count, size = count + taken.num_rows, size + taken.nbytes
                table = table.slice(taken.num_rows)
            if table.num_rows or count == rows:
                yield pa.concat_tables(held).combine_chunks()
                held, count, size = [], 0, 0
    if held:
        yield pa.concat_tables(held).combine_chunks()
