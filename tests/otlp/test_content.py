"""Keys and digests: what counts as the same record, and that the archive's columns alone tell."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pyarrow as pa
import pytest
from hypothesis import given, settings
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from otel_audit.archive.columns import ACTIVITY
from otel_audit.otlp.content import keys_and_digests

from .wire import RECORD_ID, av, decode, kv, log_record, only_row, request, requests


@given(requests(bad=False))
@settings(max_examples=20)
def test_archive_columns_give_the_same_answer(body: bytes) -> None:
    """Recomputed from archive columns, one row at a time or very many at once, keys and digests are the same."""
    decoded = decode(body).table
    expected = (decoded.column("id_key").to_pylist(), decoded.column("digest").to_pylist())
    archived = decoded.select([name for name in ACTIVITY.names if name not in ("log_index", "recorded_at")])
    assert keys_and_digests(archived) == expected
    if archived.num_rows:
        repeats = 1 + 100 // archived.num_rows
        many = pa.concat_tables([archived] * repeats).combine_chunks()
        assert keys_and_digests(many) == (expected[0] * repeats, expected[1] * repeats)


def _digest(attributes: dict[str, Any] | None = None, **fields: Any) -> int:
    return int(only_row(log_record(attributes, **fields))["digest"])


_ORIGINAL = {"otel_audit.reason": "x", "otel_audit.metadata": {"a": 1, "b": b"\1"}}


@pytest.mark.parametrize(
    "other",
    [
        {"otel_audit.reason": "y"},
        {"otel_audit.reason": ""},
        {"otel_audit.reason": None},
        {"otel_audit.reason": "x\0"},
        {"audit.actor.id": "43"},
        {"audit.outcome": "success"},
        {"otel_audit.metadata": {"a": 1.0, "b": b"\1"}},
        {"otel_audit.metadata": {"a": 1, "b": b"\2"}},
        {"otel_audit.metadata": {"a": 1, "b": "AQ=="}},
        {"otel_audit.metadata": {}},
        {"otel_audit.changes": {}},
    ],
)
def test_other_content_is_another_digest(other: dict[str, Any]) -> None:
    """Any difference in a domain field shows, also between an empty value and none, and where JSON looks the same."""
    assert _digest(_ORIGINAL | other) != _digest(_ORIGINAL)


@pytest.mark.parametrize("time_ns", [0, 1, 2**63 - 1, 2**63, 2**64 - 1])
def test_the_time_as_sent_counts(time_ns: int) -> None:
    """A missing time and one beyond 64 signed bits are content too."""
    others = [ns for ns in (0, 1, 2**63 - 1, 2**63, 2**64 - 1) if ns != time_ns]
    assert _digest(time_unix_nano=time_ns) not in {_digest(time_unix_nano=ns) for ns in others}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (
            {"otel_audit.reason": "a", "otel_audit.target.name": "b"},
            {"otel_audit.reason": "b", "otel_audit.target.name": "a"},
        ),
        (
            {"otel_audit.reason": "a\0", "otel_audit.tenant.id": "b"},
            {"otel_audit.reason": "a", "otel_audit.tenant.id": "\0b"},
        ),
        ({"otel_audit.reason": "\0"}, {"otel_audit.reason": ""}),
        (
            {"otel_audit.actor.name": "a", "otel_audit.target.name": ""},
            {"otel_audit.actor.name": "", "otel_audit.target.name": "a"},
        ),
        (
            {"otel_audit.actor.name": "a\0b", "otel_audit.target.name": "c"},
            {"otel_audit.actor.name": "a", "otel_audit.target.name": "b\0c"},
        ),
        ({"otel_audit.actor.name": ""}, {"otel_audit.target.name": ""}),
    ],
)
def test_fields_do_not_run_into_each_other(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Text moved from one field to the next is other content."""
    assert _digest(one) != _digest(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"audit.actor.id": 42}, {"audit.actor.id": "42"}),
        ({"otel_audit.metadata": '{"b": 1.50, "a": "é"}'}, {"otel_audit.metadata": {"a": "é", "b": 1.5}}),
        ({"otel_audit.metadata": {"a": 1, "b": b"x"}}, {"otel_audit.metadata": {"b": b"x", "a": 1}}),
        (
            {"otel_audit.metadata": AnyValue(kvlist_value={"values": [KeyValue(key="a"), kv("b", b"x")]})},
            {"otel_audit.metadata": {"a": None, "b": b"x"}},
        ),
        (
            {"otel_audit.metadata": AnyValue(kvlist_value={"values": [KeyValue(key="a")]})},
            {"otel_audit.metadata": {"a": None}},
        ),
        ({"x": 1}, {}),
        ({"audit.sequence.stream_id": "s", "audit.sequence.number": 1}, {}),
        ({"audit.schema.version": "1"}, {}),
        ({"client.address": "10.0.0.1", "user_agent.original": "x", "session.id": "s"}, {}),
        ({"otel_audit.owner.id": ""}, {}),
        ({"audit.record.id": "1"}, {"audit.record.id": "2"}),
        ({"otel_audit.owner.id": RECORD_ID.upper()}, {"otel_audit.owner.id": RECORD_ID}),
        ({"audit.target.id": RECORD_ID.upper(), "x": 1}, {"audit.target.id": RECORD_ID}),
    ],
)
def test_spelling_does_not_count(one: dict[str, Any], other: dict[str, Any]) -> None:
    """The same content, sent in another way or with other things beside it, has the same digest."""
    assert _digest(one) == _digest(other)


def test_what_surrounds_the_content_does_not_count() -> None:
    """Observed time, severity, trace, body, dropped count, Resource and scope may differ between two deliveries."""
    fields = {"severity_number": 9, "trace_id": b"\1" * 16, "flags": 1, "body": av("x"), "event_name": "e"}
    assert _digest(**fields, observed_time_unix_nano=5, dropped_attributes_count=2) == _digest()
    resource, scope = Resource(attributes=[kv("service.name", "s")]), InstrumentationScope(name="n")
    (row,) = decode(request(log_record(), resource=resource, scope=scope)).table.to_pylist()
    assert row["digest"] == _digest()


def test_digests_never_change() -> None:
    """The index of known ids outlives a release, so other values need another `KEYS_VERSION`."""
    plain = only_row(log_record(time_unix_nano=1_700_000_000_000_000_000))
    odd = only_row(log_record({"audit.record.id": "id", **_ORIGINAL, "otel_audit.target.name": "a\0b"}))
    assert (plain["id_key"].hex(), plain["digest"]) == ("01a1a901735b7a52b720834ec4538541", 14_099_233_131_613_297_690)
    assert (odd["id_key"].hex(), odd["digest"]) == ("3dfbc3bcaf000da7061047a83d5789a3", 5_332_096_806_131_075_300)


_NO_UUIDS = [
    "{01a1a901-735b-7a52-b720-834ec4538541}",
    "01a1a901735b7a52b720834ec4538541",
    "01a1a901-735b-7a52-b720-834ec4538541\n",
]


@pytest.mark.parametrize("text", _NO_UUIDS)
def test_only_hyphenated_text_is_a_uuid(text: str) -> None:
    """Another form of a UUID is another id."""
    key = only_row(log_record({"audit.record.id": text}))["id_key"]
    assert key.hex() != "01a1a901735b7a52b720834ec4538541"


@pytest.mark.parametrize("rows", [1, 200])
def test_upper_case_is_the_same_uuid(rows: int) -> None:
    """The key of an id does not depend on the case of its digits, be it alone or one of many."""
    table = decode(request(*[log_record({"audit.record.id": RECORD_ID.upper()})] * rows)).table
    assert {key.hex() for key in table.column("id_key").to_pylist()} == {RECORD_ID.replace("-", "")}


def test_ids_in_one_batch_do_not_influence_each_other() -> None:
    """One id that is no UUID among many that are: each has the key it has alone."""
    ids = [str(UUID(int=at << 64 | at)) for at in range(150)]
    ids[70] = _NO_UUIDS[2]
    table = decode(request(*[log_record({"audit.record.id": text}) for text in ids])).table
    alone = [only_row(log_record({"audit.record.id": text}))["id_key"] for text in ids]
    assert table.column("id_key").to_pylist() == alone
