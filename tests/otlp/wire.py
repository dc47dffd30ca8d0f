"""OTLP messages for tests: hypothesis strategies, an independent canonical form, and short ways to build one."""

from __future__ import annotations

import struct
from collections import Counter
from typing import Any

from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from otel_audit.otlp.decode import Decoded, decode_logs
from otel_audit.otlp.names import WIRE

ARRIVAL_NS = 1_793_836_800_123_456_789
PEER = "127.0.0.1"
RECORD_ID = "01a1a901-735b-7a52-b720-834ec4538541"


def decode(body: bytes, most: int = 100_000) -> Decoded:
    return decode_logs(body, received_from=PEER, arrival_ns=ARRIVAL_NS, max_records=most)


def av(value: Any = None) -> AnyValue:
    """An AnyValue of a Python value; None has no kind, an AnyValue is itself."""
    if isinstance(value, AnyValue):
        return value
    made = AnyValue()
    if isinstance(value, bool):
        made.bool_value = value
    elif isinstance(value, str):
        made.string_value = value
    elif isinstance(value, int):
        made.int_value = value
    elif isinstance(value, float):
        made.double_value = value
    elif isinstance(value, bytes):
        made.bytes_value = value
    elif isinstance(value, list):
        made.array_value.SetInParent()
        made.array_value.values.extend(av(item) for item in value)
    elif isinstance(value, dict):
        made.kvlist_value.SetInParent()
        made.kvlist_value.values.extend(kv(key, item) for key, item in value.items())
    return made


def kv(key: str, value: Any = None) -> KeyValue:
    return KeyValue(key=key, value=av(value))


VALID = {"audit.record.id": RECORD_ID, "audit.actor.id": "42", "audit.action": "create_task"}


def log_record(
    attributes: dict[str, Any] | None = None, *more: KeyValue, without: str = "", **fields: Any
) -> LogRecord:
    """A valid record with other attributes put over its own, and further ones after them."""
    all_attributes = {key: value for key, value in (VALID | (attributes or {})).items() if key != without}
    return LogRecord(attributes=[*(kv(key, value) for key, value in all_attributes.items()), *more], **fields)


def request(*records: LogRecord, resource: Resource | None = None, scope: InstrumentationScope | None = None) -> bytes:
    made = ExportLogsServiceRequest()
    scope_logs = made.resource_logs.add(resource=resource).scope_logs.add(scope=scope)
    scope_logs.log_records.extend(records)
    return made.SerializeToString()


def only_row(record: LogRecord) -> dict[str, Any]:
    """The row of a record that must be accepted."""
    decoded = decode(request(record))
    assert decoded.rejected == (), decoded.rejected[0].reason
    (row,) = decoded.table.to_pylist()
    return row


def only_reason(record: LogRecord) -> str:
    """Why a record is rejected, which it must be."""
    decoded = decode(request(record))
    (rejected,) = decoded.rejected
    assert (decoded.table.num_rows, decoded.others, decoded.total) == (0, 0, 1)
    return rejected.reason


# --- canonical form, made from the protobuf classes alone ---


def canonical_value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind is None:
        return None
    content = getattr(value, kind)
    if kind == "double_value":
        return kind, "NaN" if content != content else struct.pack("<d", content)
    if kind == "array_value":
        return kind, tuple(canonical_value(item) for item in content.values)
    if kind == "kvlist_value":
        return kind, canonical_attributes(content.values)
    return kind, content


def canonical_attributes(attributes: Any) -> Any:
    return frozenset(
        Counter((a.key, a.key_strindex, a.HasField("value"), canonical_value(a.value)) for a in attributes).items()
    )


def canonical_record(record: LogRecord) -> Any:
    plain = LogRecord()
    plain.CopyFrom(record)
    plain.ClearField("attributes")
    plain.ClearField("body")
    body = (record.HasField("body"), canonical_value(record.body))
    return plain.SerializeToString(deterministic=True), body, canonical_attributes(record.attributes)


def canonical_request(body: bytes) -> Counter[Any]:
    """Each record with its Resource and scope, as a multiset."""
    found: Counter[Any] = Counter()
    for resource_logs in ExportLogsServiceRequest.FromString(body).resource_logs:
        resource = resource_logs.resource
        entities = tuple(entity.SerializeToString(deterministic=True) for entity in resource.entity_refs)
        around = (
            resource_logs.HasField("resource"),
            canonical_attributes(resource.attributes),
            resource.dropped_attributes_count,
            entities,
            resource_logs.schema_url,
        )
        for scope_logs in resource_logs.scope_logs:
            scope = scope_logs.scope
            within = (
                scope_logs.HasField("scope"),
                (scope.name, scope.version, scope.dropped_attributes_count),
                canonical_attributes(scope.attributes),
                scope_logs.schema_url,
            )
            found.update((around, within, canonical_record(record)) for record in scope_logs.log_records)
    return found


# --- strategies ---

TEXTS = st.text(max_size=12) | st.sampled_from(["", "\0", "a\0b", "é", "\U0001f600", "\uffff", "\x01", '"\\'])
_SCALARS = (
    st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats()
    | TEXTS
    | st.binary(max_size=5)
    | st.none()
    | st.sampled_from([0, -1, 2**53 + 1, -0.0, 1e16, 5e-324, 1.0])
)


_KEYS = TEXTS | st.sampled_from(["audit.x", "x", "service.name", "service.version", "deployment.environment.name"])


def _entries(values: st.SearchStrategy[AnyValue]) -> st.SearchStrategy[list[KeyValue]]:
    """KeyValues with different keys, some without a value."""
    made = st.builds(KeyValue, key=_KEYS, value=values | st.none())
    return st.lists(made, max_size=4, unique_by=lambda entry: entry.key)


def _bad_entries(values: st.SearchStrategy[AnyValue]) -> st.SearchStrategy[list[KeyValue]]:
    """KeyValues with a doubled key, or a key by reference."""
    doubled = st.builds(lambda key, value: [KeyValue(key=key, value=value)] * 2, _KEYS, values)
    return doubled | st.builds(lambda at: [KeyValue(key_strindex=at)], st.integers(1, 3))


def _map_of(found: list[KeyValue]) -> AnyValue:
    return AnyValue(kvlist_value={"values": found})


_LEAVES = _SCALARS.map(av) | st.integers(0, 9).map(lambda at: AnyValue(string_value_strindex=at))
ANY_VALUES = st.recursive(
    _LEAVES, lambda inner: st.lists(inner, max_size=3).map(av) | _entries(inner).map(_map_of), max_leaves=8
)
_U64 = st.integers(0, 2**64 - 1) | st.sampled_from([0, 1, 999, 2**63 - 1, 2**63, 2**64 - 1])
_IDS = st.sampled_from([RECORD_ID, RECORD_ID.upper(), "x", "7"]) | st.uuids().map(str) | TEXTS | st.integers(-9, 9)
_MAPS = _entries(
    st.recursive(
        _SCALARS.map(av), lambda inner: st.lists(inner, max_size=3).map(av) | _entries(inner).map(_map_of), max_leaves=6
    )
).map(_map_of)
_JSON_TEXTS = st.sampled_from(['{"b":1,"a":[1.0,null,"x"]}', "{}", ' {"a" : 1E2, "b": "\\u00e9" }']).map(av)
_BY_KIND = {
    "id": _IDS.map(av),
    "text": TEXTS.map(av),
    "json": _MAPS | _JSON_TEXTS,
    "int": st.integers(1, 2**63 - 1).map(av),
}
_REQUIRED = (st.sampled_from([RECORD_ID, RECORD_ID.upper(), "1", "é", "\0"]) | st.uuids().map(str)).map(av)
_BAD = {
    "id": ANY_VALUES,
    "text": ANY_VALUES,
    "json": st.sampled_from(['{"a":1e400}', '{"a":1,"a":2}', "[]", "{", "5", ""]).map(av) | ANY_VALUES,
    "int": ANY_VALUES,
}


@st.composite
def log_records(draw: st.DrawFn, *, bad: bool) -> LogRecord:
    """An activity with anything a LogRecord may hold; with `bad`, it also breaks rules here and there."""
    attributes: list[KeyValue] = []
    for wire in WIRE:
        if not wire.required and draw(st.booleans()):
            continue
        values = _REQUIRED if wire.required else _BY_KIND[wire.kind] | st.none()
        if bad and draw(st.integers(0, 15)) == 0:
            values = _BAD[wire.kind]
        key, *others = draw(st.permutations([wire.key, *wire.aliases]))
        attributes.append(KeyValue(key=key, value=draw(values)))
        if others and draw(st.booleans()):
            attributes.append(KeyValue(key=others[0], value=draw(values if others[0] == wire.key else ANY_VALUES)))
    known = {attribute.key for attribute in attributes}
    more = draw(_bad_entries(ANY_VALUES) if bad and draw(st.integers(0, 4)) == 0 else _entries(ANY_VALUES))
    attributes += [entry for entry in more if entry.key not in known]
    if bad and draw(st.integers(0, 9)) == 0:
        attributes.append(draw(st.sampled_from([kv("otel_audit.raw.x", 1), attributes[0]])))
    return LogRecord(
        time_unix_nano=draw(_U64),
        observed_time_unix_nano=draw(_U64),
        severity_number=draw(st.sampled_from([0, 0, 1, 9, 24, 99, -1])),
        severity_text=draw(TEXTS),
        body=draw(st.none() | ANY_VALUES),
        attributes=draw(st.permutations(attributes)),
        dropped_attributes_count=draw(st.sampled_from([0, 0, 1, 2**32 - 1])),
        flags=draw(st.sampled_from([0, 1, 2**32 - 1])),
        trace_id=draw(st.sampled_from([b"", bytes(16), b"\1", b"\xff" * 17]) | st.binary(min_size=16, max_size=16)),
        span_id=draw(st.sampled_from([b"", bytes(8), b"\1", b"\xff" * 9]) | st.binary(min_size=8, max_size=8)),
        event_name=draw(TEXTS),
    )


def _other_records() -> st.SearchStrategy[LogRecord]:
    """Log lines of an application, which are no activities."""
    keys = st.sampled_from(["http.route", "otel_audit.reason", "log.record.uid", "audit", "otel_audit.raw.x"])
    attributes = st.lists(st.builds(KeyValue, key=keys, value=_LEAVES), max_size=3)
    return st.builds(LogRecord, body=ANY_VALUES, attributes=attributes)


@st.composite
def requests(draw: st.DrawFn, *, bad: bool = True) -> bytes:
    """Serialized requests; without `bad`, every record in them is a valid activity."""
    made = ExportLogsServiceRequest()
    records = log_records(bad=bad) | _other_records() if bad else log_records(bad=False)
    for _ in range(draw(st.integers(1, 2))):
        resource_logs = made.resource_logs.add(schema_url=draw(TEXTS))
        if draw(st.booleans()):
            resource_logs.resource.MergeFrom(draw(_resources(bad)))
        for _ in range(draw(st.integers(1, 2))):
            scope_logs = resource_logs.scope_logs.add(schema_url=draw(TEXTS))
            if draw(st.booleans()):
                scope_logs.scope.MergeFrom(draw(_scopes(bad)))
            scope_logs.log_records.extend(draw(st.lists(records, max_size=3)))
    return made.SerializeToString()


def _context_entries(bad: bool) -> st.SearchStrategy[list[KeyValue]]:
    good = _entries(ANY_VALUES)
    return st.one_of(good, good, good, _bad_entries(ANY_VALUES)) if bad else good


def _resources(bad: bool) -> st.SearchStrategy[Resource]:
    texts = st.lists(TEXTS, max_size=2)
    entity = st.fixed_dictionaries(
        {"schema_url": TEXTS, "type": TEXTS, "id_keys": texts, "description_keys": texts},
    )
    return st.builds(
        Resource,
        attributes=_context_entries(bad),
        dropped_attributes_count=st.integers(0, 2),
        entity_refs=st.lists(entity, max_size=2),
    )


def _scopes(bad: bool) -> st.SearchStrategy[InstrumentationScope]:
    return st.builds(
        InstrumentationScope,
        name=TEXTS,
        version=TEXTS,
        attributes=_context_entries(bad),
        dropped_attributes_count=st.integers(0, 2),
    )
