"""What a few KB of gzip can make a decoder do is bounded, counted in bytes that are not parsed yet."""

from __future__ import annotations

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from otel_audit.errors import RequestTooLargeError
from otel_audit.model.record import ActivityRecord, EntityRef
from otel_audit.otlp import context, work
from otel_audit.otlp import decode as decoding
from otel_audit.otlp.decode import Decoded, decode_logs
from otel_audit.otlp.encode import encode_record, encode_resource, frame_request
from otel_audit.otlp.frame import length_delimited as field
from otel_audit.otlp.work import MAX_RECORD_UNITS, count_units

MANY = 1 << 20


def decode(body: bytes, most: int = 500_000) -> Decoded:
    return decode_logs(body, received_from="peer", arrival_ns=1, max_records=most)


def record(record_id: str, more: bytes = b"") -> bytes:
    """A serialized LogRecord of a valid activity, with more fields."""
    made = LogRecord(time_unix_nano=1)
    for key, text in (("audit.record.id", record_id), ("audit.actor.id", "ada"), ("audit.action", "test")):
        made.attributes.add(key=key).value.string_value = text
    return made.SerializeToString() + more


def attribute(key: bytes, value: bytes) -> bytes:
    return field(6, field(1, key) + field(2, value))


def scope_of(*records: bytes, before: bytes = b"") -> bytes:
    return field(2, before + b"".join([field(2, raw) for raw in records]))


@pytest.mark.parametrize(
    "body",
    [
        b"\x78\x01" * MANY,
        b"\xa0\x06\x01" * MANY,
        b"\x7a\x00" * MANY,
        b"\x7b\x7c" * MANY,
        b"\x7b" * 90 + b"\x7b\x7c" * MANY + b"\x7c" * 90,
        field(1, b"\x78\x01" * MANY),
        field(1, b"\x7a\x00" * MANY),
        field(1, b"\x0a\x00" * MANY),
        field(1, b"\x1a\x00" * MANY),
        field(1, field(2, b"\x78\x01" * MANY)),
        field(1, field(2, b"\x7a\x00" * MANY)),
        field(1, field(2, b"\x0a\x00" * MANY)),
        field(1, field(2, b"\x1a\x00" * MANY)),
        field(1, field(2, b"\x78\x01" * 1_000)) * 1_000,
    ],
)
def test_fields_that_otlp_does_not_have_and_repeats_of_single_ones_are_bounded(body):
    """Around the records they are skipped one by one, and joining repeats would copy them all each time."""
    with pytest.raises(RequestTooLargeError, match="fields that OTLP does not have"):
        decode(body)


def test_a_few_unknown_fields_around_each_record_are_no_matter():
    body = b"".join(field(1, b"\x78\x01" + scope_of(record(f"r{at}"), before=b"\x78\x01")) for at in range(1_000))
    assert decode(body).table.num_rows == 1_000


def test_a_resource_is_parsed_once_for_all_its_scopes(monkeypatch):
    parsed = []
    monkeypatch.setattr(context, "_resource_members", lambda resource: parsed.append(resource) or {"attributes": "{}"})
    scopes = b"".join(scope_of(record(f"r{at}")) for at in range(50))
    body = field(1, field(1, encode_resource({"service.name": "a"})) + scopes) * 2
    assert decode(body).total == 100
    assert len(parsed) == 2


def test_so_is_one_that_cannot_be_parsed(monkeypatch):
    parsed = []
    monkeypatch.setattr(context, "_parse", lambda kind, raw: parsed.append(raw) or kind.FromString(raw))
    scopes = b"".join(scope_of(record(f"r{at}")) for at in range(50))
    assert len(decode(field(1, field(1, b"\xff") + scopes)).rejected) == 50
    assert len(parsed) == 1


def test_what_would_be_copied_too_often_is_refused_before_it_is_parsed(monkeypatch):
    monkeypatch.setattr(context, "_parse", None)
    resource = field(1, field(15, bytes(1 << 20)))
    with pytest.raises(RequestTooLargeError, match="written out"):
        decode(field(1, resource + scope_of(*[record("r")] * 257)))


DENSE = {
    "empty values": lambda size: attribute(b"x", field(5, b"\x0a\x00" * (size // 2))),
    "numbers in JSON text": lambda size: attribute(b"otel_audit.metadata", field(1, b'{"a":[1%b]}' % (b",1" * size))),
    "control characters": lambda size: attribute(b"x", field(1, b"\x01" * size)),
    "attributes": lambda size: b"".join([attribute(b"%07d" % at, b"") for at in range(size // 4)]),
}


@pytest.mark.parametrize("kind", DENSE)
def test_of_too_many_values_the_records_that_hold_them_are_set_aside_unparsed(kind, monkeypatch):
    """Their neighbours are innocent."""
    monkeypatch.setattr(work, "_LEAST_UNITS", 100_000)
    dense = record("dense", DENSE[kind](MAX_RECORD_UNITS + 100))
    body = field(1, scope_of(record("a"), dense, record("b")))
    decoded = decode(body, most=1_000)
    assert decoded.table["record_id"].to_pylist() == ["a", "b"]
    assert [held.reason for held in decoded.rejected] == ["it holds so many values that the request is too much work"]
    assert ExportLogsServiceRequest.FromString(decoded.rejected[0].request).resource_logs[0].scope_logs[0]


@pytest.mark.parametrize("kind", DENSE)
def test_a_request_of_too_many_values_in_small_records_is_refused(kind, monkeypatch):
    monkeypatch.setattr(work, "_LEAST_UNITS", 100_000)
    body = field(1, scope_of(*[record(f"r{at}", DENSE[kind](2_000)) for at in range(100)]))
    with pytest.raises(RequestTooLargeError, match="too many values"):
        decode(body, most=1_000)


@pytest.mark.slow
def test_no_record_that_can_be_appended_is_too_much_work():
    """The densest metadata and changes that `append` takes, alone in a request."""
    dense = ActivityRecord.create(
        actor_id="a", owner_id="a", action="a", entity_ref=EntityRef("T", 1),
        metadata={"a": [1] * 520_000}, changes={"a": [None, [1] * 520_000]},
    )  # fmt: skip
    decoded = decode(frame_request(encode_resource({}), [encode_record(dense, 1)]))
    assert (decoded.table.num_rows, decoded.rejected) == (1, ())


def test_records_that_are_no_valid_activities_are_bounded(monkeypatch):
    monkeypatch.setattr(decoding, "_MAX_SET_ASIDE", 100)
    bad = field(6, field(1, b"audit.x"))
    assert len(decode(field(1, scope_of(*[bad] * 100))).rejected) == 100
    with pytest.raises(RequestTooLargeError, match="no valid activities"):
        decode(field(1, scope_of(*[bad] * 101)))


def test_records_of_others_are_not_even_parsed():
    assert decode(field(1, scope_of(*[b"\xff no protobuf"] * 10))).others == 10


@pytest.mark.parametrize("data", [b"", b"abc", bytes(range(256)) * 9_000, b"," * 10])
def test_units_are_what_is_said(data):
    assert count_units(data) == sum(byte < 32 for byte in data) + 3 * data.count(b",")
