"""What must hold at the end, judged from the ledgers and the archive's rows alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field

from tests.torture.ledger import Ledgers
from tests.torture.rows import Notes, Row


@dataclass
class Findings:
    """Lists of what is wrong; all empty when all is well, but for what is counted.

    Attributes:
        archived: how many rows.
        added: ids that only the last replays have brought into it.
        lost: ids that must be in the archive and are not.
        doubled: ids that are in it more than once.
        strangers: ids in it that nobody meant to append.
        taken_after_all: ids in it whose append said that nothing was taken.
        misplaced: ids that are not where their receipt said.
        renamed: ids whose rows come from another process than the one that appended them.
        rows_of: how many rows each stream has.
        missing: numbers of a stream up to its highest that no row has, or its end if that is known.
        reused: numbers of a stream that several records have.
        never_arrived: how many were accepted and are not in the archive, whether they must be or not.
        settled_in_vain: how many of those a flush had answered for.
        in_doubt, in_doubt_archived: how many appends neither returned nor were refused; how many of those took place.
    """

    archived: int = 0
    added: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)
    taken_after_all: list[str] = field(default_factory=list)
    misplaced: list[str] = field(default_factory=list)
    renamed: list[str] = field(default_factory=list)
    missing: list[tuple[str, int]] = field(default_factory=list)
    reused: list[tuple[str, int]] = field(default_factory=list)
    rows_of: dict[str, int] = field(default_factory=dict)
    never_arrived: int = 0
    settled_in_vain: int = 0
    in_doubt: int = 0
    in_doubt_archived: int = 0


def judge(
    rows: Iterable[Row],
    ledgers: Ledgers,
    *,
    required: Set[str],
    before: Set[str],
    notes: Notes,
) -> Findings:
    """Compare.

    Args:
        required: ids that must be in the archive.
        before: ids that were in the archive before all old requests were sent once more.
        notes: what the producers' streams are known to have come to.
    """
    found = Findings()
    seen: dict[str, tuple[str, int]] = {}
    numbers: dict[str, set[int]] = {}
    for row in rows:
        found.archived += 1
        if row.record_id in seen:
            found.doubled.append(row.record_id)
        seen[row.record_id] = (row.log, row.index)
        if (origin := ledgers.origin.get(row.record_id)) is None:
            found.strangers.append(row.record_id)
        elif origin != row.origin:
            found.renamed.append(row.record_id)
        if row.stream is not None and row.number is not None:
            given = numbers.setdefault(row.stream, set())
            if row.number in given:
                found.reused.append((row.stream, row.number))
            given.add(row.number)
    found.added = sorted(seen.keys() - before)
    found.lost = sorted(required - before)
    found.taken_after_all = sorted(ledgers.refused & seen.keys())
    found.misplaced = sorted(key for key, place in ledgers.places.items() if key in seen and seen[key] != place)
    found.missing = _missing(numbers, notes)
    found.rows_of = {stream: len(given) for stream, given in numbers.items()}
    never = ledgers.accepted - before
    found.never_arrived = len(never)
    found.settled_in_vain = len(never & ledgers.settled)
    doubt = ledgers.origin.keys() - ledgers.accepted - ledgers.refused
    found.in_doubt, found.in_doubt_archived = len(doubt), len(doubt & seen.keys())
    return found


def _missing(numbers: Mapping[str, Set[int]], notes: Notes) -> list[tuple[str, int]]:
    missing = []
    for stream in sorted(numbers.keys() | notes.ends.keys()):
        there = numbers.get(stream, set()) | notes.excused.get(stream, set())
        end = max(notes.ends.get(stream, 0), *there, 0)
        missing += [(stream, number) for number in range(1, end + 1) if number not in there]
    return missing
