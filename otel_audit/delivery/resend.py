"""Records that were delivered once, sent again: the numbers asked for, each under its own Resource and number.

A peer that answered success may have lost them since (an otelcol whose queue was in memory). The spool still has its
copies; whoever has the records already drops them as repeats.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from otel_audit.delivery.outbox import Parcel
from otel_audit.model.ranges import Ranges, common, merged, without
from otel_audit.model.streams import StreamReport
from otel_audit.spool.format import Entry, Header
from otel_audit.spool.holdings import Held, holdings, read_held
from otel_audit.spool.places import PARKED
from otel_audit.spool.pools import Pools
from otel_audit.spool.survey import StreamSurvey

__all__ = ["Copies", "lost"]


def lost(
    streams: Iterable[StreamSurvey], reports: Iterable[StreamReport], endpoint: str | None
) -> tuple[dict[str, Ranges], list[str]]:
    """What the archive lacks of the numbers that a peer has answered for; and the streams that cannot be judged.

    A stream that the archive never heard of may have gone to another one. So it counts as lost only if it was sent to
    the endpoint that the archive's records come in by.

    Args:
        streams: from the spool, looked at before the reports were asked for.
        reports: the archive's.
        endpoint: None: it is the only one.
    """
    known = {report.stream_id: report for report in reports}
    wanted: dict[str, Ranges] = {}
    elsewhere = []
    for stream in streams:
        report = known.get(stream.stream_id)
        if report is None and stream.delivered and endpoint is not None and stream.endpoint not in ("", endpoint):
            elsewhere.append(stream.stream_id)
            continue
        report = (report or StreamReport.unknown(stream.stream_id)).expecting(stream.delivered)
        if report.missing:
            wanted[stream.stream_id] = report.missing
    return wanted, elsewhere


class Copies:
    """The work of sending numbers again; nothing is moved or removed.

    What the peer refuses now is parked, so that it does not go with the copies when those expire.

    Args:
        wanted: numbers by stream.

    Attributes:
        parked: of the numbers wanted, those that are parked: they were refused, and to send them again is another
            decision.
        absent: those that were not found; complete once the last parcel was given.

    Raises:
        SpoolUnreadableError.
    """

    def __init__(self, pools: Pools, wanted: Mapping[str, Ranges]) -> None:
        self._pools = pools
        self._files = holdings(pools.root).files
        self.parked: dict[str, Ranges] = {}
        self.absent: dict[str, Ranges] = {}
        for stream_id, ranges in wanted.items():
            parked = common(ranges, self._parked_numbers(stream_id))
            if parked:
                self.parked[stream_id] = parked
            if left := without(ranges, parked):
                self.absent[stream_id] = left
        self._parcels: Iterator[Parcel] | None = None

    def _parked_numbers(self, stream_id: str) -> Ranges:
        return merged(
            (entry.number, entry.number)
            for held in self._files.get(stream_id, ())
            if held.pool == PARKED
            for entry in self._records(held)
        )

    def _records(self, held: Held) -> list[Entry]:
        content = read_held(held, self._pools.root)
        return [] if content is None else content.records

    def next_parcel(self, max_records: int, max_bytes: int) -> Parcel | None:
        """The next parcel; None at the end. Raises SpoolUnreadableError."""
        if self._parcels is None:
            self._parcels = self._all(max_records, max_bytes)
        return next(self._parcels, None)

    def _all(self, max_records: int, max_bytes: int) -> Iterator[Parcel]:
        for stream_id in list(self.absent):
            for held in self._files.get(stream_id, ()):
                left = self.absent.get(stream_id)
                if left and held.name.first <= left[-1][1]:
                    found = [entry for entry in self._records(held) if _covers(left, entry.number)]
                    self._found(stream_id, found)
                    yield from _parcels(held.header, found, max_records, max_bytes)

    def _found(self, stream_id: str, entries: list[Entry]) -> None:
        left = without(self.absent[stream_id], merged((entry.number, entry.number) for entry in entries))
        if left:
            self.absent[stream_id] = left
        else:
            del self.absent[stream_id]

    def end_part(self, parcel: Parcel, stop: int) -> None:
        """Nothing is to be done: these are copies."""

    def park(self, parcel: Parcel, start: int, stop: int, reason: str, rejected: int) -> Path:
        """Keep what was refused, with the answer. Raises UnwritableError."""
        header, numbers = parcel.source
        records = list(zip(numbers, parcel.records, strict=True))[start:stop]
        return self._pools.park(header, records, reason, rejected)

    def let_go(self) -> None:
        """Nothing is held."""


def _covers(ranges: Ranges, number: int) -> bool:
    at = bisect_right(ranges, number, key=lambda pair: pair[0])
    return at > 0 and number <= ranges[at - 1][1]


def _parcels(header: Header, entries: list[Entry], max_records: int, max_bytes: int) -> Iterator[Parcel]:
    batch: list[Entry] = []
    size = 0
    for entry in entries:
        size += len(entry.payload)
        if batch and (len(batch) >= max_records or size > max_bytes):
            yield _parcel(header, batch)
            batch, size = [], len(entry.payload)
        batch.append(entry)
    if batch:
        yield _parcel(header, batch)


def _parcel(header: Header, batch: list[Entry]) -> Parcel:
    numbers = tuple(entry.number for entry in batch)
    return Parcel(header.resource, header.schema_url, tuple(entry.payload for entry in batch), source=(header, numbers))
