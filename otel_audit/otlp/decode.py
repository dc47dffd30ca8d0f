"""An OTLP logs request into an Arrow table of activities. Pure: bytes in, values out; runs in any process.

The framing is read by hand (`frame`), and each record is then parsed alone. That isolates a bad one for nothing, and is
no slower than parsing the request as a whole (1.6 against 2.4 us a record: each message is dropped before the next is
made). It also bounds memory: what protobuf builds from a message can take 26 times its bytes (measured: an empty
attribute is two of them), so the largest message parsed at once is 8 MiB.

Nothing that a peer sends can raise anything but MalformedRequestError or RequestTooLargeError.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import pyarrow as pa
from opentelemetry.proto.common.v1.common_pb2 import KeyValue

from otel_audit.errors import RequestTooLargeError
from otel_audit.otlp.columns import DECODED, ROW, SLOT
from otel_audit.otlp.content import digests, id_keys
from otel_audit.otlp.context import read_resource, read_scope
from otel_audit.otlp.frame import ScopeSlice, one_record_request, split
from otel_audit.otlp.markers import Marker, read_marker, stream_place
from otel_audit.otlp.values import UnacceptableError
from otel_audit.otlp.walk import MAX_MESSAGE_BYTES, audit_attributes, fill_row, may_be_audit
from otel_audit.otlp.work import MAX_RECORD_UNITS, count_units, is_dense, most_units

__all__ = ["DECODED", "Decoded", "Rejected", "decode_logs"]

_BATCH_ROWS = 8_192
_BATCH_BYTES = 8 << 20
"""Of records as sent. In Python a text takes up to four times its bytes, in Arrow as many as it has."""
_MAX_SET_ASIDE = 50_000
"""Of the records of one request; each costs several times as much as a valid one, here and in the quarantine."""
_MAX_COPIED_BYTES = 256 << 20
"""What a Resource and scope may take, written out for each record under them."""
_NS_PER_US = 1_000


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record that is no valid activity.

    Attributes:
        request: an ExportLogsServiceRequest with this record alone, its bytes as they came.
        sha256: of `request`, hex.
        reason: for a person.
        received_from: the peer.
        stream_id, stream_number: its place in its producer's stream, where that much of it can be read.
        service_name, service_instance_id: of its Resource, likewise.
    """

    request: bytes
    sha256: str
    reason: str
    received_from: str
    stream_id: str | None = None
    stream_number: int | None = None
    service_name: str | None = None
    service_instance_id: str | None = None


@dataclass(frozen=True, slots=True)
class Decoded:
    """What a request holds; every record is in exactly one of the four.

    Attributes:
        table: the activities, in the order sent, with schema `DECODED`.
        rejected: for the quarantine.
        markers: what producers tell about their streams.
        others: how many records have no attribute under `audit.`; they are only counted.
        total: how many records there are in all.
    """

    table: pa.Table
    rejected: tuple[Rejected, ...]
    others: int
    total: int
    markers: tuple[Marker, ...] = ()

    @property
    def kept(self) -> bool:
        """Whether any of it is to be written down."""
        return bool(self.table.num_rows or self.rejected or self.markers)

    @property
    def size_bytes(self) -> int:
        """What it takes in memory, about."""
        return int(self.table.nbytes) + sum(len(item.request) for item in self.rejected)


def decode_logs(body: bytes, *, received_from: str, arrival_ns: int, max_records: int) -> Decoded:
    """Decode a serialized ExportLogsServiceRequest.

    Args:
        body: the request, decompressed.
        received_from: authenticated name of the peer, else its address.
        arrival_ns: when it came, in ns since 1970; the time of records that bring none.
        max_records: refuse a request with more.

    Raises:
        MalformedRequestError: the framing cannot be parsed.
        RequestTooLargeError: more than `max_records` records; so large a Resource over so many records that writing it
            out for each would take more than 256 MiB; more values than so many records have; or very many records that
            are no valid activities.
    """
    rows = _Rows(received_from, arrival_ns, _is_too_much(body, max_records))
    total = 0
    for scope in split(body, max_records):
        rows.take(body, scope)
        total += len(scope.bounds) // 2
    return rows.finish(total)


def _is_too_much(body: bytes, max_records: int) -> bool:
    """Whether the records with very many values must be set aside, for the request to be no more work than allowed."""
    most = most_units(max_records)
    if not is_dense(body, most):
        return False
    records = (raw for scope in split(body, max_records) for raw in scope.records(body))
    units = count_units(body) - sum(count_units(raw) for raw in records if is_dense(raw, MAX_RECORD_UNITS))
    if units > most:
        raise RequestTooLargeError(f"the request holds too many values: {units} units of work, {most} are allowed")
    return True


class _Rows:
    """Collects rows, and turns every few thousand of them into Arrow."""

    def __init__(self, received_from: str, arrival_ns: int, is_too_much: bool) -> None:
        self._received_from = received_from
        self._arrival_ns = arrival_ns
        self._is_too_much = is_too_much
        self._shared = _Shared()
        self._pending_bytes = 0
        self._rows: list[list[Any]] = []
        self._batches: list[pa.RecordBatch] = []
        self._rejected: list[Rejected] = []
        self._markers: list[Marker] = []
        self._others = 0
        self._copied_bytes = 0

    def take(self, body: bytes, scope: ScopeSlice) -> None:
        """Add the records of one ScopeLogs."""
        if not scope.bounds:
            return  # else a large Resource over very many empty scopes would be parsed for each
        records = len(scope.bounds) // 2
        parts = (scope.resource, scope.resource_schema_url, scope.scope, scope.schema_url)
        context_bytes = sum(len(part or b"") for part in parts)
        self._check_copies(context_bytes * records)
        columns, reason = self._shared.columns(scope, context_bytes)
        # A valid record takes the columns' text with it, a rejected one the bytes as sent: count the larger.
        context_bytes = max(context_bytes, sum(len(text or "") for text in columns.values()))
        self._check_copies(context_bytes * records)
        self._copied_bytes += context_bytes * records
        template: list[Any] = [None] * len(ROW)
        for name, text in columns.items():
            template[SLOT[name]] = text
        template[SLOT["received_from"]] = self._received_from
        for raw in scope.records(body):
            if not may_be_audit(raw):
                self._others += 1
            elif reason:
                self._set_aside(scope, raw, template, reason)
            elif self._is_too_much and is_dense(raw, MAX_RECORD_UNITS):
                self._hold(scope, raw, template, "it holds so many values that the request is too much work", ())
            else:
                row = template.copy()
                try:
                    fill_row(raw, row)
                except UnacceptableError as error:
                    self._set_aside(scope, raw, template, str(error))
                    continue
                self._rows.append(row)
                self._pending_bytes += len(raw)
                if len(self._rows) >= _BATCH_ROWS or self._pending_bytes >= _BATCH_BYTES:
                    self._flush()

    def _check_copies(self, more_bytes: int) -> None:
        if self._copied_bytes + more_bytes > _MAX_COPIED_BYTES:
            raise RequestTooLargeError("its Resources are too large to be written out for each of its records")

    def _set_aside(self, scope: ScopeSlice, raw: bytes, template: list[Any], reason: str) -> None:
        """Take what is no valid activity: a marker, a record for the quarantine, or none of ours."""
        attributes = audit_attributes(raw)
        if attributes is None:
            self._others += 1
            return
        service = template[SLOT["service_name"]], template[SLOT["service_instance_id"]]
        try:
            if told := read_marker(attributes):
                self._check_set_aside()
                self._markers.append(Marker(*told, *service, self._received_from))
                return
        except UnacceptableError as error:
            reason = str(error)
        self._hold(scope, raw, template, reason, attributes)

    def _check_set_aside(self) -> None:
        if len(self._rejected) + len(self._markers) >= _MAX_SET_ASIDE:
            raise RequestTooLargeError(f"more than {_MAX_SET_ASIDE} of its records are no valid activities")

    def _hold(
        self, scope: ScopeSlice, raw: bytes, template: list[Any], reason: str, attributes: Iterable[KeyValue]
    ) -> None:
        """Take a record for the quarantine."""
        self._check_set_aside()
        service = template[SLOT["service_name"]], template[SLOT["service_instance_id"]]
        request = one_record_request(scope, raw)
        stream_id, number = stream_place(attributes) or (None, None)
        digest = sha256(request).hexdigest()
        self._rejected.append(Rejected(request, digest, reason, self._received_from, stream_id, number, *service))

    def _flush(self) -> None:
        rows, self._rows = self._rows, []
        self._pending_bytes = 0
        columns = list(zip(*rows, strict=True))
        sent = zip(columns[SLOT["time_unix_nano"]], columns[SLOT["observed_time_unix_nano"]], strict=True)
        occurred_us = [(time or observed or self._arrival_ns) // _NS_PER_US for time, observed in sent]
        columns[SLOT["occurred_at"]] = tuple(occurred_us)
        arrays = [pa.array(values, field.type) for values, field in zip(columns, ROW, strict=True)]
        batch = pa.RecordBatch.from_arrays(arrays, schema=ROW)
        arrays += [id_keys(batch.column("record_id")), digests(batch)]
        self._batches.append(pa.RecordBatch.from_arrays(arrays, schema=DECODED))

    def finish(self, total: int) -> Decoded:
        """Everything that was taken."""
        if self._rows:
            self._flush()
        table = pa.Table.from_batches(self._batches, schema=DECODED)
        return Decoded(table, tuple(self._rejected), self._others, total, tuple(self._markers))


class _Shared:
    """What the records of a scope share, read once for each Resource and once for each scope."""

    def __init__(self) -> None:
        self._resource: tuple[bytes | None, bytes | None] | None = None
        self._columns: dict[str, str | None] = {}
        self._reason = ""

    def columns(self, scope: ScopeSlice, size_bytes: int) -> tuple[dict[str, str | None], str]:
        """The columns, or what is wrong with them."""
        if size_bytes > MAX_MESSAGE_BYTES:
            return {}, f"its Resource or scope takes more than {MAX_MESSAGE_BYTES} bytes"
        known = self._resource
        # All scopes of one Resource have the very same bytes.
        if known is None or known[0] is not scope.resource or known[1] is not scope.resource_schema_url:
            self._resource = (scope.resource, scope.resource_schema_url)
            self._columns, self._reason = {}, ""
            try:
                self._columns = read_resource(*self._resource)
            except UnacceptableError as error:
                self._reason = str(error)
        if self._reason:
            return {}, self._reason
        try:
            return self._columns | read_scope(scope.scope, scope.schema_url), ""
        except UnacceptableError as error:
            return {}, str(error)
