"""The header that places records: what is formatted is parsed back, and whatever else comes raises our own error."""

from __future__ import annotations

from itertools import groupby
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_audit.errors import PeerBytesError
from otel_audit.otlp.row_runs import MAX_RUNS, Fate, RowRuns, format_row_runs, parse_row_runs

FATES = st.sampled_from(get_args(Fate))


def counted(fates: list[Fate], first: int) -> RowRuns:
    runs = tuple((fate, len(list(run))) for fate, run in groupby(fates))
    return RowRuns(first if "n" in fates else None, runs)


@given(st.lists(FATES, min_size=1, max_size=600), st.integers(0, 2**62))
def test_what_is_formatted_is_parsed_back(fates: list[Fate], first: int) -> None:
    rows = counted(fates, first)
    text = format_row_runs(rows)
    assert text is not None
    assert parse_row_runs(text) == rows
    assert len(text) <= 2_000


@given(st.lists(FATES, min_size=1, max_size=60), st.integers(0, 2**62))
def test_new_rows_have_the_indexes_that_follow_the_first_and_others_have_none(fates: list[Fate], first: int) -> None:
    rows = counted(fates, first)
    places = [rows.log_index(at) for at in range(len(fates) + 1)]
    assert [place for place in places if place is not None] == list(range(first, first + fates.count("n")))
    assert [place is not None for place in places] == [*(fate == "n" for fate in fates), False]


@given(st.one_of(st.text(max_size=60), st.from_regex(r"[0-9]{0,3}:?([ndcx][0-9]{0,2},?){0,5}", fullmatch=True)))
def test_any_text_is_parsed_or_raises_only_our_error(text: str) -> None:
    try:
        rows = parse_row_runs(text)
    except PeerBytesError:
        return
    assert format_row_runs(rows) == text


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        (RowRuns(1042, (("n", 5), ("d", 3), ("n", 2))), "1042:n5,d3,n2"),
        (RowRuns(None, (("d", 8),)), ":d8"),
        (RowRuns(0, (("n", 1), ("c", 1))), "0:n1,c1"),
    ],
)
def test_the_header_reads_as_documented(rows: RowRuns, text: str) -> None:
    assert format_row_runs(rows) == text


@pytest.mark.parametrize(
    "text", ["", ":", "5:", "n5", ":n5", "5:d5", "05:n1", "1:n0", "1:n01", "1:n1,", "1:n1;d1", "١:n1"]
)
def test_a_value_that_contradicts_itself_is_refused(text: str) -> None:
    with pytest.raises(PeerBytesError):
        parse_row_runs(text)


def test_what_would_be_too_long_is_not_said() -> None:
    every_other: list[Fate] = ["d", "c"] * (MAX_RUNS // 2)
    assert format_row_runs(counted(every_other, 0)) is not None
    assert format_row_runs(counted([*every_other, "d"], 0)) is None
    assert format_row_runs(RowRuns(10**15, tuple(("n", 10_000) for _ in range(400)))) is None
    assert format_row_runs(RowRuns(None, ())) is None
    with pytest.raises(PeerBytesError):
        parse_row_runs(":" + ",".join(["d1", "c1"] * MAX_RUNS))
