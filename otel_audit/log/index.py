"""Which ids the log holds, with a digest of each one's content: what makes the archive exactly once.

Recent ids stand in a dict; older ones in sorted runs beside the log. Ids that carry their time (UUIDv7) leave the index
after a window; for an id from before the horizon the caller looks in the files. Ids without a time stay for good. So an
id that the index does not know is never taken for new merely because it is old.

Everything here can be rebuilt from the log, so nothing here is fsynced before an answer.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from otel_audit.disk import Disk
from otel_audit.errors import StorageError
from otel_audit.log.folder import write_state
from otel_audit.log.runs import Digests, Ids, Run, format_run, ids_of, load_run, make_run
from otel_audit.otlp.content import KEYS_VERSION

__all__ = ["IdIndex", "Verdict"]

_MANIFEST = "manifest.json"
_FAN_IN = 8
_WORTH_WRITING = 16
"""At the end a run is written for this part of what makes one otherwise."""
End = tuple[int, str]
"""Where a log ends: the index that comes next, and the chain before it, which no other copy of the log has."""


class Verdict(IntEnum):
    """What the index says of one id."""

    NEW = 0
    DUPLICATE = 1
    CONFLICT = 2
    ASK_FILES = 3
    """Older than the horizon: only the files know."""


class IdIndex:
    """Used by the committing thread; `spill` prepares and writes runs from the maintaining one.

    `covered`: the runs hold every id of rows below this log index (timed ones down to the horizon).
    `upto`: dict and runs together do so below this one.

    Args:
        log: its name.
        end: the log's end now: the index that comes next, and the chain before it.
    """

    def __init__(
        self,
        folder: Path,
        disk: Disk,
        clock: Callable[[], int],
        window_s: float,
        run_rows: int,
        log: str = "",
        end: Callable[[], End] = lambda: (0, ""),
    ) -> None:
        self.folder = folder
        self.disk = disk
        self.clock = clock
        self.window_ms = int(window_s * 1000)
        self.run_rows = run_rows
        self._log = log
        self._log_end = end
        self._end: End = (0, "")
        self._spilling_end = self._end
        self.covered = 0
        self.upto = 0
        self.horizon_ms = 0
        self._recent: dict[bytes, int] = {}
        self._spilling: dict[bytes, int] = {}
        self._spilling_upto = 0
        self._runs: dict[str, dict[str, Run]] = {"timed": {}, "kept": {}}
        self._serial = 0

    # --- asking and adding ---

    def look_up(self, ids: list[bytes], digests: list[int]) -> npt.NDArray[np.int8]:
        """A Verdict per id. Repeats within the list are the caller's to find (`add` comes after the commit)."""
        verdicts = np.zeros(len(ids), dtype=np.int8)
        places = np.arange(len(ids))
        for known in (self._recent, self._spilling):
            if known.keys().isdisjoint(ids):
                continue  # the usual case: nothing is sent twice
            for at in places[verdicts == Verdict.NEW]:
                if (digest := known.get(ids[at])) is not None:
                    verdicts[at] = Verdict.DUPLICATE if digest == digests[at] else Verdict.CONFLICT
        self._look_in_runs(ids, digests, places[verdicts == Verdict.NEW], verdicts)
        return verdicts

    def _look_in_runs(
        self, ids: list[bytes], digests: list[int], places: npt.NDArray[np.int64], verdicts: npt.NDArray[np.int8]
    ) -> None:
        wanted = ids_of(b"".join(ids))[places]
        timed = _is_timed(wanted)
        for kind, of_kind in (("timed", timed), ("kept", ~timed)):
            for run in tuple(self._runs[kind].values()):
                left = np.flatnonzero(of_kind & (verdicts[places] == Verdict.NEW))
                if not len(left):
                    break
                found = run.find(wanted[left])
                hit = found >= 0
                mine = np.array([digests[at] for at in places[left[hit]]], dtype=np.uint64)
                same = run.digests[found[hit]] == mine
                verdicts[places[left[hit]]] = np.where(same, Verdict.DUPLICATE, Verdict.CONFLICT)
        if self.horizon_ms:
            old = timed & (verdicts[places] == Verdict.NEW) & (_time_ms(wanted) < self.horizon_ms)
            verdicts[places[old]] = Verdict.ASK_FILES

    def add(self, ids: list[bytes], digests: list[int], upto: int) -> None:
        """Take in the ids of committed rows; `upto` is the log index after the last of them."""
        self._recent.update(zip(ids, digests, strict=True))
        self.upto = upto

    # --- runs ---

    @property
    def spill_due(self) -> bool:
        """Whether enough ids wait in memory for a run."""
        return len(self._recent) >= self.run_rows and not self._spilling

    def close(self) -> None:
        """Write what is in memory, where the next start would take long to find it again in the files. Raises as
        `spill`: it is found again then."""
        self.spill(merge=False)
        if len(self._recent) * _WORTH_WRITING >= self.run_rows:
            self.begin_spill()
            self.spill(merge=False)

    def begin_spill(self) -> None:
        """Set the ids in memory aside for a run; they are still found. The committing thread calls it."""
        self._spilling_upto, self._spilling_end = self.upto, self._log_end()
        self._spilling, self._recent = self._recent, {}

    def spill(self, *, merge: bool = True) -> None:
        """Write what was set aside as runs, merge runs that have become many (which may take a while), let expired ones
        go.

        A crash at any step leaves the old manifest, which is complete for what it covers, or the new one; and perhaps
        runs that it does not list, which the next call removes. Should power loss keep the new manifest and not a run
        it lists, the index is rebuilt from the log.

        Raises:
            UnwritableError: the ids stay in memory and the next call tries again.
        """
        if not self._spilling:
            return
        self.disk.make_folder(self.folder)
        self._remove_unlisted()  # an earlier call that failed left them: a disk that goes on failing must not fill up
        ids: Ids = np.array(list(self._spilling), dtype="S16")
        digests = np.fromiter(self._spilling.values(), dtype=np.uint64, count=len(ids))
        order = np.argsort(ids, kind="stable")
        ids, digests = ids[order], digests[order]
        timed = _is_timed(ids)
        runs = {kind: dict(of_kind) for kind, of_kind in self._runs.items()}
        for kind, chosen in (("timed", timed), ("kept", ~timed)):
            if chosen.any():
                self._write(runs[kind], kind, ids[chosen], digests[chosen])
            while merge and (group := _mergeable(runs[kind])) is not None:
                merged = [runs[kind].pop(name) for name in group]
                together = np.concatenate([run.ids for run in merged])
                order = np.argsort(together, kind="stable")
                self._write(runs[kind], kind, together[order], np.concatenate([run.digests for run in merged])[order])
        horizon = self._expire(runs["timed"])
        self._write_manifest(self._spilling_upto, self._spilling_end, horizon, runs)
        # In this order, for the committing thread looks ids up meanwhile: the horizon is there before the runs that end
        # at it go, and the new runs before the ids in memory do.
        self.horizon_ms = horizon
        self._runs = runs
        self.covered, self._end = self._spilling_upto, self._spilling_end
        self._spilling = {}
        self._remove_unlisted()

    def _write_manifest(self, covered: int, end: End, horizon: int, runs: dict[str, dict[str, Run]]) -> None:
        bound = {"log": self._log, "keys": KEYS_VERSION, "covered": covered, "end": list(end), "horizon_ms": horizon}
        listed = {kind: list(of_kind) for kind, of_kind in runs.items()}
        write_state(self.folder / _MANIFEST, bound | listed, self.disk)

    def before_compaction(self, first: int, end: End) -> None:
        """Keep the manifest bound to an end of a file when those from `first` up to `end` are to become one.

        Written before that file is: `end` is the end of a file before and after. A crash in between changes nothing.

        Raises:
            UnwritableError: the files stay as they are.
        """
        if first < self._spilling_end[0] < end[0]:
            self._spilling_end = end
        if self.covered and first < self._end[0] < end[0] and end[1]:
            self._write_manifest(self.covered, end, self.horizon_ms, self._runs)
            self._end = end

    def _write(self, runs: dict[str, Run], kind: str, ids: Ids, digests: Digests) -> None:
        self._serial += 1
        name = f"{self.clock():020d}-{self._serial}.{kind}.run"
        path = self.folder / name
        # A crash here leaves a run that no manifest lists.
        self.disk.write_new(path, format_run(make_run(ids, digests)))
        runs[name] = load_run(path)

    def _expire(self, timed: dict[str, Run]) -> int:
        """Drop the ids from before the window of each timed run in which they are at least half; whoever asks for such
        an id must ask the files.

        A few ids of a fast clock do not keep the others of their run so, and no id is written anew more than once for
        each other one that went.
        """
        edge = self.clock() // 1_000_000 - self.window_ms
        horizon = self.horizon_ms
        for name, run in tuple(timed.items()):
            expired = int(np.searchsorted(run.ids, _first_id_at(edge)))
            if expired * 2 < len(run):
                continue
            del timed[name]
            horizon = max(horizon, int(_time_ms(run.ids[expired - 1 : expired])[0]) + 1)
            if expired < len(run):
                self._write(timed, "timed", run.ids[expired:], run.digests[expired:])
        return horizon

    def _remove_unlisted(self) -> None:
        listed = {name for of_kind in self._runs.values() for name in of_kind}
        for path in self.folder.glob("*.run"):
            if path.name not in listed:
                # A crash here, or power loss that brings it back, leaves it to the next call.
                self.disk.unlink(path)

    # --- start ---

    def claimed_end(self) -> int:
        """The log's end as the manifest knows it: those rows were durable. 0 without a manifest of this log."""
        try:
            manifest = json.loads((self.folder / _MANIFEST).read_bytes())
            if manifest.get("log", self._log) != self._log:
                return 0
            return max(int(manifest["covered"]), int(manifest.get("end", [0])[0]))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError):
            return 0

    def load(self, next_index: int, holds: Callable[[End], bool] = lambda _: True) -> None:
        """Read the runs that the manifest lists. With anything wrong they are let go, and `rebuild` begins from
        nothing: left there, they might be believed once the log has grown past what they cover.

        Args:
            holds: whether this very log once ended there.

        Raises:
            UnwritableError: the manifest is wrong, and cannot be removed.
        """
        try:
            manifest: dict[str, Any] = json.loads((self.folder / _MANIFEST).read_bytes())
            runs = {kind: {name: load_run(self.folder / name) for name in manifest[kind]} for kind in ("timed", "kept")}
            covered, horizon = int(manifest["covered"]), int(manifest["horizon_ms"])
            end = (int(manifest["end"][0]), str(manifest["end"][1]))
            fits = (manifest["keys"], manifest["log"]) == (KEYS_VERSION, self._log) and 0 <= covered <= next_index
            if not fits or not holds(end):
                raise StorageError(f"{self.folder / _MANIFEST}: of other rows than the log's")
            self._serial = max((_serial_of(name) for of_kind in runs.values() for name in of_kind), default=0)
            self._runs, self.covered, self.horizon_ms, self._end = runs, covered, horizon, end
        except FileNotFoundError:
            pass
        except (StorageError, ValueError, KeyError, TypeError, IndexError, OSError):
            self.discard()
        self.upto = self.covered

    def discard(self) -> None:
        """Let the runs on disk go. A crash here leaves the manifest: rejected again. Raises UnwritableError."""
        self._runs, self.covered, self.horizon_ms, self._end = {"timed": {}, "kept": {}}, 0, 0, (0, "")
        self.disk.unlink(self.folder / _MANIFEST)

    def rebuild(self, pieces: Iterator[tuple[list[bytes], list[int], int]]) -> None:
        """Take in the rows after `upto`: (ids, digests, log index after the last) in log order.

        Raises:
            UnwritableError: a run could not be written.
        """
        for ids, digests, upto in pieces:
            self.add(ids, digests, upto)
            if self.spill_due:
                self.begin_spill()
                self.spill()


def _serial_of(name: str) -> int:
    """The serial number in a run's name: no other run may get it, should the clock be set back. Raises ValueError."""
    return int(name.partition("-")[2].partition(".")[0])


def _is_timed(ids: Ids) -> npt.NDArray[np.bool_]:
    """Whether an id is a UUIDv7. The hash of a text id has its version digit cleared, so it never looks like one."""
    octets = np.ascontiguousarray(ids).view(np.uint8).reshape(-1, 16)
    return np.asarray((octets[:, 6] >> 4 == 7) & (octets[:, 8] >> 6 == 2))


def _time_ms(ids: Ids) -> npt.NDArray[np.int64]:
    high = np.ascontiguousarray(ids).view(">u8").reshape(-1, 2)[:, 0]
    return np.asarray((high >> np.uint64(16)).astype(np.int64))


def _first_id_at(time_ms: int) -> np.bytes_:
    """The least 16 bytes that a UUIDv7 of this time can be."""
    return np.bytes_(max(time_ms, 0).to_bytes(6, "big") + bytes(10))


def _mergeable(runs: dict[str, Run]) -> list[str] | None:
    """The oldest runs of the most crowded size class, once there are enough of them."""
    classes: dict[int, list[str]] = {}
    for name, run in runs.items():
        classes.setdefault((len(run).bit_length() - 1) // 3, []).append(name)
    crowded = max(classes.values(), key=len, default=[])
    return crowded[:_FAN_IN] if len(crowded) >= _FAN_IN else None
