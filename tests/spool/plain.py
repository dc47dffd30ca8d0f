"""Streams whose records are plain bytes, so that a test can say what it wrote and what it read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from otel_audit.disk import Disk
from otel_audit.spool.format import Entry, Kind, scan
from otel_audit.spool.places import POOLS, SegmentName
from otel_audit.spool.pools import Pools
from otel_audit.spool.reading import Batch, StreamReader
from otel_audit.spool.stream import OwnStream, open_spool

ENDPOINT = "http://here"


def new_spool(root: Path, disk: Disk | None = None) -> Pools:
    disk = disk or Disk()
    open_spool(root, POOLS, disk)
    return Pools(root, disk, 3600.0, 1 << 30)


def own_stream(
    root: Path,
    stream_id: str | Callable[[], str] = "s1",
    *,
    disk: Disk | None = None,
    resource: Callable[[], tuple[bytes, str]] | None = None,
    endpoint: str = ENDPOINT,
    synced: bool = True,
    segment_bytes: int = 1 << 20,
) -> OwnStream:
    """A record `x` with the number 3 is written as `x#3`."""
    described = (b"service", "")
    return OwnStream(
        root,
        disk or Disk(),
        new_stream_id=stream_id if callable(stream_id) else lambda: stream_id,
        endpoint=endpoint,
        resource=resource or (lambda: described),
        stamp=lambda stream: lambda number: b"#%d" % number,
        synced=synced,
        segment_bytes=segment_bytes,
    )


class Reading:
    """A reader, and what it told and gave."""

    def __init__(self, folder: Path, pools: Pools) -> None:
        self.damage: list[tuple[str, str]] = []
        self.moved: list[tuple[str, str]] = []

        def finished(path: Path, name: SegmentName, pool: str) -> None:
            pools.take_in(path, folder.name, name, pool)
            self.moved.append((name.format(), pool))

        self.reader = StreamReader(folder, finished, lambda path, what: self.damage.append((path.name, what)))

    def take(
        self, written: tuple[SegmentName, int] | None = None, most: int = 1000, most_bytes: int = 1 << 20
    ) -> Batch | None:
        """One batch, delivered."""
        batch = self.reader.next_batch(written, most, most_bytes)
        if batch is not None:
            self.reader.delivered(batch)
        return batch

    def take_all(
        self, written: tuple[SegmentName, int] | None = None, most: int = 1000, most_bytes: int = 1 << 20
    ) -> list[bytes]:
        """All records there are, delivered."""
        found: list[bytes] = []
        while (batch := self.take(written, most, most_bytes)) is not None:
            found += batch.records
        return found


def records_in(path: Path) -> list[bytes]:
    """What is in a file, without the damaged part."""
    return [e.payload for e in scan(path.read_bytes()) if isinstance(e, Entry) and e.kind == Kind.RECORD]


def numbered(*records: bytes, first: int = 1) -> list[bytes]:
    return [b"%s#%d" % (record, number) for number, record in enumerate(records, start=first)]
