"""Both outboxes behind one face, with records that are plain bytes: `x` with the number 3 is sent as `x#3`."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from otel_audit.delivery.backlog import Backlog
from otel_audit.delivery.outbox import Outbox
from otel_audit.delivery.parcel import Parcel
from otel_audit.delivery.queue import DeliveryQueue
from otel_audit.delivery.room import size_of
from otel_audit.delivery.spooled import SpoolOutbox
from otel_audit.disk import Disk
from otel_audit.spool.destination import Destination
from otel_audit.spool.places import POOLS
from otel_audit.spool.pools import Pools
from otel_audit.spool.stream import OwnStream, open_spool

Kind = Literal["memory", "spool"]
ENDPOINT = "http://here"
RESOURCE = (b"service", "https://schema")
ROOM_BYTES = 100_000


@dataclass
class Maker:
    """Makes outboxes of one kind; those in a spool share it."""

    kind: Kind
    root: Path
    disk: Disk
    keep_bytes: int = 1 << 20

    def __call__(
        self,
        *,
        room: int | None = None,
        batch: int = 4,
        batch_bytes: int = 400,
        delay_s: float = 0.0,
        heartbeat_s: float = 0.0,
    ) -> Outbox:
        """`room`: for so many records of one byte; None: for any number."""
        if self.kind == "memory":
            return DeliveryQueue(
                stamp=lambda number: b"#%d" % number,
                mark=lambda state, last: f"{state} {last}".encode(),
                resource=lambda: RESOURCE,
                max_records=10_000 if room is None else room,
                max_bytes=ROOM_BYTES,
                batch_records=batch,
                batch_bytes=batch_bytes,
                batch_delay_s=delay_s,
                heartbeat_s=heartbeat_s,
            )
        return self.spooled(
            max_bytes=1 << 30 if room is None else size_of([b"x"] * room),
            batch=batch,
            batch_bytes=batch_bytes,
            delay_s=delay_s,
            heartbeat_s=heartbeat_s,
        )

    def spooled(
        self,
        *,
        max_bytes: int = 1 << 30,
        batch: int = 4,
        batch_bytes: int = 400,
        delay_s: float = 0.0,
        heartbeat_s: float = 0.0,
        segment_bytes: int = 1 << 20,
        service: bytes = RESOURCE[0],
    ) -> SpoolOutbox:
        """One in the spool."""
        open_spool(self.root, POOLS, self.disk)
        pools = Pools(self.root, self.disk, 3600.0, self.keep_bytes)
        described = (service, RESOURCE[1])
        mark = lambda stream, state, last: f"{state} {last}".encode()  # noqa: E731
        return SpoolOutbox(
            pools=pools,
            open_stream=lambda: OwnStream(
                self.root,
                self.disk,
                new_stream_id=lambda: f"s{next(_ids)}",
                endpoint=ENDPOINT,
                resource=lambda: described,
                stamp=lambda stream: lambda number: b"#%d" % number,
                synced=True,
                segment_bytes=segment_bytes,
            ),
            mark=mark,
            backlog=Backlog(pools, self.disk, Destination(ENDPOINT), mark, lambda: described),
            max_bytes=max_bytes,
            batch_records=batch,
            batch_bytes=batch_bytes,
            batch_delay_s=delay_s,
            heartbeat_s=heartbeat_s,
        )


_ids = itertools.count(1)


def taken(box: Outbox) -> Parcel:
    """The next parcel, which there must be."""
    parcel = box.take()
    assert parcel is not None
    return parcel


def settle(box: Outbox, parcel: Parcel, log: str | None = None, rows: str = "") -> Parcel:
    """The peer has all of it."""
    box.settle(parcel, 0, len(parcel.records), log, rows)
    return parcel


def refuse(box: Outbox, parcel: Parcel, reason: str = "HTTP 400", rejected: int | None = None) -> Parcel:
    """The peer refused it, or so many of it."""
    count = len(parcel.records)
    box.refuse(parcel, 0, count, reason, count if rejected is None else rejected)
    return parcel


def plain(*records: bytes, first: int = 1) -> tuple[bytes, ...]:
    """Records as they are sent."""
    return tuple(b"%s#%d" % (record, number) for number, record in enumerate(records, start=first))


def drained(box: Outbox) -> list[Parcel]:
    """Everything that comes out of a closed outbox, delivered."""
    found = []
    while (parcel := box.take()) is not None:
        found.append(settle(box, parcel))
    return found
