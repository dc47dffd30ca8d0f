"""Looking ids up in the files themselves: for ids so old that the index has let them go, and to rebuild the index."""

from __future__ import annotations

import os
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from otel_audit.archive.bloom import Filter, Hashes, filter_of, hashes_of, may_hold
from otel_audit.archive.footer import read_metadata, unreadable
from otel_audit.archive.names import FileName
from otel_audit.archive.verify import open_checked
from otel_audit.log.store import Store
from otel_audit.otlp.content import DIGESTED

__all__ = ["FileLookup", "rows_from"]

_TRIES = 5
_BATCH_ROWS = 4_096
Span = tuple[str, str]
KeysAndDigests = Callable[[pa.Table], tuple[list[bytes], list[int]]]


@dataclass(frozen=True, slots=True)
class _Shape:
    """Where ids may stand in a file: the span of each row group, and its Bloom filter. `coded`: columns with a
    dictionary in all of them."""

    spans: list[Span]
    filters: list[Filter | None]
    coded: list[str]


class FileLookup:
    """Finds ids through the statistics of `record_id`, one span per row group, kept in memory; and where the span
    covers an id, through the Bloom filter: a span of ids of several kinds says nothing.

    An id that is there costs some 10 ms, most of it for decoding what stands before its row; neighbours share that.
    """

    def __init__(self, store: Store, keys_and_digests: KeysAndDigests) -> None:
        self._store = store
        self._keys_and_digests = keys_and_digests
        self._columns = pa.schema([store.schema.field(name) for name in DIGESTED])
        self._shapes: dict[FileName, _Shape] = {}

    def digests(self, record_ids: list[str]) -> dict[str, int]:
        """Content digests, by id, of those ids that the log holds. Cost: the filter of each row group whose span covers
        one of them, and the id column of those whose filter says so too, usually none or one."""
        for _ in range(_TRIES):
            try:
                return self._digests(record_ids)
            except FileNotFoundError as error:
                gone = error  # a merge or seal replaced the file meanwhile: its rows stand in another one now
        raise unreadable(self._store.root, gone)

    def _digests(self, record_ids: list[str]) -> dict[str, int]:
        found: dict[str, int] = {}
        wanted = sorted(set(record_ids))
        hashes = hashes_of(wanted)
        files = self._store.maximal()
        self._shapes = {name: self._shapes[name] for name, _ in files if name in self._shapes}
        for name, known in files:
            try:
                shape = self._shapes.get(name)
                if shape is None:
                    shape = self._shapes[name] = _shape(read_metadata(known.path))
                here: dict[str, int] = {}
                if groups := _candidates(known.path, shape, wanted, hashes):
                    with open_checked(known.path, read_dictionary=shape.coded) as file:
                        for at, inside in groups:
                            here |= self._in_group(file, at, inside)
                if here:
                    left = [at for at, id_ in enumerate(wanted) if id_ not in here]
                    wanted, hashes = [wanted[at] for at in left], hashes[left]
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


def _candidates(path: Path, shape: _Shape, ordered: list[str], hashes: Hashes) -> list[tuple[int, list[str]]]:
    """The row groups that may hold one of the ids, each with those that it may hold. Raises OSError."""
    places = [(bisect_left(ordered, first), bisect_right(ordered, last)) for first, last in shape.spans]
    if not any(first < end for first, end in places):
        return []
    candidates = []
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        for at, ((first, end), filter_) in enumerate(zip(places, shape.filters, strict=True)):
            inside = ordered[first:end]
            if inside and filter_ is not None:
                maybe = may_hold(handle, filter_, hashes[first:end])
                inside = inside if maybe is None else [inside[one] for one in np.flatnonzero(maybe)]
            if inside:
                candidates.append((at, inside))
    finally:
        os.close(handle)
    return candidates


def _shape(metadata: pq.FileMetaData) -> _Shape:
    groups = [metadata.row_group(at) for at in range(metadata.num_row_groups)]
    columns = {metadata.schema.column(at).name: at for at in range(metadata.num_columns)}
    coded = [
        name
        for name in DIGESTED
        if name != "record_id" and all("RLE_DICTIONARY" in group.column(columns[name]).encodings for group in groups)
    ]
    at = columns["record_id"]
    return _Shape([_record_id_span(group, at) for group in groups], [filter_of(g.column(at)) for g in groups], coded)


def _record_id_span(group: pq.RowGroupMetaData, column: int) -> Span:
    statistics = group.column(column).statistics
    has_span = statistics is not None and statistics.has_min_max
    return (statistics.min, statistics.max) if has_span else ("", "\U0010ffff")


def rows_from(store: Store, first: int, columns: Sequence[str]) -> Iterator[tuple[pa.Table, int]]:
    """Columns of the log's rows from an index on, in pieces: (rows, log index after the last of them)."""
    for name, known in store.maximal():
        if name.last < first:
            continue
        try:
            with open_checked(known.path) as file:
                for at in range(file.metadata.num_row_groups):
                    rows = file.read_row_group(at, columns=["log_index", *columns])
                    last = rows["log_index"][-1].as_py()
                    if last >= first:
                        yield rows.filter(pc.greater_equal(rows["log_index"], first)), last + 1
        except (pa.ArrowException, OSError) as error:
            raise unreadable(known.path, error) from error
