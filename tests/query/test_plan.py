"""The walk over row groups: the first n of an order are found wherever they lie, without opening all."""

from __future__ import annotations

from array import array

from hypothesis import given
from hypothesis import strategies as st

from otel_audit.query.catalog import FileFacts
from otel_audit.query.plan import Walk


def _file(number: int, first: int, groups: list[list[int]]) -> FileFacts:
    """A file whose row groups hold rows of these times."""
    flat, last = array("q"), first - 1
    for times in groups:
        last += len(times)
        flat.extend((last, min(times), max(times)))
    all_times = [time for times in groups for time in times]
    return FileFacts(f"f{number}", "log", first, last, min(all_times), max(all_times), None, flat, 1)


_times = st.lists(st.integers(-20, 20), min_size=1, max_size=4)
_files = st.lists(st.lists(_times, min_size=1, max_size=3), min_size=1, max_size=6)


@given(_files, st.booleans(), st.integers(1, 5), st.integers(1, 4))
def test_the_first_n_found_by_walking_are_the_first_n_of_all(contents, newest_first, limit, step):
    """Rows are ordered by (time, index); the walk stops as soon as it says that nothing before can follow."""
    rows, files = [], []
    for number, groups in enumerate(contents):
        files.append(_file(number, len(rows), groups))
        rows += [(time, len(rows) + at) for at, time in enumerate(time for times in groups for time in times)]
    ordered = sorted(files, key=lambda f: -f.max_us if newest_first else f.min_us)
    walk, found, part = Walk(ordered, newest_first), set(), None
    part = walk.take(step, 9)
    while True:
        paths = set(part.files)
        in_part = {
            row
            for file in files
            if file.path in paths
            for row in rows[file.first : file.last + 1]
            if part.first is None or part.first <= row[1] <= part.last
        }
        assert len(in_part) >= min(part.rows, 1)
        found |= in_part
        best = sorted(found, reverse=newest_first)[:limit]
        if walk.edge_us is None or (len(best) == limit and walk.settles(best[-1][0])):
            break
        part = walk.take_reaching(best[-1][0]) if len(best) == limit else walk.take(step, 9)
    assert best == sorted(rows, reverse=newest_first)[:limit]


@given(_files, st.booleans(), st.integers(0, 6))
def test_taking_and_the_rest_cover_every_row(contents, newest_first, taken):
    files, first = [], 0
    for number, groups in enumerate(contents):
        files.append(_file(number, first, groups))
        first = files[-1].last + 1
    walk = Walk(sorted(files, key=lambda f: -f.max_us if newest_first else f.min_us), newest_first)
    parts = [walk.take(taken, 9)] if taken else []
    if walk.edge_us is not None:
        left = walk.rows_left
        parts.append(walk.rest())
        assert parts[-1].rows == left
    assert sum(part.rows for part in parts) == first
    assert walk.edge_us is None
    for file in files:
        for index in range(file.first, file.last + 1):
            assert any(
                file.path in part.files and (part.first is None or part.first <= index <= part.last) for part in parts
            )


def test_an_equal_end_is_still_to_be_looked_at():
    """At an equal time the record_id decides, so a row group that ends there may hold an earlier hit."""
    walk = Walk([_file(0, 0, [[5]]), _file(1, 1, [[5]]), _file(2, 2, [[4]])], newest_first=True)
    walk.take(1, 1)
    assert not walk.settles(5)
    walk.take_reaching(5)
    assert walk.settles(5)
    assert walk.rows_left == 1
