"""What happens to one commit window: de-duplicate, quarantine, commit, note, and an answer for each request.

A window takes up to three commits and is answered after the last. Their order decides what a crash between them leaves:

1. the quarantine and 2. the activities: whichever stands alone holds records that nobody was answered for, and that
   are known when they are sent again;
3. the notes about streams, which say of records that they are in one of the other two. Were a note there first, it
   could be left alone: a number that reads as dropped or quarantined, and whose record is nowhere. Records without
   their notes do no harm; what is sent again brings the notes with it.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from otel_audit.config import Settings
from otel_audit.errors import OverloadedError
from otel_audit.log.conflicts import KnownConflicts
from otel_audit.log.index import Verdict
from otel_audit.log.quarantine import digest_of, held_rows, quarantine_key
from otel_audit.log.stats import Counters
from otel_audit.log.stores import Stores
from otel_audit.log.streams import PLACES, marker_rows, place_rows, quarantined_rows, repeat_rows
from otel_audit.log.window import Window, sort_out
from otel_audit.otlp.decode import Decoded
from otel_audit.otlp.row_runs import MAX_RUNS, Fate
from otel_audit.otlp.rows import rows_to_single_requests

__all__ = ["Committed", "Writer"]

_MAX_CONFLICTS = 2_048
"""In one window: some 0.4 s of everybody's time. The rest comes again, and what is held by then costs little."""
_FULL = (
    "the quarantine is full, or its half that one service may use; decide about what it holds (otel-audit quarantine), "
    "or raise OTEL_AUDIT_QUARANTINE_MAX_BYTES"
)
_TOO_MANY = (
    f"more than {_MAX_CONFLICTS:,} records at once that contradict others in the log; sent again, the rest is taken"
)
_NOT_ARCHIVED = ["id_key", "digest"]
_FATES: dict[int, Fate] = {Verdict.NEW: "n", Verdict.DUPLICATE: "d", Verdict.CONFLICT: "c"}


@dataclass(frozen=True, slots=True)
class Committed:
    """What became of one request.

    Attributes:
        first, last: the log indexes of its new rows, None without any.
        runs: what became of each record, in order; none when it held anything but activities, or when they would be
            too many to tell.
    """

    log: str
    first: int | None
    last: int | None
    committed: int = 0
    duplicates: int = 0
    conflicts: int = 0
    quarantined: int = 0
    runs: tuple[tuple[Fate, int], ...] = ()


@dataclass(frozen=True, slots=True)
class _Held:
    """One record for the quarantine: its request's place in the window, and the row to keep."""

    request_at: int
    digest: str
    received_from: str
    service_name: str | None
    reason: str
    request: bytes

    @property
    def source(self) -> str:
        """As `held.Held.source`."""
        return self.service_name or self.received_from


class Writer:
    """Writes windows, one at a time (`exclusive`)."""

    def __init__(self, stores: Stores, settings: Settings, counters: Counters) -> None:
        self._activity = stores.activity
        self._quarantine = stores.quarantine
        self._streams = stores.streams
        self._index = stores.index
        self._held_index = stores.held_index
        self._lookup = stores.lookup
        self._health = stores.health
        self._budget = stores.budget
        self._counters = counters
        self._conflicts = KnownConflicts()
        self.exclusive = threading.RLock()

    def write(self, requests: list[Decoded]) -> list[Committed | OverloadedError]:
        """Make a window durable.

        Returns:
            Per request what became of it, or the error to answer it with: when the quarantine's budget is used up, a
            request with a record for the quarantine has its valid records committed and must be sent again; so has one
            with conflicts beyond what is put there in one window.

        Raises:
            UnwritableError, ArchiveFaultError: nothing of the window may be answered with success.
        """
        with self.exclusive:
            started = time.perf_counter()
            self._health.need_room()
            window = sort_out([request.table for request in requests], self._index, self._lookup.digests)
            starts = np.cumsum([0, *(request.table.num_rows for request in requests)])
            conflicts = self._conflicts.unknown(window, _MAX_CONFLICTS)
            refused = self._hold([*_rejected(requests), *_conflicting(window, conflicts.taken, starts)])
            if refused:
                refused |= _requests_of(conflicts.waiting, starts)
            else:
                self._conflicts.remember(conflicts)
            late = _requests_of(conflicts.late, starts) - refused
            first = self._activity.next_index
            new = window.chosen(Verdict.NEW)
            if new.num_rows:
                self._activity.commit(new.drop_columns(_NOT_ARCHIVED))
                self._index.add(window.ids, window.digests, self._activity.next_index)
                self._counters.commit(time.perf_counter() - started)
            why = dict.fromkeys(refused, _FULL) | dict.fromkeys(late, _TOO_MANY)
            answers = self._answers(requests, window, starts, first, why)
            self._note(requests, window, starts, refused | late)
            return answers

    def _hold(self, held: list[_Held]) -> set[int]:
        """Commit what goes to quarantine, before the activities; the requests for which there is no room."""
        if not held:
            return set()
        keys = [quarantine_key(item.digest) for item in held]
        verdicts = self._held_index.look_up(keys, [0] * len(keys))
        fresh = {key: item for key, item, verdict in zip(keys, held, verdicts, strict=True) if verdict == Verdict.NEW}
        if not fresh:
            return set()
        sizes: Counter[str] = Counter()
        for item in fresh.values():
            sizes[item.source] += len(item.request)
        # A source as a whole or not at all: what a request lacks of it, it lacks the next time as well.
        fitting: Counter[str] = Counter()
        for source, size in sorted(sizes.items(), key=lambda pair: pair[1]):
            if self._budget.fits(source, size, fitting.total()):
                fitting[source] = size
        taken = {key: item for key, item in fresh.items() if item.source in fitting}
        if taken:
            rows = held_rows(
                (item.digest, item.received_from, item.service_name, item.reason, item.request)
                for item in taken.values()
            )
            self._quarantine.commit(rows)
            self._held_index.add(list(taken), [0] * len(taken), self._quarantine.next_index)
            self._counters.quarantined += len(taken)
            self._budget.add(fitting)
        refused = fresh.keys() - taken.keys()
        return {item.request_at for key, item in zip(keys, held, strict=True) if key in refused}

    def _note(self, requests: list[Decoded], window: Window, starts: np.ndarray, refused: set[int]) -> None:
        """Commit what is to be noted of streams, if anything is."""
        held = [item for at, request in enumerate(requests) for item in request.rejected if at not in refused]
        markers = [marker for request in requests for marker in request.markers]
        if not (held or markers or window.other_than_new):
            return
        conflicts = window.verdicts == Verdict.CONFLICT
        for at in refused:
            conflicts[starts[at] : starts[at + 1]] = False
        places = window.rows.select(PLACES)
        repeats = places.filter(pa.array(window.verdicts == Verdict.DUPLICATE))
        quarantined = pa.concat_tables([places.filter(pa.array(conflicts)), place_rows(held)])
        rows = pa.concat_tables([repeat_rows(repeats), quarantined_rows(quarantined), marker_rows(markers)])
        if rows.num_rows:
            # A crash or an error here leaves a window that is kept and not answered: sent again, it is all repeats.
            self._streams.commit(rows)

    def _answers(
        self, requests: list[Decoded], window: Window, starts: np.ndarray, first: int, refused: dict[int, str]
    ) -> list[Committed | OverloadedError]:
        answers: list[Committed | OverloadedError] = []
        for at, request in enumerate(requests):
            verdicts = window.verdicts[starts[at] : starts[at + 1]]
            new, duplicates, conflicts = (
                int(np.count_nonzero(verdicts == verdict))
                for verdict in (Verdict.NEW, Verdict.DUPLICATE, Verdict.CONFLICT)
            )
            self._counters.rows(new, duplicates, conflicts)
            if at in refused:
                answers.append(OverloadedError(refused[at]))
            else:
                committed = Committed(
                    log=self._activity.log,
                    first=first if new else None,
                    last=first + new - 1 if new else None,
                    committed=new,
                    duplicates=duplicates,
                    conflicts=conflicts,
                    quarantined=len(request.rejected) + conflicts,
                    runs=_runs(verdicts) if len(verdicts) == request.total else (),
                )
                answers.append(committed)
            first += new
        return answers


def _runs(verdicts: npt.NDArray[np.int8]) -> tuple[tuple[Fate, int], ...]:
    """Equal verdicts that follow each other, counted."""
    starts = np.flatnonzero(np.diff(verdicts, prepend=np.int8(-1)))
    if len(starts) > MAX_RUNS:
        return ()
    counts = np.diff(starts, append=len(verdicts))
    return tuple((_FATES[verdicts[at]], int(count)) for at, count in zip(starts, counts, strict=True))


def _rejected(requests: list[Decoded]) -> Iterator[_Held]:
    for at, request in enumerate(requests):
        for item in request.rejected:
            yield _Held(at, item.sha256, item.received_from, item.service_name, item.reason, item.request)


def _conflicting(window: Window, places: npt.NDArray[np.int64], starts: np.ndarray) -> Iterator[_Held]:
    """The rows at these places of the window, for the quarantine."""
    rows = window.rows.take(pa.array(places))
    names = rows.select(["record_id", "received_from", "service_name"]).to_pylist()
    for place, name, request in zip(places, names, rows_to_single_requests(rows), strict=True):
        (at,) = _requests_of(place, starts)
        reason = f"conflict: a record with id {name['record_id']} and other content is in the log"
        yield _Held(at, digest_of(request), name["received_from"] or "", name["service_name"], reason, request)


def _requests_of(places: npt.NDArray[np.int64] | np.int64, starts: np.ndarray) -> set[int]:
    """Which requests of the window the rows at these places came in."""
    return set(np.atleast_1d(np.searchsorted(starts, places, side="right") - 1).tolist())
