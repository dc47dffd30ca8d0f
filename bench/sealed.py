"""A data folder of any size, made of sealed files alone, in seconds instead of through a collector.

A sample of bench records is decoded once; its rows are drawn again and again, with new ids, entities, owners, actors,
times and traces written over them as whole columns. What a query or the compression sees is what the collector writes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from bench.records import SPEC, BenchRecords
from bench.stamping import uuid7_texts, uuid_texts
from otel_audit.archive.columns import ACTIVITY, COLUMNS
from otel_audit.archive.footer import footer_of
from otel_audit.archive.listing import date_folder
from otel_audit.archive.names import FileName, Stage, format_name
from otel_audit.archive.write import parquet_bytes
from otel_audit.disk import Disk
from otel_audit.log.folder import open_identity
from otel_audit.otlp.decode import decode_logs

__all__ = ["build_sealed"]

_SAMPLE = 20_000
_RECORDED_AFTER_US = 20_000


def build_sealed(root: Path, rows: int, rows_per_file: int = 1_000_000, say: Callable[[str], None] = print) -> int:
    """Fill a new data folder with `rows` records in sealed files; gives the bytes of the files."""
    identity = open_identity(root, "activity", Disk(), time.time_ns)
    maker = _RowMaker()
    size = 0
    for first in range(0, rows, rows_per_file):
        count = min(rows_per_file, rows - first)
        table = maker.rows(first, count)
        name = FileName(identity.log, first, first + count - 1, Stage.SEALED)
        content = parquet_bytes(table, footer_of(identity.log, table), COLUMNS, Stage.SEALED)
        folder = date_folder(root, table["recorded_at"][-1].as_py().date().isoformat())
        folder.mkdir(parents=True, exist_ok=True)
        (folder / format_name(name)).write_bytes(content)
        size += content.size
        say(f"{first + count:,} rows in {size / 1e6:,.0f} MB")
    return size


class _RowMaker:
    """Draws rows; all of one maker lie in one stretch of time, in order."""

    def __init__(self) -> None:
        self._random = np.random.default_rng(SPEC["seed"])
        bodies = BenchRecords().requests(_SAMPLE)
        decoded = [decode_logs(body, received_from="127.0.0.1", arrival_ns=0, max_records=_SAMPLE) for body in bodies]
        self._sample = pa.concat_tables([one.table for one in decoded]).combine_chunks()
        self._entities = _uuid4s(self._random, SPEC["entities"])
        self._owners = _uuid4s(self._random, SPEC["owners"])
        self._actors = _uuid4s(self._random, SPEC["actors"])
        ranks = np.arange(1, SPEC["owners"] + 1) ** -SPEC["zipf_exponent"]
        self._zipf = np.cumsum(ranks) / ranks.sum()
        self._us = float(SPEC["start_us"])

    def rows(self, first: int, count: int) -> pa.Table:
        """The next `count`, as archive rows that begin at log index `first`."""
        random = self._random
        at_us = (self._us + np.cumsum(random.exponential(SPEC["mean_gap_us"], count))).astype(np.int64)
        self._us = float(at_us[-1])
        drawn = self._sample.take(pa.array(random.integers(0, _SAMPLE, count)))
        other = self._sample["metadata"].take(pa.array(random.integers(0, _SAMPLE, count)))
        columns = {
            "log_index": pa.array(np.arange(first, first + count)),
            "record_id": _strings(uuid7_texts(at_us // 1_000, random)),
            "occurred_at": pa.array(at_us).cast(ACTIVITY.field("occurred_at").type),
            "time_unix_nano": pa.array(at_us * 1_000),
            "observed_time_unix_nano": pa.array((at_us + 40) * 1_000),
            "recorded_at": pa.array(np.full(count, at_us[-1] + _RECORDED_AFTER_US)).cast(
                ACTIVITY.field("recorded_at").type
            ),
            "actor_id": _strings(self._actors[np.searchsorted(self._zipf, random.random(count))]),
            "owner_id": _strings(self._owners[np.searchsorted(self._zipf, random.random(count))]),
            "entity_id": _strings(self._entities[self._entity_numbers(drawn["entity_type"])]),
            "metadata": other,
            "trace_id": _strings(_hex(random, count, 16)),
            "span_id": _strings(_hex(random, count, 8)),
        }
        arrays = [columns[name] if name in columns else drawn[name] for name in ACTIVITY.names]
        return pa.table(arrays, names=ACTIVITY.names).cast(ACTIVITY)

    def _entity_numbers(self, types: pa.ChunkedArray) -> NDArray[np.int64]:
        """Numbers of entities of the given types: as in `BenchRecords`, a number modulo the types tells the type."""
        names = pa.array(SPEC["entity_types"])
        places = pc.index_in(types, value_set=names).to_numpy()
        groups = self._random.integers(0, len(self._entities) // len(names), len(places))
        return np.asarray(groups * len(names) + places)


def _uuid4s(random: np.random.Generator, count: int) -> NDArray[np.uint8]:
    raw = random.integers(0, 256, (count, 16), dtype=np.uint8)
    raw[:, 6] = raw[:, 6] & 0x0F | 0x40
    raw[:, 8] = raw[:, 8] & 0x3F | 0x80
    return uuid_texts(raw)


def _hex(random: np.random.Generator, count: int, width: int) -> NDArray[np.uint8]:
    digits = np.frombuffer(b"0123456789abcdef", dtype=np.uint8)
    return digits[random.integers(0, 16, (count, 2 * width), dtype=np.uint8)]


def _strings(codes: NDArray[np.uint8]) -> pa.Array:
    """Rows of ASCII codes as a string array, without a Python object for each."""
    count, width = codes.shape
    offsets = np.arange(0, (count + 1) * width, width, dtype=np.int32)
    return pa.StringArray.from_buffers(count, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(codes)))
