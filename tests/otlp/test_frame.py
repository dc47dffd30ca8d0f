"""The hand-written scan of the framing: the same verdict as upb, and bounded."""

from __future__ import annotations

import tracemalloc

import pytest
from google.protobuf.message import DecodeError
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from otel_audit.errors import MalformedRequestError, RequestTooLargeError
from otel_audit.otlp.frame import count_records, length_delimited, one_record_request, split

from .skeleton import skeleton
from .wire import canonical_request, requests

SKELETON = skeleton()


def varint(value: int, width: int = 1) -> bytes:
    """A varint of at least `width` bytes; one that is longer than it need be is legal."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    while len(out) < width:
        out[-1] |= 0x80
        out.append(0)
    return bytes(out)


_WIDTHS = st.sampled_from([1, 1, 1, 1, 1, 2, 5, 6])
_NUMBERS = st.sampled_from([0, 1, 2, 3, 4, 15, 16, 2**28, 2**29 - 1, 2**29])
_SIZES = st.sampled_from([0, 1, 3, 3, 2**31 - 1, 2**31, 2**32, 2**32 + 3, 2**64 - 1])


@st.composite
def _odd_fields(draw: st.DrawFn, depth: int = 0) -> bytes:
    number, kind = draw(_NUMBERS), draw(st.sampled_from([0, 0, 1, 1, 2, 2, 3, 3, 5, 5, 4, 6, 7]))
    tag = varint(number << 3 | kind, draw(_WIDTHS))
    if kind == 0:
        return tag + varint(draw(st.sampled_from([0, 1, 2**32, 2**64 - 1, 2**64, 2**69])), draw(_WIDTHS) * 2)
    if kind == 1:
        return tag + bytes(draw(st.sampled_from([8, 8, 7])))
    if kind == 2:
        return tag + varint(draw(_SIZES), draw(_WIDTHS)) + b"abc"
    if kind == 3:
        inner = draw(st.lists(_odd_fields(depth=depth + 1), max_size=2)) if depth < 3 else []
        return tag + b"".join(inner) + varint((number + draw(st.sampled_from([0, 0, 0, 1]))) << 3 | 4)
    return tag + bytes(draw(st.sampled_from([4, 4, 3]))) if kind == 5 else tag


@st.composite
def _framings(draw: st.DrawFn, level: int = 0) -> bytes:
    """Requests, ResourceLogs, ScopeLogs (level 0, 1, 2) of any odd shape; most of them are sound."""
    parts = []
    for _ in range(draw(st.integers(0, 3))):
        if draw(st.integers(0, 9)) == 0:
            parts.append(draw(_odd_fields()))
            continue
        number = 1 if level == 0 else draw(st.integers(1, 3))
        is_message = level == 0 or (level == 1 and number == 2)
        content = draw(_framings(level + 1)) if is_message else draw(st.binary(max_size=4))
        parts.append(varint(number << 3 | 2, draw(_WIDTHS)) + varint(len(content), draw(_WIDTHS)) + content)
    return b"".join(parts)


@st.composite
def _mutated(draw: st.DrawFn, bodies: st.SearchStrategy[bytes]) -> bytes:
    body = bytearray(draw(bodies))
    for _ in range(draw(st.integers(0, 2))):
        if body:
            body[draw(st.integers(0, len(body) - 1))] = draw(st.integers(0, 255))
    return bytes(body[: draw(st.integers(0, len(body)))]) if draw(st.integers(0, 4)) == 0 else bytes(body)


def _groups(depth: int) -> bytes:
    return b"\x7b" * depth + b"\x7c" * depth


_BODIES = _framings() | _mutated(_framings()) | _mutated(requests(bad=False))


@given(_BODIES)
@settings(max_examples=80)
@example(_groups(100))
@example(_groups(101))
@example(length_delimited(1, _groups(99)))
@example(length_delimited(1, _groups(100)))
@example(length_delimited(1, length_delimited(2, _groups(98))))
@example(length_delimited(1, length_delimited(2, _groups(99))))
@example(b"\x7b" * 100_000)
@example(b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01")
@example(b"\x0a\xff\xff\xff\xff\x07")
@example(b"\x0a")
@example(b"\x0a\x80")
@example(b"\x80")
def test_the_scan_and_upb_agree(body: bytes) -> None:
    """The scan accepts exactly the framings that upb accepts, and sees the same records in them."""
    _compare(body)


@pytest.mark.slow
@given(_BODIES)
@settings(max_examples=1_000, suppress_health_check=list(HealthCheck))
def test_the_scan_and_upb_agree_at_length(body: bytes) -> None:
    """The same, for far more framings."""
    _compare(body)


def _compare(body: bytes) -> None:
    try:
        parsed = SKELETON.FromString(body)
    except DecodeError:
        with pytest.raises(MalformedRequestError):
            count_records(body, 1_000)
        return
    scopes = [scope for resource in parsed.resource_logs for scope in resource.scope_logs]
    found = list(split(body, 1_000))
    assert [list(scope.records(body)) for scope in found] == [list(scope.log_records) for scope in scopes]
    assert [scope.schema_url or b"" for scope in found] == [scope.schema_url for scope in scopes]
    assert count_records(body, 1_000) == sum(len(scope.log_records) for scope in scopes)


@given(requests())
@settings(max_examples=15)
def test_slices_make_up_the_request(body: bytes) -> None:
    """A request taken apart into requests of one record each holds the same."""
    apart = b"".join(one_record_request(scope, raw) for scope in split(body, 1_000) for raw in scope.records(body))
    assert canonical_request(apart) == canonical_request(body)


def test_a_split_resource_is_joined() -> None:
    """A Resource that stands twice is merged, wherever it stands, as protobuf merges messages."""
    resource = [length_delimited(1, b"\x10\x02"), length_delimited(1, b"\x10\x05")]
    body = length_delimited(1, resource[0] + length_delimited(2, length_delimited(2, b"")) + resource[1])
    (scope,) = split(body, 9)
    alone = one_record_request(scope, b"")
    for request in (body, alone):
        parsed = ExportLogsServiceRequest.FromString(request)
        assert parsed.resource_logs[0].resource.dropped_attributes_count == 5


@pytest.mark.parametrize(
    "body",
    [
        length_delimited(1, length_delimited(2, b"\x12\x00" * 6)),
        length_delimited(1, length_delimited(2, b"\x12\x00" * 3) * 2),
        length_delimited(1, length_delimited(2, b"\x12\x00" * 3)) * 2,
        length_delimited(1, b"\x12\x00" * 6),
        length_delimited(1, b"\x12\x00" * 3) * 2,
        b"\x0a\x00" * 6,
    ],
)
def test_every_kind_of_entry_is_bounded(body: bytes) -> None:
    """Records, scopes and Resources are each counted over the whole request."""
    assert count_records(body, 6) in (0, 6)
    with pytest.raises(RequestTooLargeError):
        count_records(body, 5)


def test_ten_million_empty_records_cost_no_memory() -> None:
    """20 MB that hold 10 million records are refused at the first one too many."""
    body = length_delimited(1, length_delimited(2, b"\x12\x00" * 10_000_000))
    tracemalloc.start()
    with pytest.raises(RequestTooLargeError):
        count_records(body, 10_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20
