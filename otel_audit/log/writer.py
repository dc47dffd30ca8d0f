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
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from otel_audit.config import Settings
from otel_audit.errors import OverloadedError
from otel_audit.log.index import Verdict
from otel_audit.log.quarantine import digest_of, held_rows, quarantine_key
from otel_audit.log.stats import Counters
from otel_audit.log.stores import Stores
from otel_audit.log.streams import PLACES, marker_rows, place_rows, quarantined_rows, repeat_rows
from otel_audit.log.window import Window, sort_out
from otel_audit.otlp.decode import Decoded
from otel_audit.otlp.row_runs import MAX_RUNS, Fate
from otel_audit.otlp.rows import rows_to_request

__all__ = ["Committed", "Writer"]

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
    reason: str
    request: bytes


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
        self._quarantine_max_bytes = settings.quarantine_max_bytes
        self._counters = counters
        self.exclusive = threading.RLock()

    def write(self, requests: list[Decoded]) -> list[Committed | OverloadedError]:
        """Make a window durable.

        Returns:
            Per request what became of it, or the error to answer it with: when the quarantine's budget is used up, a
            request with a record for the quarantine has its valid records committed and must be sent again.

        Raises:
            UnwritableError, ArchiveFaultError: nothing of the window may be answered with success.
        """
        with self.exclusive:
            started = time.perf_counter()
            self._health.need_room()
            window = sort_out([request.table for request in requests], self._index, self._lookup.digests)
            starts = np.cumsum([0, *(request.table.num_rows for request in requests)])
            refused = self._hold(_for_quarantine(requests, window, starts))
            first = self._activity.next_index
            new = window.chosen(Verdict.NEW)
            if new.num_rows:
                self._activity.commit(new.drop_columns(_NOT_ARCHIVED))
                self._index.add(window.ids, window.digests, self._activity.next_index)
                self._counters.commit(time.perf_counter() - started)
            answers = self._answers(requests, window, starts, first, refused)
            self._note(requests, window, starts, refused)
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
        if (
            self._quarantine.size_bytes() + sum(len(item.request) for item in fresh.values())
            > self._quarantine_max_bytes
        ):
            return {item.request_at for item in held if quarantine_key(item.digest) in fresh}
        rows = held_rows((item.digest, item.received_from, item.reason, item.request) for item in fresh.values())
        self._quarantine.commit(rows)
        self._held_index.add(list(fresh), [0] * len(fresh), self._quarantine.next_index)
        self._counters.quarantined += len(fresh)
        return set()

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
        self, requests: list[Decoded], window: Window, starts: np.ndarray, first: int, refused: set[int]
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
                answers.append(OverloadedError("the quarantine is full; raise OTEL_AUDIT_QUARANTINE_MAX_BYTES"))
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


def _for_quarantine(requests: list[Decoded], window: Window, starts: np.ndarray) -> list[_Held]:
    held = [
        _Held(at, item.sha256, item.received_from, item.reason, item.request)
        for at, request in enumerate(requests)
        for item in request.rejected
    ]
    for place in np.flatnonzero(window.verdicts == Verdict.CONFLICT):
        row: pa.Table = window.rows.slice(place, 1).drop_columns(_NOT_ARCHIVED)
        request = rows_to_request(row)
        record_id, peer = row["record_id"][0].as_py(), row["received_from"][0].as_py()
        reason = f"conflict: a record with id {record_id} and other content is in the log"
        request_at = int(np.searchsorted(starts, place, side="right")) - 1
        held.append(_Held(request_at, digest_of(request), peer or "", reason, request))
    return held
