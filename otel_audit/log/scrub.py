"""The slow check behind the commits: every file of every log, in turn, read back from the disk and compared with what
was written.

A disk may lose a bit at any time, and nobody reads a file of three years ago until it matters. The check goes through
all files at a bounded rate, begins again after a while, and writes down how far it has come, so that a restart goes on
there. What it finds damaged is told, stays told in `status` and in the metrics until the file is whole or gone, and
stops nothing: commits do not need it, and a reader is told when it comes upon it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from otel_audit.archive.names import FileName, Stage, format_name
from otel_audit.archive.verify import checking
from otel_audit.config import Settings
from otel_audit.disk import Disk
from otel_audit.errors import ArchiveFaultError, StorageError
from otel_audit.log.folder import write_state
from otel_audit.log.saying import say
from otel_audit.log.store import Store

__all__ = ["Scrub", "Scrubbed", "read_scrubbed"]

_STATE = "scrub.json"
_SAVED_S = 60.0
_BURST_S = 0.5


@dataclass(slots=True)
class Scrubbed:
    """How far the check has come. Times in µs since 1970.

    Attributes:
        completed_us: when every file had been read once more, 0 for never.
        began_us: when the round under way began, 0 for none.
        log, next_index: where it goes on in this round: at the first file from there.
        damaged: what is wrong, by the file's path below the data folder.
    """

    completed_us: int = 0
    began_us: int = 0
    log: str = ""
    next_index: int = 0
    damaged: dict[str, str] = field(default_factory=dict)


def read_scrubbed(root: Path) -> Scrubbed:
    """What the check of a data folder has written down; nothing where there is none, or none that can be read."""
    with suppress(OSError, ValueError, TypeError):
        facts: dict[str, Any] = json.loads((root / "log" / _STATE).read_bytes())
        found = Scrubbed(**facts)
        if isinstance(found.damaged, dict) and all(type(n) is int for n in (found.completed_us, found.began_us)):
            return found
    return Scrubbed()


class Scrub:
    """Used by the maintaining thread alone; `state` may be read by any.

    Args:
        born_us: when the folder was made: its first check is due one interval later.
        clock: nanoseconds since 1970.
    """

    def __init__(
        self,
        root: Path,
        stores: Sequence[Store],
        settings: Settings,
        disk: Disk,
        clock: Callable[[], int],
        born_us: int,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._root = root
        self._stores = stores
        self._disk = disk
        self._clock = clock
        self._born_us = born_us
        self._monotonic_s = monotonic_s
        self._interval_us = int(settings.scrub_interval_s * 1_000_000)
        self._bytes_per_s = settings.scrub_bytes_per_s
        self.state = read_scrubbed(root)
        self._under_way: tuple[Store, FileName, Path, Iterator[int]] | None = None
        self._allowed = 0.0
        self._last_s = self._saved_s = monotonic_s()

    def step(self) -> None:
        """Read what the rate allows since the last call; returns at once when nothing is due.

        Raises:
            UnwritableError: how far it has come could not be written down; the next call goes on all the same.
        """
        now_s = self._monotonic_s()
        self._allowed = min(self._allowed + (now_s - self._last_s) * self._bytes_per_s, _BURST_S * self._bytes_per_s)
        self._last_s = now_s
        if not self.state.began_us and not self._due():
            return
        while self._allowed > 0:
            if self._under_way is None and not self._next_file():
                self._end_round()
                return
            self._read_on()
        if now_s - self._saved_s >= _SAVED_S:
            self._save()

    def _due(self) -> bool:
        now_us = self._clock() // 1_000
        if not self._interval_us or now_us - (self.state.completed_us or self._born_us) < self._interval_us:
            return False
        self.state.began_us, self.state.log, self.state.next_index = now_us, self._stores[0].log, 0
        return True

    def _next_file(self) -> bool:
        """Begin with the next file of the round; False at its end."""
        logs = [store.log for store in self._stores]
        at = logs.index(self.state.log) if self.state.log in logs else 0
        for store in self._stores[at:]:
            first = self.state.next_index if store.log == self.state.log else 0
            for name, known in store.maximal():
                if name.last >= first:
                    from_disk = name.stage is Stage.SEALED
                    self._under_way = store, name, known.path, checking(known.path, from_disk=from_disk)
                    return True
        return False

    def _read_on(self) -> None:
        assert self._under_way is not None
        store, name, path, checked = self._under_way
        where = str(path.relative_to(self._root))
        try:
            self._allowed -= next(checked)
            return
        except StopIteration:
            self._pass(store, name)
            self.state.damaged.pop(where, None)
        except FileNotFoundError:
            self._pass(store, name)  # merged or sealed meanwhile: its rows stand in another file, with its own turn
        except ArchiveFaultError as error:
            self._pass(store, name)
            self.found_damaged(path, error)
        except StorageError as error:
            self._pass(store, name)
            say("warning", "file_not_checked", file=format_name(name), error=str(error))  # the next round tries again

    def _pass(self, store: Store, name: FileName) -> None:
        self._under_way = None
        self.state.log, self.state.next_index = store.log, name.last + 1

    def found_damaged(self, path: Path, error: ArchiveFaultError) -> None:
        """Tell of a damaged file, once, and write it down. Raises UnwritableError: only this process knows of it."""
        where = str(path.relative_to(self._root))
        if self.state.damaged.get(where) != str(error):
            self.state.damaged[where] = str(error)
            say("error", "file_damaged", file=where, error=str(error), advice=error.advice)
            self._save()

    def _end_round(self) -> None:
        self.state.completed_us, self.state.began_us = self._clock() // 1_000, 0
        for where in [where for where in self.state.damaged if not (self._root / where).exists()]:
            del self.state.damaged[where]
        self._save()

    def _save(self) -> None:
        self._saved_s = self._monotonic_s()
        # A crash here leaves the last state: some files are read once more.
        write_state(self._root / "log" / _STATE, asdict(self.state), self._disk)
