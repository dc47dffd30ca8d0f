"""What the producers say they did, written down so that no kill takes it away.

One file for each thread of each process, one line for each step, each line one `write` to the operating system:

    i <id>                      about to append it
    a <id>                      `append` returned
    r <id>                      `append` raised, and said that nothing was taken
    s <id>                      a `flush` that began after the append returned without an error
    p <id> <log> <index>        the receipt names its place
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

_SUFFIX = ".ledger"
_numbers = count()


class Ledger:
    """The writer's side; for one thread. `origin` names the process as its records' resource does."""

    def __init__(self, folder: Path, origin: str) -> None:
        self._path = folder / f"{origin}~{os.getpid()}~{next(_numbers)}{_SUFFIX}"
        self._handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        self._unsettled: list[str] = []

    def intend(self, ids: Iterable[str]) -> None:
        """Before `append`."""
        self._write("i", ids)

    def accept(self, ids: Iterable[str]) -> None:
        """After `append`."""
        ids = tuple(ids)
        self._write("a", ids)
        self._unsettled += ids

    def refuse(self, ids: Iterable[str]) -> None:
        """After an `append` that raised and took nothing."""
        self._write("r", ids)

    def begin_flush(self) -> list[str]:
        """What a flush that begins now answers for."""
        covered, self._unsettled = self._unsettled, []
        return covered

    def settle(self, covered: list[str]) -> None:
        """After that flush returned."""
        self._write("s", covered)

    def place(self, record_id: str, log: str, index: int) -> None:
        """After a receipt told where the record is."""
        self._write("p", (f"{record_id} {log} {index}",))

    def _write(self, kind: str, items: Iterable[str]) -> None:
        lines = "".join(f"{kind} {item}\n" for item in items).encode()
        if lines and os.write(self._handle, lines) != len(lines):
            raise OSError(f"{self._path}: the ledger's own disk is full")


@dataclass
class Ledgers:
    """All of it, by record id. `origin` says which process meant to append it first."""

    origin: dict[str, str] = field(default_factory=dict)
    accepted: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    settled: set[str] = field(default_factory=set)
    places: dict[str, tuple[str, int]] = field(default_factory=dict)


def read_ledgers(folder: Path) -> Ledgers:
    """Read every file. A last line without its end was being written when the process was killed: it never was."""
    found = Ledgers()
    for path in sorted(folder.glob(f"*{_SUFFIX}")):
        origin = path.name.partition("~")[0]
        *whole, _ = path.read_text().split("\n")
        for line in whole:
            _take(found, origin, line.split(" "))
    return found


def _take(found: Ledgers, origin: str, line: list[str]) -> None:
    match line:
        case ["i", record_id]:
            found.origin.setdefault(record_id, origin)
        case ["a", record_id]:
            found.accepted.add(record_id)
        case ["r", record_id]:
            found.refused.add(record_id)
        case ["s", record_id]:
            found.settled.add(record_id)
        case ["p", record_id, log, index]:
            found.places[record_id] = (log, int(index))
        case _:
            raise ValueError(f"not a line of a ledger: {line}")
