"""One commit window: of all the rows that arrived together, which are new, which repeat, which contradict."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from otel_audit.log.index import IdIndex, Verdict

__all__ = ["Window", "sort_out"]

AskFiles = Callable[[list[str]], dict[str, int]]


@dataclass(frozen=True, slots=True)
class Window:
    """The rows of a window and a verdict for each.

    Attributes:
        rows: all of them, as decoded, requests one after the other.
        verdicts: NEW, DUPLICATE or CONFLICT per row.
        ids, digests: of the new rows, for the index.
    """

    rows: pa.Table
    verdicts: npt.NDArray[np.int8]
    ids: list[bytes]
    digests: list[int]

    @property
    def other_than_new(self) -> bool:
        """Whether any row is a repeat or a conflict."""
        return len(self.ids) != len(self.verdicts)

    def chosen(self, verdict: Verdict) -> pa.Table:
        """The rows with one verdict, in order."""
        if not self.other_than_new:
            return self.rows if verdict is Verdict.NEW else self.rows.slice(0, 0)
        return self.rows.filter(pa.array(self.verdicts == verdict))


def sort_out(tables: Sequence[pa.Table], index: IdIndex, ask_files: AskFiles) -> Window:
    """Judge every row of a window.

    Args:
        tables: decoded rows, a table per request.
        ask_files: content digests, by record id, of those of the given ids that the files hold.
    """
    rows = pa.concat_tables(tables)
    ids: list[bytes] = rows["id_key"].to_pylist()
    digests: list[int] = rows["digest"].to_pylist()
    verdicts = index.look_up(ids, digests)
    asked = np.flatnonzero(verdicts == Verdict.ASK_FILES)
    if len(asked):
        record_ids = rows["record_id"].take(pa.array(asked)).to_pylist()
        known = ask_files(record_ids)
        for at, record_id in zip(asked, record_ids, strict=True):
            verdicts[at] = _judge(known.get(record_id), digests[at])
    if len(set(ids)) != len(ids):
        # The same id twice in one window: the first new one stands, the others repeat or contradict it.
        first: dict[bytes, int] = {}
        for at in np.flatnonzero(verdicts == Verdict.NEW):
            verdicts[at] = _judge(first.get(ids[at]), digests[at])
            first.setdefault(ids[at], digests[at])
    new = np.flatnonzero(verdicts == Verdict.NEW)
    if len(new) == len(ids):
        return Window(rows, verdicts, ids, digests)
    return Window(rows, verdicts, [ids[at] for at in new], [digests[at] for at in new])


def _judge(known: int | None, digest: int) -> Verdict:
    if known is None:
        return Verdict.NEW
    return Verdict.DUPLICATE if known == digest else Verdict.CONFLICT
