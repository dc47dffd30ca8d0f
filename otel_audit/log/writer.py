"""What happens to one commit window: de-duplicate, quarantine, commit, and an answer for each request."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from otel_audit.config import Settings
from otel_audit.errors import OverloadedError, UnwritableError
from otel_audit.log.index import Verdict
from otel_audit.log.quarantine import digest_of, held_rows, quarantine_key
from otel_audit.log.stats import Counters
from otel_audit.log.stores import Stores
from otel_audit.log.window import Window, sort_out
from otel_audit.otlp.decode import Decoded
from otel_audit.otlp.rows import rows_to_request

__all__ = ["Committed", "Writer"]

_NOT_ARCHIVED = ["id_key", "digest"]


@dataclass(frozen=True, slots=True)
class Committed:
    """What became of one request. `first` and `last` are the log indexes of its new rows, None without any."""

    log: str
    first: int | None
    last: int | None
    committed: int = 0
    duplicates: int = 0
    conflicts: int = 0
    quarantined: int = 0


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
        self._index = stores.index
        self._held_index = stores.held_index
        self._lookup = stores.lookup
        self._min_free_bytes = settings.min_free_bytes
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
            free = self._activity.disk.free_bytes(self._activity.root)
            if free < self._min_free_bytes:
                raise UnwritableError(
                    f"{self._activity.root}: {free} bytes free, below the low-space mark of {self._min_free_bytes}"
                )
            window = sort_out([request.table for request in requests], self._index, self._lookup.digests)
            starts = np.cumsum([0, *(request.table.num_rows for request in requests)])
            refused = self._hold(_for_quarantine(requests, window, starts))
            first = self._activity.next_index
            new = window.chosen(Verdict.NEW)
            if new.num_rows:
                self._activity.commit(new.drop_columns(_NOT_ARCHIVED), window.duplicates_by_stream())
                self._index.add(window.ids, window.digests, self._activity.next_index)
                self._counters.commit(time.perf_counter() - started)
            return self._answers(requests, window, starts, first, refused)

    def _hold(self, held: list[_Held]) -> set[int]:
        """Commit what goes to quarantine, before the activities; the requests for which there is no room."""
        if not held:
            return set()
        keys = [quarantine_key(item.digest) for item in held]
        verdicts = self._held_index.look_up(keys, [0] * len(keys))
        fresh = {key: item for key, item, verdict in zip(keys, held, verdicts, strict=True) if verdict == Verdict.NEW}
        if not fresh:
            return set()
        size = sum(known.footer.size_bytes for _, known in self._quarantine.maximal())
        if size + sum(len(item.request) for item in fresh.values()) > self._quarantine_max_bytes:
            return {item.request_at for item in held if quarantine_key(item.digest) in fresh}
        rows = held_rows((item.digest, item.received_from, item.reason, item.request) for item in fresh.values())
        self._quarantine.commit(rows, {})
        self._held_index.add(list(fresh), [0] * len(fresh), self._quarantine.next_index)
        self._counters.quarantined += len(fresh)
        return set()

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
                )
                answers.append(committed)
            first += new
        return answers


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
