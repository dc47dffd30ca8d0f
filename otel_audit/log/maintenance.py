"""What runs behind the commits, one task at a time: merge, seal, remove hidden files, move ids to disk."""

from __future__ import annotations

import time
from collections.abc import Callable

from otel_audit.archive.chain import BEGINNING
from otel_audit.archive.footer import utc_day
from otel_audit.archive.names import FileName, Stage
from otel_audit.config import Settings
from otel_audit.log.compact import compact
from otel_audit.log.plan import HotFile, MergeRules, SealRules, plan_merge, plan_seal
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

    def run_one(self) -> None:
        """Do what is due, a task per store at most. Removing comes first: it makes room where the disk is full."""
        for store in self._stores:
            self._remove_hidden(store)
        for index in self._indexes:
            index.spill()
        for store in self._stores:
            hot = _hot_files(store)
            if inputs := plan_seal(hot, self._seal, self._today()):
                self._compact(store, inputs, Stage.SEALED)
            elif inputs := plan_merge(hot, self._merge):
                self._compact(store, inputs, Stage.MERGED)
        self._high_water.write_if_due()

    def seal_everything(self) -> int:
        """Seal all that is committed now, a file per UTC day and target size; how many files that made."""
        made = 0
        for store in self._stores:
            end = store.next_index
            while inputs := plan_seal(
                [file for file in _hot_files(store) if file.name.last < end], self._seal, self._today(), everything=True
            ):
                self._compact(store, inputs, Stage.SEALED)
                made += 1
        return made

    def _compact(self, store: Store, inputs: tuple[FileName, ...], stage: Stage) -> None:
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

    def _remove_hidden(self, store: Store) -> None:
        """Unlink inputs whose output has been published long enough: no reader's list can still name them.

        `compact` proved an output and read it back, and recovery proved again what it found.
        """
        now = time.monotonic()
        for name in store.coverage().hidden:
            if name.stage is Stage.SEALED:
                continue  # stays, whatever hides it
            if now - self._hidden_since.setdefault(name, now) >= self._keep_s:
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
