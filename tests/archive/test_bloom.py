"""A Bloom filter that PyArrow wrote is asked as the Parquet format says, and anything else says nothing."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_audit.archive.bloom import Filter, filter_of, hashes_of, may_hold


def written(path: Path, texts: list[str | None], group_rows: int = 10_000, ndv: int = 10_000) -> list[Filter | None]:
    """A file with one column of texts; the filter of each row group."""
    if not hasattr(pq.ColumnChunkMetaData, "bloom_filter_offset"):
        pytest.xfail("the oldest PyArrow does not tell where filters are")
    options = {"t": {"ndv": ndv, "fpp": 0.001}}
    pq.write_table(pa.table({"t": pa.array(texts, pa.string())}), path, row_group_size=group_rows,
                   bloom_filter_options=options)  # fmt: skip
    metadata = pq.read_metadata(path)
    return [filter_of(metadata.row_group(at).column(0)) for at in range(metadata.num_row_groups)]


def asked(path: Path, filter_: Filter, texts: list[str]) -> list[bool] | None:
    handle = os.open(path, os.O_RDONLY)
    try:
        answer = may_hold(handle, filter_, hashes_of(texts))
    finally:
        os.close(handle)
    return None if answer is None else answer.tolist()


@given(st.lists(st.none() | st.text(max_size=40), min_size=1, max_size=60), st.sampled_from([1, 7, 5_000]))
def test_what_a_row_group_holds_is_always_found(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str | None], ndv: int
) -> None:
    path = tmp_path_factory.mktemp("bloom") / "f.parquet"
    for at, filter_ in enumerate(written(path, texts, 20, ndv)):
        assert filter_ is not None
        here = [text for text in texts[at * 20 : at * 20 + 20] if text is not None]
        assert asked(path, filter_, here) == [True] * len(here)


def test_what_it_does_not_hold_is_seldom_found(tmp_path: Path) -> None:
    texts = [str(uuid.UUID(int=at * 7919)) for at in range(20_000)]
    filters = written(tmp_path / "f", [*texts])
    others = [str(uuid.UUID(int=at * 7919 + 1)) for at in range(20_000)]
    for at, filter_ in enumerate(filters):
        assert filter_ is not None
        assert asked(tmp_path / "f", filter_, texts[at * 10_000 : (at + 1) * 10_000]) == [True] * 10_000
        found = asked(tmp_path / "f", filter_, others)
        assert found is not None
        assert sum(found) < 200  # 20 are expected


def test_a_column_without_a_filter_has_none(tmp_path: Path) -> None:
    pq.write_table(pa.table({"t": ["a"]}), tmp_path / "f")
    assert filter_of(pq.read_metadata(tmp_path / "f").row_group(0).column(0)) is None


def test_of_the_specification_this_is_the_example() -> None:
    """xxHash of the empty text with seed 0, as xxHash's own test vectors have it."""
    assert hashes_of([""]).tolist() == [0xEF46DB3751D8E999]
    assert hashes_of([]).dtype == np.uint64


@given(st.binary(max_size=80), st.integers(0, 90))
def test_any_bytes_are_a_filter_or_say_nothing(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, size: int
) -> None:
    path = tmp_path_factory.mktemp("bloom") / "f"
    path.write_bytes(content)
    answer = asked(path, Filter(0, size), ["a", "b"])
    assert answer is None or len(answer) == 2


@pytest.mark.parametrize("cut", [1, 32])
def test_a_filter_that_is_cut_short_says_nothing(tmp_path: Path, cut: int) -> None:
    (filter_,) = written(tmp_path / "f", ["a", "b"])
    assert filter_ is not None
    assert asked(tmp_path / "f", filter_, ["a", "c"]) == [True, False]
    assert asked(tmp_path / "f", Filter(filter_.offset, filter_.size - cut), ["a", "c"]) is None
    assert asked(tmp_path / "f", Filter(filter_.offset + 1, filter_.size), ["a", "c"]) is None
