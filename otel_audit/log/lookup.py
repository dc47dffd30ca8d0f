"""Looking ids up in the files themselves: for ids so old that the index has let them go, and to rebuild the index."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from otel_audit.archive.footer import unreadable
from otel_audit.archive.names import FileName
from otel_audit.log.store import Store
from otel_audit.otlp.content import DIGESTED

__all__ = ["FileLookup", "rows_from"]

_TRIES = 5
_BATCH_ROWS = 4_096
Span = tuple[str, str]
KeysAndDigests = Callable[[pa.Table], tuple[list[bytes], list[int]]]


@dataclass(frozen=True, slots=True)
class _Shape:
    """Where ids may stand in a file: the span of each row group. `coded`: columns with a dictionary in all of them."""

    spans: list[Span]
    coded: list[str]


class FileLookup:
    """Finds ids through the statistics of `record_id`: one span per row group, kept in memory.

    An id costs some 10 ms, most of it for decoding what stands before its row; neighbours share that.
    """

    def __init__(self, store: Store, keys_and_digests: KeysAndDigests) -> None:
        self._store = store
        self._keys_and_digests = keys_and_digests
        self._columns = pa.schema([store.schema.field(name) for name in DIGESTED])
        self._shapes: dict[FileName, _Shape] = {}

    def digests(self, record_ids: list[str]) -> dict[str, int]:
        """Content digests, by id, of those ids that the log holds. Cost: the id column of each row group whose span
        covers one of them; UUIDv7 spans are narrow, so usually none or one."""
        for _ in range(_TRIES):
            try:
                return self._digests(record_ids)
            except FileNotFoundError as error:
                gone = error  # a merge or seal replaced the file meanwhile: its rows stand in another one now
        raise unreadable(self._store.root, gone)

    def _digests(self, record_ids: list[str]) -> dict[str, int]:
        found: dict[str, int] = {}
        wanted = sorted(set(record_ids))
        files = self._store.maximal()
        self._shapes = {name: self._shapes[name] for name, _ in files if name in self._shapes}
        for name, known in files:
            try:
                shape = self._shapes.get(name)
                if shape is None:
                    shape = self._shapes[name] = _shape(pq.read_metadata(known.path))
                if not any(_within(wanted, span) for span in shape.spans):
                    continue
                with pq.ParquetFile(known.path, read_dictionary=shape.coded) as file:
                    for at, span in enumerate(shape.spans):
                        if inside := _within(wanted, span):
                            here = self._in_group(file, at, inside)
                            wanted = [id_ for id_ in wanted if id_ not in here] if here else wanted
                            found |= here
            except FileNotFoundError:
                raise
            except (pa.ArrowException, OSError) as error:
                raise unreadable(known.path, error) from error
        return found

    def _in_group(self, file: pq.ParquetFile, at: int, record_ids: list[str]) -> dict[str, int]:
        ids = file.read_row_group(at, columns=["record_id"])["record_id"]
        places = np.flatnonzero(pc.is_in(ids, value_set=pa.array(record_ids, pa.string())))
        if not len(places):
            return {}
        rows: list[pa.RecordBatch] = []
        first = 0
        # Only the columns that the digest is made of, nothing of them beyond the last row wanted, and texts that repeat
        # as numbers: a sixth of what the whole group costs.
        for batch in file.iter_batches(_BATCH_ROWS, row_groups=[at], columns=self._columns.names):
            end = first + batch.num_rows
            if len(here := places[(places >= first) & (places < end)]):
                rows.append(batch.take(pa.array(here - first)))
            first = end
            if first > places[-1]:
                break
        table = pa.Table.from_batches(rows).select(self._columns.names).cast(self._columns)
        _, digests = self._keys_and_digests(table)
        return dict(zip(table["record_id"].to_pylist(), digests, strict=True))


def _within(ordered: list[str], span: Span) -> list[str]:
    """The ids from the first to the last of a span."""
    return ordered[bisect_left(ordered, span[0]) : bisect_right(ordered, span[1])]


def _shape(metadata: pq.FileMetaData) -> _Shape:
    groups = [metadata.row_group(at) for at in range(metadata.num_row_groups)]
    columns = {metadata.schema.column(at).name: at for at in range(metadata.num_columns)}
    coded = [
        name
        for name in DIGESTED
        if name != "record_id" and all("RLE_DICTIONARY" in group.column(columns[name]).encodings for group in groups)
    ]
    return _Shape([_record_id_span(group, columns["record_id"]) for group in groups], coded)


def _record_id_span(group: pq.RowGroupMetaData, column: int) -> Span:
    statistics = group.column(column).statistics
    has_span = statistics is not None and statistics.has_min_max
    return (statistics.min, statistics.max) if has_span else ("", "\U0010ffff")


def rows_from(store: Store, first: int) -> Iterator[tuple[pa.Table, int]]:
    """The log's rows from an index on, in pieces: (rows, log index after the last of them)."""
    for name, known in store.maximal():
        if name.last < first:
            continue
        try:
            with pq.ParquetFile(known.path) as file:
                for at in range(file.metadata.num_row_groups):
                    rows = file.read_row_group(at)
                    last = rows["log_index"][-1].as_py()
                    if last >= first:
                        yield rows.filter(pc.greater_equal(rows["log_index"], first)), last + 1
        except (pa.ArrowException, OSError) as error:
            raise unreadable(known.path, error) from error
