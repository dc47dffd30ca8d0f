"""Spools with known contents, written by the parts that write real ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from otel_audit.disk import Disk
from otel_audit.model.record import ActivityRecord, EntityRef
from otel_audit.otlp.encode import encode_record, encode_resource
from otel_audit.otlp.markers import encode_marker
from otel_audit.otlp.stamp import stream_stamp
from otel_audit.spool.format import Kind
from otel_audit.spool.places import POOLS
from otel_audit.spool.pools import Pools, read_file
from otel_audit.spool.reading import StreamReader
from otel_audit.spool.stream import OwnStream, open_spool

ENDPOINT = "http://127.0.0.1:9/v1/logs"
APPENDED_NS = 1_764_000_000_000_000_000
"""When record 1 was appended; each later one a second after the one before."""


def encoded(stream_id: str, numbers: Sequence[int]) -> list[bytes]:
    """Records as `append` hands them over, without their numbers; named after the numbers that they will get."""
    return [
        encode_record(
            ActivityRecord.create(
                actor_id="a",
                owner_id="o",
                action="edit",
                entity_ref=EntityRef("Page", 1),
                record_id=f"{stream_id}-{number}",
            ),
            APPENDED_NS + number * 1_000_000_000,
        )
        for number in numbers
    ]


class FilledStream:
    """A stream of this process, and the reader that delivers it."""

    def __init__(self, spool: FilledSpool, stream_id: str, endpoint: str, service: str, segment_bytes: int) -> None:
        self.pools = spool.pools
        resource = (encode_resource({"service.name": service}), "")
        self.own = OwnStream(
            spool.root,
            spool.disk,
            new_stream_id=lambda: stream_id,
            endpoint=endpoint,
            resource=lambda: resource,
            stamp=stream_stamp,
            synced=False,
            segment_bytes=segment_bytes,
        )
        self.folder = self.own.folder
        self.damage: list[str] = []
        self.reader = StreamReader(
            self.folder,
            lambda path, name, pool: self.pools.take_in(path, stream_id, name, pool),
            lambda path, what: self.damage.append(what),
        )

    def write(self, count: int, at_once: int = 1) -> FilledStream:
        """Append so many records, each with a write of its own unless told."""
        first = self.own.last + 1
        for at in range(first, first + count, at_once):
            self.own.write(encoded(self.own.stream_id, range(at, min(at + at_once, first + count))))
        return self

    def deliver(self, count: int) -> FilledStream:
        """So many records are answered for."""
        while count:
            batch = self.reader.next_batch(self.own.written, count, 1 << 20)
            assert batch is not None
            self.reader.delivered(batch)
            count -= len(batch.records)
        return self

    def park(self, count: int, reason: str, rejected: int | None = None) -> Path:
        """So many records are refused."""
        batch = self.reader.next_batch(self.own.written, count, 1 << 20)
        assert batch is not None and len(batch.records) == count
        records = list(zip(batch.numbers, batch.records, strict=True))
        path = self.pools.park(batch.header, records, reason, count if rejected is None else rejected)
        self.reader.delivered(batch)
        return path

    def end(self) -> FilledStream:
        """No record follows."""
        marker = encode_marker(self.own.stream_id, "closed", self.own.last, APPENDED_NS)
        self.own.mark(Kind.CLOSED, marker)
        return self

    def finish(self) -> None:
        """All of it is delivered: nothing is left but what is kept."""
        while (batch := self.reader.next_batch(self.own.written, 1_000, 1 << 20)) is not None:
            self.reader.delivered(batch)
        self.reader.finish()
        self.own.remove()
        self.own.close()

    def leave(self) -> None:
        """As if its process had died."""
        self.own.close()


class FilledSpool:
    """A spool to write streams into."""

    def __init__(self, root: Path) -> None:
        self.root, self.disk = root, Disk()
        open_spool(root, POOLS, self.disk)
        self.pools = Pools(root, self.disk, 3600.0, 1 << 30)

    def stream(
        self, stream_id: str, *, endpoint: str = ENDPOINT, service: str = "shop", segment_bytes: int = 1 << 20
    ) -> FilledStream:
        return FilledStream(self, stream_id, endpoint, service, segment_bytes)


def numbers_in(path: Path) -> list[int]:
    """The numbers of the records in a file."""
    return [entry.number for entry in read_file(path)[1]]


def ids_of(records: Sequence[LogRecord]) -> list[str]:
    """Their record ids."""
    return [a.value.string_value for record in records for a in record.attributes if a.key == "audit.record.id"]
