"""What becomes of a request: columns, rejections, counts; and that nothing else can come of one."""

from __future__ import annotations

import hashlib
import json
import pickle
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from otel_audit.errors import MalformedRequestError, RequestTooLargeError
from otel_audit.otlp.columns import DECODED
from otel_audit.otlp.frame import length_delimited

from .wire import (
    ARRIVAL_NS,
    PEER,
    RECORD_ID,
    av,
    canonical_request,
    decode,
    kv,
    log_record,
    only_reason,
    only_row,
    request,
    requests,
)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _nested(levels: int) -> AnyValue:
    value = av("x")
    for _ in range(levels):
        value = av([value])
    return value


_DOUBLED = AnyValue(kvlist_value={"values": [kv("k"), kv("k")]})


# --- columns ---


def test_every_promoted_column() -> None:
    """Each wire name fills its column, and the record's own fields theirs."""
    sent = log_record(
        {
            "audit.actor.type": "service",
            "otel_audit.actor.name": "Ann",
            "otel_audit.on_behalf_of": "7",
            "otel_audit.owner.id": "8",
            "audit.target.type": "Task",
            "audit.target.id": "9",
            "otel_audit.target.name": "Write",
            "audit.outcome": "failure",
            "otel_audit.reason": "denied",
            "otel_audit.metadata": {"b": [1, 1.0, True, None], "a": {"x": ""}},
            "otel_audit.changes": {"title": ["a", "b"]},
            "otel_audit.tenant.id": "acme",
            "client.address": "10.0.0.1",
            "user_agent.original": "curl",
            "session.id": "s",
            "otel_audit.request.id": "r",
            "audit.schema.version": "1",
            "audit.sequence.stream_id": "st",
            "audit.sequence.number": 5,
        },
        time_unix_nano=1_700_000_000_123_456_789,
        observed_time_unix_nano=1_700_000_001_000_000_000,
        severity_number=9,
        severity_text="INFO",
        body=av("text"),
        flags=1,
        trace_id=bytes(range(16)),
        span_id=bytes(range(8)),
        event_name="task.create_task",
    )
    resource = Resource(
        attributes=[
            kv("service.name", "app"),
            kv("service.version", "1.2"),
            kv("service.instance.id", "i"),
            kv("deployment.environment.name", "prod"),
            kv("n", 5),
        ],
        dropped_attributes_count=1,
    )
    body = request(sent, resource=resource, scope=InstrumentationScope(name="lib", version="2"))
    table = decode(body).table
    assert table.schema.equals(DECODED)
    (row,) = table.to_pylist()
    digest = row.pop("digest")
    assert 0 <= digest < 2**64
    assert row == {
        "record_id": RECORD_ID,
        "occurred_at": _EPOCH + timedelta(microseconds=1_700_000_000_123_456),
        "time_unix_nano": 1_700_000_000_123_456_789,
        "observed_time_unix_nano": 1_700_000_001_000_000_000,
        "actor_type": "service",
        "actor_id": "42",
        "actor_name": "Ann",
        "on_behalf_of": "7",
        "owner_id": "8",
        "action": "create_task",
        "outcome": "failure",
        "reason": "denied",
        "entity_type": "Task",
        "entity_id": "9",
        "entity_name": "Write",
        "tenant_id": "acme",
        "metadata": '{"a":{"x":""},"b":[1,1.0,true,null]}',
        "changes": '{"title":["a","b"]}',
        "client_address": "10.0.0.1",
        "user_agent": "curl",
        "session_id": "s",
        "request_id": "r",
        "trace_id": bytes(range(16)).hex(),
        "span_id": bytes(range(8)).hex(),
        "trace_flags": 1,
        "event_name": "task.create_task",
        "service_name": "app",
        "service_version": "1.2",
        "service_instance_id": "i",
        "deployment_environment": "prod",
        "stream_id": "st",
        "stream_number": 5,
        "schema_version": "1",
        "severity_number": 9,
        "severity_text": "INFO",
        "body": '{"stringValue":"text"}',
        "attributes": None,
        "resource": '{"attributes":{"deployment.environment.name":{"stringValue":"prod"},"n":{"intValue":"5"},'
        '"service.instance.id":{"stringValue":"i"},"service.name":{"stringValue":"app"},'
        '"service.version":{"stringValue":"1.2"}},"droppedAttributesCount":1}',
        "scope": '{"attributes":{},"name":"lib","version":"2"}',
        "received_from": PEER,
        "id_key": bytes.fromhex(RECORD_ID.replace("-", "")),
    }


def test_what_was_not_sent_is_null() -> None:
    """A record with the required attributes alone leaves all other columns null, and its times 0."""
    row = only_row(log_record())
    given_columns = {"record_id", "actor_id", "action", "occurred_at", "received_from", "id_key", "digest"}
    assert {name for name, value in row.items() if value is not None} == given_columns | {
        "time_unix_nano",
        "observed_time_unix_nano",
    }
    assert (row["time_unix_nano"], row["observed_time_unix_nano"]) == (0, 0)


@pytest.mark.parametrize(
    ("time_ns", "observed_ns", "used_ns"),
    [
        (1_999, 5, 1_999),
        (0, 2_000_000, 2_000_000),
        (0, 0, ARRIVAL_NS),
        (2**63, 3_000, 3_000),
        (2**64 - 1, 2**63, ARRIVAL_NS),
        (2**63 - 1, 0, 2**63 - 1),
    ],
)
def test_when_it_happened(time_ns: int, observed_ns: int, used_ns: int) -> None:
    """The time sent, else the observed one, else arrival, rounded down to microseconds."""
    row = only_row(log_record(time_unix_nano=time_ns, observed_time_unix_nano=observed_ns))
    assert row["occurred_at"] == _EPOCH + timedelta(microseconds=used_ns // 1000)


@pytest.mark.parametrize(
    ("attribute", "column", "shown", "kept"),
    [
        (("audit.actor.id", 7), "actor_id", "7", '{"audit.actor.id":{"intValue":"7"}}'),
        (("audit.target.id", -(2**63)), "entity_id", str(-(2**63)), None),
        (("otel_audit.metadata", '{"b": 1e2, "a": null}'), "metadata", '{"a":null,"b":100.0}', None),
        (("otel_audit.metadata", {"a": b"\1\2"}), "metadata", '{"a":"AQI="}', None),
        (("otel_audit.metadata", {"a": [float("nan"), float("inf")]}), "metadata", '{"a":[null,null]}', None),
        (("otel_audit.metadata", {}), "metadata", "{}", ""),
        (("otel_audit.metadata", {"a": -0.0, "b": 1e16}), "metadata", '{"a":-0.0,"b":1e+16}', ""),
        (("otel_audit.metadata", {"\ue000": 1, "\U0001f600": 2}), "metadata", '{"\U0001f600":2,"\ue000":1}', ""),
        (("otel_audit.reason", ""), "reason", "", ""),
        (("otel_audit.reason", "a\0b"), "reason", "a\0b", ""),
        (("otel_audit.reason", None), "reason", None, '{"otel_audit.reason":{}}'),
        (("x", float("nan")), "reason", None, '{"x":{"doubleValue":"NaN"}}'),
        (
            ("x", [True, 1.5]),
            "reason",
            None,
            '{"x":{"arrayValue":{"values":[{"boolValue":true},{"doubleValue":1.5}]}}}',
        ),
        (
            ("x", {"k": b"\1", "j": None}),
            "reason",
            None,
            '{"x":{"kvlistValue":{"values":[{"key":"j","value":{}},{"key":"k","value":{"bytesValue":"AQ=="}}]}}}',
        ),
    ],
)
def test_values_and_what_is_left_of_them(attribute: Any, column: str, shown: Any, kept: str | None) -> None:
    """A column shows a value as well as it can; what it does not hold exactly is kept typed ('' here: nothing is)."""
    row = only_row(log_record(dict([attribute])))
    assert row[column] == shown
    if kept is None:
        assert attribute[0] in row["attributes"]
    else:
        assert row["attributes"] == (kept or None)


def test_an_alias_fills_the_column_and_the_main_name_wins() -> None:
    """`log.record.uid` is an id for a record without `audit.record.id`, and just an attribute beside it."""
    alone = only_row(log_record({"log.record.uid": "old"}, without="audit.record.id"))
    both = only_row(log_record({"log.record.uid": "old"}))
    assert (alone["record_id"], both["record_id"]) == ("old", RECORD_ID)
    assert '"log.record.uid"' in alone["attributes"]
    assert '"log.record.uid"' in both["attributes"]


def test_values_without_text_are_not_promoted_from_a_resource() -> None:
    """A service name that is no text stays in the resource column alone."""
    resource = Resource(attributes=[kv("service.name", 5), kv("service.version", "")])
    (row,) = decode(request(log_record(), resource=resource)).table.to_pylist()
    assert (row["service_name"], row["service_version"]) == (None, "")


# --- rejections ---


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (log_record(without="audit.record.id"), "audit.record.id missing"),
        (log_record(without="audit.actor.id"), "audit.actor.id missing"),
        (log_record(without="audit.action"), "audit.action missing"),
        (log_record({"audit.actor.id": ""}), "audit.actor.id missing or empty"),
        (log_record({"audit.action": None}), "audit.action missing or empty"),
        (log_record({"audit.record.id": "", "log.record.uid": "x"}), "audit.record.id missing or empty"),
        (log_record({"audit.record.id": "x" * 513}), "'audit.record.id' has 513 characters; 512 are allowed"),
        (log_record({"audit.actor.id": "x" * 513}), "'audit.actor.id' has 513 characters"),
        (log_record({"otel_audit.owner.id": "x" * 513}), "'otel_audit.owner.id' has 513 characters"),
        (log_record({"otel_audit.tenant.id": "x" * 513}), "'otel_audit.tenant.id' has 513 characters"),
        (log_record({"audit.target.type": "x" * 257}), "'audit.target.type' has 257 characters; 256 are allowed"),
        (log_record({"audit.action": "x" * 257}), "more than 256"),
        (log_record({"audit.action": 5}), "'audit.action' is of the kind intValue, not stringValue"),
        (log_record({"audit.actor.id": True}), "boolValue, not stringValue"),
        (log_record({"audit.actor.id": 1.0}), "doubleValue, not stringValue"),
        (log_record({"otel_audit.reason": ["x"]}), "arrayValue, not stringValue"),
        (log_record({"otel_audit.metadata": [1]}), "arrayValue, not kvlistValue"),
        (log_record({"otel_audit.metadata": 1}), "intValue, not kvlistValue"),
        (log_record({"otel_audit.metadata": "[1]"}), "no object"),
        (log_record({"otel_audit.metadata": ""}), "no JSON"),
        (log_record({"otel_audit.metadata": '{"a":1e400}'}), "beyond a double"),
        (log_record({"otel_audit.changes": '{"a":1,"a":2}'}), "twice"),
        (log_record({"audit.sequence.number": "1"}), "stringValue, not intValue"),
        (log_record({"audit.sequence.number": 1.0}), "doubleValue, not intValue"),
        (log_record({"otel_audit.raw.time_unix_nano": 1}), "reserved"),
        (log_record({}, kv("audit.action", "again")), "stands twice"),
        (log_record({"x": 1}, kv("x", 1)), "stands twice"),
        (log_record({"otel_audit.reason": None}, kv("otel_audit.reason", "x")), "stands twice"),
        (log_record({"otel_audit.reason": "x"}, kv("otel_audit.reason")), "stands twice"),
        (log_record({"audit.actor.id": 5}, kv("audit.actor.id", "5")), "stands twice"),
        (log_record({"otel_audit.metadata": {}}, kv("otel_audit.metadata", {})), "stands twice"),
        (log_record({"log.record.uid": "x"}, kv("log.record.uid", "x")), "stands twice"),
        (log_record({"x": _DOUBLED}), "'k' stands twice in one map"),
        (
            log_record({"otel_audit.metadata": _DOUBLED}),
            "'k' stands twice",
        ),
        (log_record({}, body=_DOUBLED), "'k' stands twice"),
        (log_record({}, KeyValue(key_strindex=1, value=av("x"))), "by reference"),
        (log_record({}, KeyValue(key="otel_audit.reason", key_strindex=1, value=av("x"))), "by reference"),
        (log_record({"x": AnyValue(kvlist_value={"values": [KeyValue(key_strindex=1)]})}), "by reference"),
        (log_record({"otel_audit.reason": AnyValue(string_value_strindex=1)}), "strindexValue, not stringValue"),
        (log_record({"otel_audit.metadata": {"a": AnyValue(string_value_strindex=1)}}), "by reference"),
        (log_record({"x": _nested(33)}), "more than 32 levels"),
        (log_record({}, body=_nested(33)), "more than 32 levels"),
        (log_record({"otel_audit.metadata": {"a": _nested(32)}}), "more than 32 levels"),
        (log_record({"otel_audit.metadata": '{"a":' + "[" * 32 + "]" * 32 + "}"}), "more than 32 levels"),
        (log_record({"x": "y" * (8 << 20)}), "8388608 are allowed"),
    ],
)
def test_rejected(record: LogRecord, reason: str) -> None:
    """What breaks a rule is rejected, with a reason that names it."""
    assert reason in only_reason(record)


def test_nesting_at_the_limit() -> None:
    """32 levels of lists and maps are accepted."""
    sent = log_record({"x": _nested(32), "otel_audit.metadata": {"a": _nested(31)}}, body=_nested(32))
    assert only_row(sent)["record_id"] == RECORD_ID


_INVALID_UTF8 = kv("otel_audit.reason", "@@@").SerializeToString().replace(b"@@@", b"\xff\xfe\xfd")


@pytest.mark.parametrize(
    "damage",
    [
        length_delimited(6, _INVALID_UTF8),
        b"\x32\x05\x0a\xff\xff\xff\xff",
        b"\x09\x00",
        length_delimited(5, b"\x2a\x02\x0a\x00" * 1_000)[:-1] + b"\xff",
        b"\x07",
    ],
)
def test_a_damaged_record_spares_its_neighbours(damage: bytes) -> None:
    """Of three records with bytes that cannot be parsed in the middle one, two are kept; the bad one as it came."""
    good = [log_record({"audit.record.id": at}).SerializeToString() for at in ("1", "2")]
    bad = log_record().SerializeToString() + damage
    scope_logs = b"".join(length_delimited(2, raw) for raw in (good[0], bad, good[1]))
    resource = length_delimited(1, Resource(attributes=[kv("service.name", "s")]).SerializeToString())
    decoded = decode(length_delimited(1, resource + length_delimited(2, scope_logs)))
    assert decoded.table.column("record_id").to_pylist() == ["1", "2"]
    (rejected,) = decoded.rejected
    assert any(why in rejected.reason for why in ("damaged", "UTF-8", "too deep"))
    assert rejected.request == length_delimited(1, resource + length_delimited(2, length_delimited(2, bad)))
    assert rejected.sha256 == hashlib.sha256(rejected.request).hexdigest()
    assert rejected.received_from == PEER


def _with_context(resource: bytes = b"", scope: bytes = b"", urls: tuple[bytes, bytes] = (b"", b"")) -> bytes:
    records = length_delimited(2, log_record().SerializeToString())
    records += length_delimited(2, LogRecord(body=av("line")).SerializeToString())
    scope_logs = length_delimited(1, scope) + records + length_delimited(3, urls[1])
    return length_delimited(
        1, length_delimited(1, resource) + length_delimited(2, scope_logs) + length_delimited(3, urls[0])
    )


@pytest.mark.parametrize(
    "body",
    [
        _with_context(resource=b"\xff"),
        _with_context(scope=length_delimited(1, b"\xff")),
        _with_context(resource=Resource(attributes=[kv("k"), kv("k")]).SerializeToString()),
        _with_context(scope=InstrumentationScope(attributes=[kv("k"), kv("k")]).SerializeToString()),
        _with_context(resource=Resource(attributes=[KeyValue(key_strindex=1)]).SerializeToString()),
        _with_context(resource=Resource(attributes=[kv("k", _nested(33))]).SerializeToString()),
        _with_context(resource=Resource(attributes=[kv("k", "x" * (8 << 20))]).SerializeToString()),
        _with_context(urls=(b"\xff", b"")),
        _with_context(urls=(b"", b"\xff")),
    ],
)
def test_a_bad_resource_or_scope_rejects_what_is_under_it(body: bytes) -> None:
    """Activities under a Resource, scope or schema URL that is not usable are rejected; those beside it are kept."""
    decoded = decode(body + request(log_record()))
    assert (decoded.table.num_rows, decoded.others, decoded.total) == (1, 1, 3)
    (rejected,) = decoded.rejected
    assert "Resource or scope" in rejected.reason


# --- what is no activity ---


@pytest.mark.parametrize(
    "record",
    [
        LogRecord(body=av("a line")),
        LogRecord(attributes=[kv("http.route", "/"), kv("log.record.uid", "1"), kv("otel_audit.reason", "x")]),
        LogRecord(attributes=[kv("x", "audit.record.id"), kv("x", 1)]),
        LogRecord(body=_nested(33)),
        LogRecord(attributes=[kv("otel_audit.raw.x", 1)]),
    ],
)
def test_other_records_are_only_counted(record: LogRecord) -> None:
    """A record without any attribute under `audit.` is neither kept nor rejected, whatever else is wrong with it."""
    decoded = decode(request(record, log_record()))
    assert (decoded.table.num_rows, decoded.rejected, decoded.others, decoded.total) == (1, (), 1, 2)


def test_an_empty_request() -> None:
    """No bytes are a request without records; its table has the schema all the same."""
    decoded = decode(b"")
    assert decoded.table.schema.equals(DECODED)
    assert (decoded.table.num_rows, decoded.rejected, decoded.others, decoded.total) == (0, (), 0, 0)


# --- bounds ---


@pytest.mark.parametrize("body", [b"hello", b"\x0a\x05ab", b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", b"\x00"])
def test_bytes_that_are_no_request(body: bytes) -> None:
    """Framing that cannot be parsed refuses the request as a whole."""
    with pytest.raises(MalformedRequestError):
        decode(body)


def test_too_many_records() -> None:
    """The bound on records is exact."""
    body = request(*[log_record()] * 4)
    assert decode(body, most=4).total == 4
    with pytest.raises(RequestTooLargeError):
        decode(body, most=3)


@pytest.mark.parametrize("key", ["k", "audit.record.id"])
def test_a_large_resource_over_many_records_is_refused(key: str) -> None:
    """7 MiB of Resource written out for each of 40 records would be 280 MiB; good and bad records alike."""
    resource = Resource(attributes=[kv("r", "x" * (7 << 20))])
    with pytest.raises(RequestTooLargeError):
        decode(request(*[LogRecord(attributes=[kv(key, 1)])] * 40, resource=resource))


@pytest.mark.parametrize("where", ["an unknown field of the Resource", "the schema URL"])
def test_what_rejected_records_take_with_them_is_counted_as_sent(where: str) -> None:
    """A held record keeps the bytes around it, also those that no column shows."""
    ballast = bytes(7 << 20)
    resource = length_delimited(15, ballast) if where.startswith("an") else b""
    schema_url = b"" if where.startswith("an") else length_delimited(3, b"x" * len(ballast))
    bad = length_delimited(2, LogRecord(attributes=[kv("audit.record.id", 1)]).SerializeToString()) * 40
    body = length_delimited(1, length_delimited(1, resource) + length_delimited(2, bad) + schema_url)
    with pytest.raises(RequestTooLargeError):
        decode(body)


def test_what_is_too_large_is_not_parsed() -> None:
    """9 MiB of empty attributes would take 230 MiB as objects; the process grows by what the bytes take."""
    code = (
        "import resource; from otlp.wire import *;"
        "big = log_record().SerializeToString() + b'\\x32\\x00' * (9 << 19);"
        "body = length_delimited(1, length_delimited(2, length_delimited(2, big)));"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss; found = decode(body);"
        "print(len(found.rejected), (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10)"
    )
    run = subprocess.run(
        [sys.executable, "-c", "from otel_audit.otlp.frame import length_delimited;" + code],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
    )
    rejected, grown = map(int, run.stdout.split())
    assert rejected == 1
    assert grown * (1 if sys.platform == "linux" else 1 / 1024) < 80


def test_empty_scopes_cost_nothing() -> None:
    """A Resource is not even parsed for scopes without records."""
    resource = length_delimited(1, b"\xff" * (1 << 20))
    body = length_delimited(1, resource + length_delimited(2, b"") * 20_000)
    assert decode(body, most=80_000).total == 0


def test_more_rows_than_one_batch() -> None:
    """Rows keep the order sent over batch borders."""
    ids = [str(at) for at in range(8_200)]
    table = decode(request(*[log_record({"audit.record.id": at}) for at in ids])).table
    assert table.column("record_id").to_pylist() == ids
    assert len(table.to_batches()) == 2
    alone = decode(request(log_record({"audit.record.id": "x"}))).table
    assert set(table.column("digest").to_pylist()) == set(alone.column("digest").to_pylist())


# --- any bytes ---


@st.composite
def _mutated(draw: st.DrawFn) -> bytes:
    body = bytearray(draw(requests(bad=True)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(body) - 1)))
        body[at : at + draw(st.integers(0, 2))] = draw(st.binary(max_size=3))
    return bytes(body)


@given(_mutated() | st.binary(max_size=60))
@settings(max_examples=30)
def test_any_bytes(body: bytes) -> None:
    """Whatever the bytes: our own error, or every record accounted for, and each rejected one a request of its own."""
    _check(body)


@pytest.mark.slow
@given(_mutated() | st.binary(max_size=200))
@settings(max_examples=200, suppress_health_check=list(HealthCheck))
def test_any_bytes_at_length(body: bytes) -> None:
    """The same, for far more bodies."""
    _check(body)


def _check(body: bytes) -> None:
    try:
        decoded = decode(body)
    except MalformedRequestError:
        return
    assert decoded.total == decoded.table.num_rows + len(decoded.rejected) + decoded.others
    for rejected in decoded.rejected:
        again = decode(rejected.request)
        assert [(found.sha256, found.reason) for found in again.rejected] == [(rejected.sha256, rejected.reason)]


def test_results_travel_between_processes() -> None:
    """What decoding gives can be pickled."""
    decoded = decode(request(log_record(), log_record(without="audit.action")))
    assert pickle.loads(pickle.dumps(decoded)) == decoded


def test_a_rejected_record_is_found_as_it_was() -> None:
    """The request kept of a rejected record holds its Resource, scope and schema URLs."""
    made = ExportLogsServiceRequest.FromString(request(log_record(without="audit.action"), log_record()))
    made.resource_logs[0].schema_url = "https://r"
    made.resource_logs[0].scope_logs[0].schema_url = "https://s"
    made.resource_logs[0].resource.attributes.append(kv("service.name", "x"))
    (rejected,) = decode(made.SerializeToString()).rejected
    del made.resource_logs[0].scope_logs[0].log_records[1]
    assert canonical_request(rejected.request) == canonical_request(made.SerializeToString())


@pytest.mark.parametrize("number", [0, -5, -(2**63)])
def test_a_number_below_1_is_no_place_in_a_stream(number: int) -> None:
    """The record is set aside, and says nothing of which numbers came."""
    sent = log_record({"audit.sequence.stream_id": "s", "audit.sequence.number": number})
    (rejected,) = decode(request(sent)).rejected
    assert rejected.reason == f"the attribute 'audit.sequence.number' is {number}; a stream's numbers begin at 1"
    assert (rejected.stream_id, rejected.stream_number) == (None, None)


def test_an_empty_name_is_none_and_stays_as_it_was_sent() -> None:
    """Nobody could ask for it; a text that names nothing may be empty."""
    names = ["otel_audit.owner.id", "otel_audit.tenant.id", "audit.target.id", "audit.target.type", "session.id"]
    row = only_row(log_record({**dict.fromkeys(names, ""), "otel_audit.reason": ""}))
    assert {row[name] for name in ("owner_id", "tenant_id", "entity_id", "entity_type", "session_id")} == {None}
    assert row["reason"] == ""
    kept = json.loads(row["attributes"])
    assert {key: kept[key] for key in names} == {key: {"stringValue": ""} for key in names}


def test_why_a_record_cannot_be_parsed_is_told_apart() -> None:
    deep = b""
    for _ in range(300):
        deep = length_delimited(5, length_delimited(1, deep))
    whole = log_record().SerializeToString()
    for bad, reason in (
        (whole + length_delimited(3, b"\xff\xfe"), "not UTF-8"),
        (whole + length_delimited(5, deep), "nested too deep"),
        (whole + b"\x32\x7f", "damaged"),
    ):
        body = length_delimited(1, length_delimited(2, length_delimited(2, bad)))
        (rejected,) = decode(body).rejected
        assert reason in rejected.reason
