"""Looking ids up in the files themselves: for ids so old that the index has let them go, and to rebuild the index."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from otel_audit.archive.footer import unreadable
from otel_audit.archive.names import FileName
from otel_audit.log.store import Store

__all__ = ["FileLookup", "rows_from"]

_TRIES = 5
KeysAndDigests = Callable[[pa.Table], tuple[list[bytes], list[int]]]


class FileLookup:
    """Finds ids through the statistics of `record_id`: one span per row group, kept in memory."""

    def __init__(self, store: Store, keys_and_digests: KeysAndDigests) -> None:
        self._store = store
        self._keys_and_digests = keys_and_digests
        self._spans: dict[FileName, list[tuple[str, str]]] = {}

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
        files = self._store.maximal()
        self._spans = {name: self._spans[name] for name, _ in files if name in self._spans}
        for name, known in files:
            spans = self._spans.get(name)
            if spans is not None and not any(low <= id_ <= high for low, high in spans for id_ in record_ids):
                continue
            try:
                with pq.ParquetFile(known.path) as file:
                    if spans is None:
                        spans = self._spans[name] = _record_id_spans(file)
                    for at, (low, high) in enumerate(spans):
                        inside = [id_ for id_ in record_ids if low <= id_ <= high and id_ not in found]
                        if inside:
                            found |= self._in_group(file, at, inside)
            except FileNotFoundError:
                raise
            except (pa.ArrowException, OSError) as error:
                raise unreadable(known.path, error) from error
        return found

    def _in_group(self, file: pq.ParquetFile, at: int, record_ids: list[str]) -> dict[str, int]:
        wanted = pa.array(record_ids, pa.string())
        if not pc.any(pc.is_in(file.read_row_group(at, columns=["record_id"])["record_id"], value_set=wanted)).as_py():
            return {}
        group = file.read_row_group(at)
        rows = group.filter(pc.is_in(group["record_id"], value_set=wanted))
        _, digests = self._keys_and_digests(rows)
        return dict(zip(rows["record_id"].to_pylist(), digests, strict=True))


def _record_id_spans(file: pq.ParquetFile) -> list[tuple[str, str]]:
    place = file.schema_arrow.get_field_index("record_id")
    spans = []
    for at in range(file.metadata.num_row_groups):
        statistics = file.metadata.row_group(at).column(place).statistics
        has_span = statistics is not None and statistics.has_min_max
        spans.append((statistics.min, statistics.max) if has_span else ("", "\U0010ffff"))
    return spans


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
