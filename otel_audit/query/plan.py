"""Which row groups to look at next, so that the first n of an order are found without opening everything. Pure.

A record that happened long ago may have been committed yesterday, so neither file names nor folders say when the rows
of a file happened; the spans of `occurred_at` in the footers do. Row groups are taken by the near end of their span,
and the search may stop only when its n-th hit lies strictly before (in the order asked for) that end of every row group
not yet looked at: at an equal time the record_id decides, so an equal end must still be looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heappop, heappush

from otel_audit.query.catalog import FileFacts, RowGroup

__all__ = ["Part", "Walk"]


@dataclass(frozen=True, slots=True)
class Part:
    """What one statement looks at: files, and the log indexes in them (None: all).

    The range spans the chosen row groups and may take in others between them; looking at a row twice does no harm.
    """

    files: list[str]
    first: int | None
    last: int | None
    rows: int


class Walk:
    """Takes row groups from files in order.

    Args:
        files: by the near end of their spans: latest first, or earliest first when `newest_first` is False.
    """

    def __init__(self, files: Sequence[FileFacts], newest_first: bool) -> None:
        self._files = files
        self._newest_first = newest_first
        self._next = 0
        self._heap: list[tuple[int, tuple[int, str], RowGroup]] = []

    @property
    def edge_us(self) -> int | None:
        """The near end of everything not yet taken; None when nothing is left."""
        ends = [self._end(file) for file in self._files[self._next : self._next + 1]]
        ends += [end for end, _, _ in self._heap[:1]]
        return None if not ends else (-min(ends) if self._newest_first else min(ends))

    def settles(self, us: int) -> bool:
        """Whether a hit at this time comes before every row not yet taken."""
        edge = self.edge_us
        return edge is None or (us > edge if self._newest_first else us < edge)

    def take(self, rows: int, most_files: int) -> Part:
        """The next row groups: so many rows, or fewer when they would lie in more than so many files."""
        taken: list[RowGroup] = []
        paths: set[str] = set()
        count = 0
        while count < rows and len(paths) < most_files and (self._next < len(self._files) or self._heap):
            taken.append(self._pop())
            paths.add(taken[-1].path)
            count += taken[-1].rows
        return _part(taken)

    def take_reaching(self, us: int) -> Part:
        """The next row groups that may hold rows before, or at, a time in the order asked for."""
        taken = []
        while not self.settles(us):
            taken.append(self._pop())
        return _part(taken)

    def rest(self) -> Part:
        """Everything left, without going through its row groups one by one."""
        left = self._files[self._next :]
        groups = [group for _, _, group in self._heap]
        files = list(dict.fromkeys([*(file.path for file in left), *(group.path for group in groups)]))
        rows = self.rows_left
        self._next, self._heap = len(self._files), []
        if left:
            return Part(files, None, None, rows)
        return Part(files, min(g.first for g in groups), max(g.last for g in groups), rows)

    @property
    def rows_left(self) -> int:
        """Rows not yet taken."""
        return sum(file.rows for file in self._files[self._next :]) + sum(group.rows for _, _, group in self._heap)

    def _pop(self) -> RowGroup:
        """The next row group, once the row groups of every file are on the heap whose span may hold it."""
        while self._next < len(self._files) and (
            not self._heap or self._end(self._files[self._next]) <= self._heap[0][0]
        ):
            file = self._files[self._next]
            self._next += 1
            for group in file.row_groups():
                # Of two logs' row groups with one end and one index, the path decides; row groups have no order.
                heappush(self._heap, (self._end(group), (group.first, group.path), group))

        return heappop(self._heap)[2]

    def _end(self, span: FileFacts | RowGroup) -> int:
        return -span.max_us if self._newest_first else span.min_us


def _part(groups: list[RowGroup]) -> Part:
    files = list(dict.fromkeys(group.path for group in groups))
    return Part(files, min(g.first for g in groups), max(g.last for g in groups), sum(g.rows for g in groups))
