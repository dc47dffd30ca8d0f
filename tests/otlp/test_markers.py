"""Markers: what a producer tells of its stream is plain OTLP, is told from activities, and is never half believed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from otel_audit.errors import InvalidRecordError
from otel_audit.otlp.encode import encode_resource, frame_request
from otel_audit.otlp.markers import Marker, encode_marker
from otel_audit.otlp.names import ROWS_HEADER, STREAM_STATES
from tests.otlp.wire import PEER, VALID, av, decode, kv, log_record, request

STREAM_IDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=512)
NUMBERS = st.integers(0, 2**63 - 1)
TOLD: dict[str, Any] = {
    "audit.sequence.stream_id": "s",
    "otel_audit.stream.state": "open",
    "otel_audit.stream.last_number": 7,
}


def told(attributes: dict[str, Any] | None = None, *more: KeyValue, without: str = "") -> LogRecord:
    wanted = {key: value for key, value in (TOLD | (attributes or {})).items() if key != without}
    return LogRecord(attributes=[*(kv(key, value) for key, value in wanted.items()), *more])


@given(STREAM_IDS, st.sampled_from(STREAM_STATES), NUMBERS, st.integers(0, 2**64 - 1))
def test_a_marker_is_a_plain_log_record_that_upb_would_write(
    stream_id: str, state: str, last_number: int, now_ns: int
) -> None:
    expected = LogRecord(
        time_unix_nano=now_ns,
        observed_time_unix_nano=now_ns,
        severity_number=9,  # type: ignore[arg-type]
        event_name="otel_audit.stream",
        attributes=[
            kv("audit.schema.version", "1"),
            kv("audit.sequence.stream_id", stream_id),
            kv("otel_audit.stream.state", state),
            kv("otel_audit.stream.last_number", last_number),
            *([kv("audit.sequence.end", True)] if state == "closed" else []),
        ],
    )
    assert LogRecord.FromString(encode_marker(stream_id, state, last_number, now_ns)) == expected  # type: ignore[arg-type]


@given(STREAM_IDS, st.sampled_from(STREAM_STATES), NUMBERS)
def test_what_is_encoded_is_read_back(stream_id: str, state: Any, last_number: int) -> None:
    resource = encode_resource({"service.name": "shop", "service.instance.id": "i-1"})
    decoded = decode(frame_request(resource, [encode_marker(stream_id, state, last_number, 1)]))
    assert decoded.markers == (Marker(stream_id, state, last_number, "shop", "i-1", PEER),)
    assert (decoded.table.num_rows, decoded.rejected, decoded.others, decoded.total) == (0, (), 0, 1)
    assert decoded.kept


def test_the_documentation_names_every_part_of_a_marker() -> None:
    page = (Path(__file__).parents[2] / "docs" / "wire-format.md").read_text(encoding="utf-8")
    record = LogRecord.FromString(encode_marker("s", "closed", 1, 1))
    named = [attribute.key for attribute in record.attributes if attribute.key != "audit.schema.version"]
    for name in (record.event_name, *named, *STREAM_STATES, ROWS_HEADER):
        assert f"`{name}" in page, name


@pytest.mark.parametrize(
    ("stream_id", "number"), [("", 1), ("s" * 513, 1), ("\ud800", 1), ("s", -1), ("s", 2**63)], ids=repr
)
def test_what_the_collector_would_refuse_is_not_encoded(stream_id: str, number: int) -> None:
    with pytest.raises(InvalidRecordError):
        encode_marker(stream_id, "open", number, 0)


def test_a_marker_stands_beside_activities_and_other_records() -> None:
    decoded = decode(
        request(log_record(), told(), LogRecord(body=av("a log line")), log_record(without="audit.action"))
    )
    assert [marker.stream_id for marker in decoded.markers] == ["s"]
    assert (decoded.table.num_rows, len(decoded.rejected), decoded.others, decoded.total) == (1, 1, 1, 4)


def test_attributes_that_a_hop_adds_to_a_marker_do_no_harm() -> None:
    decoded = decode(request(told({"host.name": "h", "log.record.uid": "u", "tags": ["a"]})))
    assert decoded.markers == (Marker("s", "open", 7, None, None, PEER),)


def test_a_resource_that_cannot_be_kept_does_not_silence_a_marker() -> None:
    """Nothing of it but the service's name would be kept."""
    twice = Resource(attributes=[kv("service.name", "a"), kv("service.name", "b")])
    assert decode(request(told(), resource=twice)).markers == (Marker("s", "open", 7, None, None, PEER),)


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (told({"otel_audit.stream.state": "asleep"}), "one of open, closed, recovered"),
        (told({"otel_audit.stream.state": 1}), "otel_audit.stream.state"),
        (told({"audit.sequence.stream_id": 7}), "audit.sequence.stream_id"),
        (told({"audit.sequence.stream_id": ""}), "1 to 512 characters"),
        (told({"audit.sequence.stream_id": "s" * 513}), "1 to 512 characters"),
        (told({"otel_audit.stream.last_number": "7"}), "otel_audit.stream.last_number"),
        (told({"otel_audit.stream.last_number": -1}), "cannot be -1"),
        (told(without="otel_audit.stream.last_number"), "otel_audit.stream.last_number"),
        (told({"audit.sequence.end": "yes"}), "audit.sequence.end"),
        (told({"audit.sequence.end": True}, without="audit.sequence.stream_id"), "audit.sequence.stream_id"),
        (told(None, kv("otel_audit.stream.last_number", 9)), "twice"),
    ],
)
def test_a_marker_that_is_not_sound_is_held_like_any_invalid_record(record: LogRecord, reason: str) -> None:
    decoded = decode(request(record))
    (rejected,) = decoded.rejected
    assert reason in rejected.reason
    assert decoded.markers == ()


@pytest.mark.parametrize("key", ["audit.record.id", "audit.actor.id", "audit.action"])
def test_a_record_with_anything_an_activity_must_have_is_no_marker(key: str) -> None:
    """Taken for one, it would be dropped where the quarantine keeps it."""
    decoded = decode(request(told({key: VALID[key]})))
    assert decoded.markers == ()
    assert len(decoded.rejected) == 1


def test_without_any_audit_attribute_it_is_none_of_ours() -> None:
    assert decode(request(told(without="audit.sequence.stream_id"))).others == 1


# --- where a rejected record stands in its stream ---


PLACE: dict[str, Any] = {"audit.sequence.stream_id": "s", "audit.sequence.number": 5}


def test_a_rejected_record_tells_its_place_and_its_service() -> None:
    resource = Resource(attributes=[kv("service.name", "shop"), kv("service.instance.id", "i-1")])
    (item,) = decode(request(log_record(PLACE, without="audit.actor.id"), resource=resource)).rejected
    assert (item.stream_id, item.stream_number, item.service_name, item.service_instance_id) == ("s", 5, "shop", "i-1")


@pytest.mark.parametrize(
    ("attributes", "more"),
    [
        ({}, ()),
        ({"audit.sequence.stream_id": "s"}, ()),
        ({"audit.sequence.number": 5}, ()),
        (PLACE | {"audit.sequence.number": "5"}, ()),
        (PLACE | {"audit.sequence.stream_id": ""}, ()),
        (PLACE, (kv("audit.sequence.number", 6),)),
        (PLACE, (kv("audit.sequence.stream_id", "t"),)),
    ],
)
def test_a_place_that_cannot_be_read_for_certain_is_none(
    attributes: dict[str, Any], more: tuple[KeyValue, ...]
) -> None:
    (item,) = decode(request(log_record(attributes, *more, without="audit.actor.id"))).rejected
    assert (item.stream_id, item.stream_number) == (None, None)


def test_damaged_bytes_have_no_place() -> None:
    good = log_record(PLACE | {"audit.actor.id": "actor-to-damage"}).SerializeToString()
    (item,) = decode(
        frame_request(b"", [good.replace(b"actor-to-damage", b"actor-to-\xff\xff\xff\xff\xff\xff")])
    ).rejected
    assert (item.stream_id, item.stream_number) == (None, None)
