"""What happened in a run: counted for the report, and line by line in a file for whoever has to find out."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path


class Journal:
    """`counts`: by event. `faults`: sentences about what must never happen; none when all is well."""

    def __init__(self, path: Path) -> None:
        self.counts: Counter[str] = Counter()
        self.faults: list[str] = []
        self._file = path.open("w", buffering=1)
        self._begin_s = time.monotonic()

    def note(self, event: str, detail: str = "") -> None:
        """An event of the run."""
        self.counts[event] += 1
        self._file.write(f"{time.monotonic() - self._begin_s:9.3f} {event} {detail}\n")

    def fault(self, sentence: str, words: str = "") -> None:
        """Something that fails the run; `words`: what the process had to say, its last line for the report."""
        self.faults.append(": ".join((sentence, *words.splitlines()[-1:])))
        self.note("FAULT", f"{sentence}\n{words}")
