"""What runs behind the commits, one task at a time: merge, seal, remove hidden files, move ids to disk, check files.

A hot file whose bytes are not what its commit wrote is left as it is, for its rows must not be written anew as if they
were right. The files before and behind it are merged and sealed as ever.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import groupby

from otel_audit.archive.chain import BEGINNING
from otel_audit.archive.footer import unreadable, utc_day
from otel_audit.archive.names import FileName, Stage, format_name
from otel_audit.archive.verify import check_file
from otel_audit.config import Settings
from otel_audit.errors import ArchiveFaultError
from otel_audit.log.compact import compact
from otel_audit.log.plan import HotFile, MergeRules, SealRules, plan_merge, plan_seal
from otel_audit.log.scrub import Scrub
from otel_audit.log.stats import Counters
from otel_audit.log.store import Store
from otel_audit.log.stores import Stores

__all__ = ["Maintenance"]


class Maintenance:
    """Called with the engine's task lock held; every method raises UnwritableError or ArchiveFaultError."""

    def __init__(self, stores: Stores, settings: Settings, clock: Callable[[], int], counters: Counters) -> None:
        self._stores = stores.every
        self._indexes = (stores.index, stores.held_index)
        self._index_of = stores.index_of
        self._clock = clock
        self._counters = counters
        self._health = stores.health
        self._high_water = stores.high_water
        self._keep_s = settings.input_keep_s
        self._merge = MergeRules(settings.merge_fan_in, settings.merge_big_rows, settings.hot_max_files)
        self._seal = SealRules(settings.seal_rows, settings.seal_bytes)
        self._hidden_since: dict[FileName, float] = {}
        self._damaged: set[FileName] = set()
        self.scrub = Scrub(
            stores.activity.root, self._stores, settings, stores.activity.disk, clock, stores.born_ns // 1_000
        )

    def run_one(self) -> None:
        """Do what is due, a task per store at most. Removing comes first: it makes room where the disk is full."""
        for store in self._stores:
            self._remove_hidden(store, self._keep_s)
        self._high_water.write_if_due()
        for index in self._indexes:
            index.spill()
        for store in self._stores:
            for hot in self._hot_runs(store):
                if inputs := plan_seal(hot, self._seal, self._today()):
                    self._compact(store, inputs, Stage.SEALED)
                    break
                if inputs := plan_merge(hot, self._merge):
                    self._compact(store, inputs, Stage.MERGED)
                    break
        self.scrub.step()

    def seal_everything(self) -> int:
        """Seal all that is committed now, a file per UTC day and target size; how many files that made.

        Raises:
            ArchiveFaultError: a hot file is damaged; it stays as it is, and all others are sealed.
        """
        made = 0
        for store in self._stores:
            end = store.next_index
            while inputs := self._next_to_seal(store, end):
                made += self._compact(store, inputs, Stage.SEALED)
        if self._damaged:
            names = ", ".join(map(format_name, sorted(self._damaged)))
            raise ArchiveFaultError(f"damaged, and so left as they are: {names}")
        return made

    def _next_to_seal(self, store: Store, end: int) -> tuple[FileName, ...]:
        for hot in self._hot_runs(store):
            there = [file for file in hot if file.name.last < end]
            if inputs := plan_seal(there, self._seal, self._today(), everything=True):
                return inputs
        return ()

    def _hot_runs(self, store: Store) -> Iterator[list[HotFile]]:
        """The hot files in log order, without damaged ones; each of those ends a run."""
        for damaged, run in groupby(_hot_files(store), lambda file: file.name in self._damaged):
            if not damaged:
                yield list(run)

    def _find_damaged(self, store: Store, inputs: tuple[FileName, ...]) -> bool:
        """Whether an input that must be read from the disk is not what was written there."""
        before = len(self._damaged)
        for name, known in zip(inputs, store.known(inputs), strict=True):
            if store.recent(name) is None:
                try:
                    check_file(known.path)
                except FileNotFoundError as error:
                    raise unreadable(known.path, error) from error
                except ArchiveFaultError as error:
                    self._damaged.add(name)
                    self.scrub.found_damaged(known.path, error)
        return len(self._damaged) > before

    def _compact(self, store: Store, inputs: tuple[FileName, ...], stage: Stage) -> bool:
        """Whether a file was made: not where an input turns out to be damaged, and the next plan goes round it."""
        if self._find_damaged(store, inputs):
            return False
        # What does not fit waits: written all the same, it would take the room that commits are accepted in.
        self._health.need_room(sum(known.footer.size_bytes for known in store.known(inputs)))
        last = store.known(inputs[-1:])[0].footer
        if (index := self._index_of(store)) is not None:
            index.before_compaction(inputs[0].first, (last.last + 1, last.chain or BEGINNING))
        compact(store, inputs, stage)
        if stage is Stage.SEALED:
            self._counters.seals += 1
            self._high_water.write()
        else:
            self._counters.merges += 1
        return True

    def remove_superseded(self) -> None:
        """Leave a folder that is not written any more with each row in one file, for readers that know no ranges.

        A reader of ours whose list names one of the files takes a new list. A crash here leaves some of them, which
        stay hidden and go later.
        """
        for store in self._stores:
            self._remove_hidden(store, 0.0)

    def _remove_hidden(self, store: Store, keep_s: float) -> None:
        """Unlink inputs whose output has been published so long: by then no reader's list names them.

        `compact` proved an output and read it back, and recovery proved again what it found.
        """
        now = time.monotonic()
        for name in store.coverage().hidden:
            if name.stage is Stage.SEALED:
                continue  # stays, whatever hides it
            if now - self._hidden_since.setdefault(name, now) >= keep_s:
                store.remove(name)
                del self._hidden_since[name]

    def _today(self) -> str:
        return utc_day(self._clock() // 1000)


def _hot_files(store: Store) -> list[HotFile]:
    return [
        HotFile(name, utc_day(known.footer.recorded_min_us), known.footer.size_bytes)
        for name, known in store.maximal()
        if name.stage is not Stage.SEALED
    ]
