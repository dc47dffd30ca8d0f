"""A digest that follows a log from its first row on, so that two histories of one log can be told apart.

Each commit's chain is made of the one before it and of its own rows. A file's footer has the chain before its first row
and the one after its last, which merging and sealing hand on: wherever files are cut, the chain after a row says which
rows came before it, in this copy of the log and in no other.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import pyarrow as pa
import xxhash

from otel_audit.archive.digest import rows_digest
from otel_audit.archive.footer import Footer

__all__ = ["BEGINNING", "breaks", "chain_after", "contradicts"]

BEGINNING = ""
"""The chain before the first row, and after rows of a release that kept none."""
_TELLING = ("log_index", "record_id", "recorded_at")


def chain_after(before: str, rows: pa.Table) -> str:
    """The chain after a commit of `rows`, which stand at their log indexes already."""
    names = [name for name in _TELLING if name in rows.column_names]
    told = rows.select(names) if "record_id" in names else rows
    return xxhash.xxh3_128_hexdigest(f"{before} {rows_digest([told])}".encode())


def breaks(footers: Iterable[Footer]) -> list[str]:
    """What is wrong with files that should follow each other; given in log order."""
    return [
        f"log {later.log}: rows from {later.first} on do not follow those before them: another copy of the log's"
        for earlier, later in pairwise(footers)
        if (earlier.log, earlier.last + 1) == (later.log, later.first) and _differ(earlier.chain, later.chain_before)
    ]


def contradicts(wide: Footer, inner: Footer) -> bool:
    """Whether a file and one whose range lies inside its own hold different rows, as far as the chain tells."""
    return (wide.first == inner.first and _differ(wide.chain_before, inner.chain_before)) or (
        wide.last == inner.last and _differ(wide.chain, inner.chain)
    )


def _differ(one: str | None, other: str | None) -> bool:
    return bool(one and other and one != other)
