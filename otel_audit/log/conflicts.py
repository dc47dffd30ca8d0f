"""Conflicts that the quarantine holds already, so that one sent again and again costs a look and no encoding.

What is held is a request under its SHA-256, which is known only once the row has been turned into a request again; that
is the dear part. Here a conflict is known by a digest over the columns that the request is made of, so that what is
taken for known is byte for byte what is held. It is forgotten at a restart, and when there are very many: then it is
encoded once more, and found in the quarantine's index.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from otel_audit.log.index import Verdict
from otel_audit.log.window import Window
from otel_audit.otlp.rows import REQUEST_COLUMNS

__all__ = ["Conflicts", "KnownConflicts"]

_MOST = 131_072
Places = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Conflicts:
    """The conflicts of a window that are not known to be held.

    Attributes:
        taken: where one of each stands that goes to quarantine now.
        waiting: where all of those stand, and their equals.
        late: where those stand that are too many for one window.
        keys: of those taken.
    """

    taken: Places
    waiting: Places
    late: Places
    keys: list[bytes]


class KnownConflicts:
    """Used by the committing thread."""

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._known: dict[bytes, None] = {}

    def unknown(self, window: Window, most: int) -> Conflicts:
        """Look through a window; at most so many are taken."""
        places = np.flatnonzero(window.verdicts == Verdict.CONFLICT)
        taken: dict[bytes, int] = {}
        waiting: list[int] = []
        late: list[int] = []
        for place, key in zip(places.tolist(), _keys(window.rows.take(pa.array(places))), strict=True):
            if key in self._known:
                continue
            if key in taken or len(taken) < most:
                taken.setdefault(key, place)
                waiting.append(place)
            else:
                late.append(place)
        first, all_of_them, rest = (np.array(found, np.int64) for found in (list(taken.values()), waiting, late))
        return Conflicts(first, all_of_them, rest, list(taken))

    def remember(self, conflicts: Conflicts) -> None:
        """Those taken are held, durably."""
        self._known.update(dict.fromkeys(conflicts.keys))
        while len(self._known) > self._most:
            del self._known[next(iter(self._known))]


def _keys(rows: pa.Table) -> list[bytes]:
    """A digest for each row: of the length of each column's text, and of the texts."""
    texts = [rows[name].cast(pa.string()) for name in REQUEST_COLUMNS]
    lengths = [pc.binary_length(text).cast(pa.string()).fill_null("-") for text in texts]
    joined = pc.binary_join_element_wise(*lengths, *(text.fill_null("") for text in texts), "\0")
    return [blake2b(one, digest_size=16).digest() for one in joined.cast(pa.binary()).to_pylist()]
