"""A file's name is its place, and every other name is nobody's."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_audit.spool.places import PoolFile, SegmentName, is_stream_id, segments

NAMES = st.builds(SegmentName, st.integers(0, 10**8 - 1), st.integers(0, 10**16 - 1), st.booleans())
LONG_NAMES = st.builds(SegmentName, st.integers(0, 10**18 - 1), st.integers(0, 10**18 - 1), st.booleans())
STREAMS = st.from_regex(r"\A[0-9A-Za-z_-]{1,64}\Z")


@given(LONG_NAMES)
def test_a_name_is_read_as_it_was_written(name: SegmentName) -> None:
    assert SegmentName.parse(name.format()) == name


@given(STREAMS, LONG_NAMES)
def test_a_name_in_a_pool_is_read_as_it_was_written(stream_id: str, name: SegmentName) -> None:
    pooled = PoolFile(stream_id, name)
    assert PoolFile.parse(pooled.format()) == pooled
    assert is_stream_id(stream_id)


@given(NAMES, NAMES)
def test_names_of_a_stream_sort_as_their_places(one: SegmentName, other: SegmentName) -> None:
    if (one.sequence, one.first) != (other.sequence, other.first):
        assert (one < other) == (one.format() < other.format())


def test_the_files_of_a_stream_are_read_in_order_beyond_eight_digits(tmp_path: Path) -> None:
    names = [SegmentName(sequence, 1) for sequence in (99_999_999, 100_000_000, 100_000_001)]
    for name in reversed(names):
        (tmp_path / name.format()).touch()
    assert [name for name, _ in segments(tmp_path)] == names


@given(st.text(max_size=40))
def test_any_other_text_is_no_name(text: str) -> None:
    for parse in (SegmentName.parse, PoolFile.parse):
        name = parse(text)
        assert name is None or name.format() == text


@pytest.mark.parametrize(
    "name",
    [
        "00000001-0000000000000001.spool.tmp",
        "00000001-0000000000000001.spool\n",
        "0000001-0000000000000001.spool",
        "000000001-0000000000000001.spool",
        "0000000١-0000000000000001.spool",
        ".00000001-0000000000000001.spool",
        "owner",
    ],
)
def test_a_name_that_only_looks_like_one_is_none(name: str) -> None:
    assert SegmentName.parse(name) is None


@pytest.mark.parametrize("name", ["", ".", "..", "a.b", "a/b", "lost+found", "é", "x" * 65, "a\n"])
def test_a_folder_with_such_a_name_is_no_streams(name: str) -> None:
    assert not is_stream_id(name)


def test_a_refused_file_never_has_the_name_of_one_of_its_streams_files() -> None:
    """One record, refused, of the first file: both would be 1 and 1."""
    assert SegmentName(1, 1).format() != SegmentName(1, 1, is_refused=True).format()


def test_a_streams_files_are_listed_in_order_and_nothing_else_is(tmp_path: Path) -> None:
    names = [SegmentName(10, 7), SegmentName(2, 5), SegmentName(9, 7)]
    for name in names:
        (tmp_path / name.format()).touch()
    for other in ("owner", "delivered", "notes.txt", SegmentName(3, 5, is_refused=True).format()):
        (tmp_path / other).touch()
    assert [name for name, _ in segments(tmp_path)] == sorted(names)
