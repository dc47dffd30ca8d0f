"""Processes on one spool, driven step by step without threads, and everything that was promised about it meanwhile."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from otel_audit.delivery.backlog import Backlog
from otel_audit.delivery.own import Own
from otel_audit.delivery.parcel import Parcel
from otel_audit.disk import Disk
from otel_audit.errors import OtelAuditError, SpoolUnwritableError
from otel_audit.spool import owner
from otel_audit.spool.destination import Destination
from otel_audit.spool.places import ASIDE, PARKED, POOLS, SENT, STREAMS, PoolFile
from otel_audit.spool.pools import Pools, read_file
from otel_audit.spool.stream import OwnStream, open_spool
from tests.faults.append_disk import Scattered
from tests.faults.disk import Loss
from tests.faults.world import Violation, demand

Answer = Literal["yes", "no answer", "not sent", "refused"]
ENDPOINT = "http://here"
_SEGMENT_BYTES = 500
_TRIES = 4
_RECORD = re.compile(rb"(.*)@(.*)#(\d+)")
_MARKER = re.compile(rb"!(.*) (open|closed|recovered) (\d+)")


@dataclass
class Ledger:
    """What was promised and what the peer was sent, over all processes.

    Attributes:
        promised: records whose append returned, by stream and number.
        seen: every record that the peer got, or that is parked.
        ended: by stream, the highest number the peer was told when it ended.
        spoilt: records that were damaged on purpose.
        ids: of streams.
    """

    promised: dict[tuple[str, int], bytes] = field(default_factory=dict)
    seen: dict[tuple[str, int], bytes] = field(default_factory=dict)
    ended: dict[str, int] = field(default_factory=dict)
    spoilt: set[tuple[str, int]] = field(default_factory=set)
    ids: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def promise(self, stream_id: str, number: int, item: bytes) -> None:
        before = self.promised.setdefault((stream_id, number), item)
        demand(before == item, f"{number} of {stream_id} was promised to {before!r} and to {item!r}")

    def see(self, payload: bytes) -> None:
        if marker := _MARKER.fullmatch(payload):
            if marker[2] != b"open":
                stream_id = marker[1].decode()
                self.ended[stream_id] = max(self.ended.get(stream_id, 0), int(marker[3]))
            return
        record = _RECORD.fullmatch(payload)
        demand(record is not None, f"the peer was sent what nobody appended: {payload!r}")
        assert record is not None
        key = (record[2].decode(), int(record[3]))
        before = self.seen.setdefault(key, record[1])
        demand(before == record[1], f"two records are number {key[1]} of {key[0]}: {before!r} and {record[1]!r}")


def persist(step: Callable[[], object]) -> None:
    """Repeat a step as the sender does when the disk gives trouble."""
    for attempt in range(_TRIES):
        try:
            step()
            return
        except (OSError, OtelAuditError):
            if attempt == _TRIES - 1:
                raise


class Process:
    """One that appends and delivers. `disk` may make any of it raise `Died`."""

    def __init__(
        self,
        root: Path,
        disk: Disk,
        ledger: Ledger,
        *,
        synced: bool = True,
        endpoint: str | None = ENDPOINT,
    ) -> None:
        self.root, self._disk, self._ledger = root, disk, ledger
        self.described = (b"service", "")
        persist(lambda: open_spool(root, POOLS, disk))
        self.pools = Pools(root, disk, 3600.0, 1 << 20)
        mark = lambda stream, state, last: f"!{stream} {state} {last}".encode()  # noqa: E731
        resource = lambda: self.described  # noqa: E731
        self.backlog = Backlog(self.pools, disk, endpoint and Destination(endpoint), mark, resource)
        self.own = Own(
            lambda: OwnStream(
                root,
                disk,
                new_stream_id=lambda: f"s{next(ledger.ids)}",
                endpoint=ENDPOINT,
                resource=resource,
                stamp=lambda stream: lambda number: f"@{stream}#{number}".encode(),
                synced=synced,
                segment_bytes=_SEGMENT_BYTES,
            ),
            self.pools,
            mark,
            resource,
            self.backlog.damaged,
            lambda stream, count: None,
        )

    def append(self, *items: bytes) -> bool:
        """Whether they were taken."""
        try:
            first = self.own.write(items)
        except SpoolUnwritableError:
            return False
        for number, item in enumerate(items, start=first):
            self._ledger.promise(self.own.stream_id or "", number, item)
        return True

    def deliver(self, answer: Answer = "yes", most: int = 100) -> bool:
        """Own records in one request; False if there are none."""
        return self._send(self.own, answer, most)

    def deliver_all(self) -> None:
        """All own records."""
        while self.deliver():
            pass

    def adopt(self) -> None:
        """Take over what others have left."""
        persist(lambda: self.backlog.look_round(frozenset((self.own.stream_id or "",))))

    def deliver_left(self, answer: Answer = "yes", most: int = 100) -> bool:
        """What others left, one request."""
        return self._send(self.backlog, answer, most)

    def deliver_all_left(self) -> None:
        """All that others left."""
        while self.deliver_left():
            pass

    def retry(self) -> None:
        """Send all again that is parked."""
        self.backlog.retry([path for _, path in self.pools.files(PARKED)])

    def close(self) -> None:
        """A clean end."""
        self.own.end()
        self.deliver_all()
        persist(self.own.finish)
        self.own.let_go()
        self.backlog.let_go()

    def die(self) -> None:
        """As by `kill -9`: the system takes back what was open."""
        self.own.abandon()
        self.backlog.abandon()

    def _send(self, source: Own | Backlog, answer: Answer, most: int) -> bool:
        sent = False

        def send() -> None:
            nonlocal sent
            parcel = source.next_parcel(most, 1 << 20)
            sent = parcel is not None
            if parcel is not None:
                self._exchange(source, parcel, answer)

        persist(send)
        return sent

    def _exchange(self, source: Own | Backlog, parcel: Parcel, answer: Answer) -> None:
        count = len(parcel.records)
        if answer in ("yes", "no answer") or (answer == "refused" and parcel.is_marker):  # it was told as well
            for payload in parcel.records:
                self._ledger.see(payload)
        if answer in ("no answer", "not sent"):
            return
        if answer == "refused" and not parcel.is_marker:
            source.park(parcel, 0, count, "HTTP 403", count)
        source.end_part(parcel, count)


def all_dead() -> None:
    """No process lives any more, not even one that died while it was being born."""
    for lock in tuple(owner._held):
        lock.abandon()


def has_holes(loss: Loss | None) -> bool:
    """Whether a file may have lost its middle and kept its end."""
    return loss is not None and (isinstance(loss, Scattered) or loss.content == "hole")


def check_after(root: Path, ledger: Ledger, loss: Loss | None = None) -> None:
    """Let one process deliver all that is left, without any more faults, and demand every promise.

    Args:
        loss: of power, if that was the end.
    """
    all_dead()
    last = Process(root, Disk(), ledger, endpoint=None)
    try:
        last.adopt()
        for folder in (root / STREAMS).iterdir():
            os.utime(folder, (0, 0))  # an hour later: nobody is about to own an empty one
        while last.deliver_left():
            pass
        last.adopt()
        last.deliver_all_left()
    except (OSError, OtelAuditError) as error:
        raise Violation(f"it does not heal: {type(error).__name__}: {error}") from error
    finally:
        last.die()
    for _, path in last.pools.files(PARKED):
        for entry in read_file(path)[1]:
            ledger.see(entry.payload)
    _check_promises(ledger, loss)
    left = sorted(str(path.relative_to(root)) for path in (root / STREAMS).rglob("*"))
    demand(not left, f"left in streams: {left}")
    aside = [path.name for path in (root / ASIDE).iterdir()]
    spoilt = {stream_id for stream_id, _ in ledger.spoilt}
    strange = [name for name in aside if (parsed := PoolFile.parse(name)) is None or parsed.stream_id not in spoilt]
    # A hole before a sound entry is damage, though nobody was promised anything there.
    demand(has_holes(loss) or not strange, f"set aside without a cause: {strange}")
    demand(loss is not None or not spoilt or bool(aside), "a damaged file is not in `aside`")
    for pool in (SENT, PARKED, ASIDE):
        strangers = [path.name for path in (root / pool).iterdir() if PoolFile.parse(path.name) is None]
        demand(all(name.endswith(".tmp") for name in strangers), f"in {pool}: {strangers}")


def _check_promises(ledger: Ledger, loss: Loss | None) -> None:
    for key, item in ledger.promised.items():
        if key not in ledger.spoilt:
            there = ledger.seen.get(key)
            demand(there == item, f"lost: {item!r}, number {key[1]} of {key[0]}; the peer has {there!r} there")
    for stream_id in {stream_id for stream_id, _ in (*ledger.promised, *ledger.seen)}:
        given = {number for of, number in ledger.promised if of == stream_id}
        promised = max(given, default=0)
        if not has_holes(loss):  # else some records of an append that was under way may be there, and others not
            given |= {number for of, number in ledger.seen if of == stream_id}
        demand(given == set(range(1, max(given, default=0) + 1)), f"{stream_id} has gaps: {sorted(given)}")
        told = ledger.ended.get(stream_id)
        # How far a stream is delivered is never fsynced. So after a power loss nobody may know that it ever held what
        # the peer has already; that the peer has it all, was demanded above.
        ended = loss is not None or (told is not None and told >= promised)
        demand(ended, f"{stream_id} ends at {promised}, and {told} was told")
