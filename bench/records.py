"""The benchmark record of `record.json`, in any number: as ActivityRecords, and as ready OTLP requests.

One seed gives the same records in both forms, in the same order. Requests are put together from attributes that were
encoded once (an action, an owner, a metadata map), because a benchmark must not wait for its input. The order of the
attributes is one of a few, drawn for each record.
"""

from __future__ import annotations

import json
from binascii import hexlify
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from operator import itemgetter
from pathlib import Path
from random import Random
from struct import Struct
from typing import Any, NamedTuple
from uuid import UUID

from opentelemetry.proto.common.v1.common_pb2 import KeyValue

from otel_audit import ActivityRecord, EntityRef
from otel_audit.otlp.encode import encode_resource, frame_request
from otel_audit.otlp.frame import length_delimited
from otel_audit.otlp.names import SCHEMA_VERSION, SEVERITY_INFO, WIRE
from otel_audit.otlp.values import any_value

SPEC: dict[str, Any] = json.loads((Path(__file__).parent / "record.json").read_text(encoding="utf-8"))
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_KEYS = {wire.column: wire.key for wire in WIRE}
_times = Struct("<BQBQ").pack
_uuid_parts = Struct("8s4s4s4s12s").unpack
_V4_MASK, _V4 = 0xF << 76 | 3 << 62, 4 << 76 | 2 << 62
_EMITTED_AFTER_US = 40
_ANY_UUID = "00000000-0000-4000-8000-000000000000"


class _Draw(NamedTuple):
    """Everything that is random about one record."""

    us: int
    record_id: int
    entity: int
    owner: int
    actor: int
    kind: int
    metadata: int
    trace: bytes
    order: int


class _Kind(NamedTuple):
    """Fields that go together, as an ActivityRecord takes them, and encoded."""

    entity_type: str
    type_place: int
    fields: dict[str, str]
    attributes: tuple[bytes, ...]
    other_fields: bytes


class BenchRecords:
    """An endless supply of benchmark records.

    Args:
        seed: another one gives other records over the same entities, owners and actors; two of one seed give the same.
        start_us: about `occurred_at` of the first, in us since 1970; each is a little later than the one before it.
    """

    def __init__(self, seed: int = SPEC["seed"], start_us: int = SPEC["start_us"]) -> None:
        self._random = Random(seed)
        self._us = float(start_us)
        population = Random(SPEC["seed"])
        self._entities = population.randbytes(16 * SPEC["entities"])
        self._owners = population.randbytes(16 * SPEC["owners"])
        self._actors = population.randbytes(16 * SPEC["actors"])
        self._owner_weights = list(accumulate(rank ** -SPEC["zipf_exponent"] for rank in range(1, SPEC["owners"] + 1)))
        self._actor_weights = list(accumulate(rank ** -SPEC["zipf_exponent"] for rank in range(1, SPEC["actors"] + 1)))
        self._kinds = [_kind(population) for _ in range(SPEC["kinds"])]
        self._metadata = [_metadata(population) for _ in range(SPEC["metadata"]["maps"])]
        self._encoded_metadata = [_attribute("metadata", metadata) for metadata in self._metadata]
        self._heads = {name: _uuid_head(name) for name in ("record_id", "entity_id", "owner_id", "actor_id")}
        size = 5 + len(self._kinds[0].attributes)
        self._orders = [itemgetter(*population.sample(range(size), size)) for _ in range(SPEC["key_orders"])]
        self._resources = [encode_resource(service) for service in SPEC["services"]]

    def records(self, count: int) -> list[ActivityRecord]:
        """The next `count`, as the application makes them."""
        return [self._record(draw) for draw in self._draws(count)]

    def request(self, count: int, service: int = 0) -> bytes:
        """The next `count` as a serialized ExportLogsServiceRequest of one of the two services."""
        return frame_request(self._resources[service], [self._encoded(draw) for draw in self._draws(count)])

    def requests(self, count: int, per_request: int = 1_000) -> Iterator[bytes]:
        """The next `count` in requests of `per_request`, the services taking turns."""
        for at, first in enumerate(range(0, count, per_request)):
            yield self.request(min(per_request, count - first), at % len(self._resources))

    def entity_id(self, index: int) -> UUID:
        """The id of one of the entities."""
        return UUID(int=_uuid4(self._entities, index))

    def _draws(self, count: int) -> Iterator[_Draw]:
        random, bits = self._random, self._random.getrandbits
        owners = random.choices(range(SPEC["owners"]), cum_weights=self._owner_weights, k=count)
        actors = random.choices(range(SPEC["actors"]), cum_weights=self._actor_weights, k=count)
        entities, types = SPEC["entities"], len(SPEC["entity_types"])
        kinds, metadata, orders = len(self._kinds), len(self._metadata), len(self._orders)
        for owner, actor in zip(owners, actors, strict=True):
            self._us += random.expovariate(1 / SPEC["mean_gap_us"])
            us, tail, picked = int(self._us), bits(74), bits(128)
            kind = (picked >> 40 & 0xFFFFFF) % kinds
            yield _Draw(
                us=us,
                record_id=(us // 1000) << 80 | 7 << 76 | (tail >> 62) << 64 | 2 << 62 | tail & (1 << 62) - 1,
                # A thing has one type: its number, modulo the number of types, is the place of its type.
                entity=(picked & (1 << 40) - 1) % (entities // types) * types + self._kinds[kind].type_place,
                owner=owner,
                actor=actor,
                kind=kind,
                metadata=(picked >> 64 & 0xFFFFFF) % metadata,
                trace=random.randbytes(24),
                order=(picked >> 96) % orders,
            )

    def _record(self, draw: _Draw) -> ActivityRecord:
        kind = self._kinds[draw.kind]
        return ActivityRecord(
            record_id=UUID(int=draw.record_id),
            occurred_at=_EPOCH + timedelta(microseconds=draw.us),
            actor_id=UUID(int=_uuid4(self._actors, draw.actor)),
            owner_id=UUID(int=_uuid4(self._owners, draw.owner)),
            entity_ref=EntityRef(kind.entity_type, self.entity_id(draw.entity)),
            metadata=self._metadata[draw.metadata],
            trace_id=draw.trace[:16].hex(),
            span_id=draw.trace[16:].hex(),
            **kind.fields,  # type: ignore[arg-type]
        )

    def _encoded(self, draw: _Draw) -> bytes:
        kind, heads = self._kinds[draw.kind], self._heads
        attributes = (
            heads["record_id"] + _text(draw.record_id),
            heads["entity_id"] + _text(_uuid4(self._entities, draw.entity)),
            heads["owner_id"] + _text(_uuid4(self._owners, draw.owner)),
            heads["actor_id"] + _text(_uuid4(self._actors, draw.actor)),
            self._encoded_metadata[draw.metadata],
            *kind.attributes,
        )
        times = _times(0x09, draw.us * 1_000, 0x59, (draw.us + _EMITTED_AFTER_US) * 1_000)
        trace = b"\x4a\x10%b\x52\x08%b" % (draw.trace[:16], draw.trace[16:])
        return b"".join((times, kind.other_fields, *self._orders[draw.order](attributes), trace))


def _uuid4(random_bytes: bytes, index: int) -> int:
    return int.from_bytes(random_bytes[16 * index : 16 * index + 16], "big") & ~_V4_MASK | _V4


def _text(uuid: int) -> bytes:
    """`str(UUID(int=uuid))`, in a fifth of the time."""
    return b"-".join(_uuid_parts(hexlify(uuid.to_bytes(16, "big"))))


def _attribute(column: str, value: Any) -> bytes:
    return length_delimited(6, KeyValue(key=_KEYS[column], value=any_value(value)).SerializeToString())


def _uuid_head(column: str) -> bytes:
    return _attribute(column, _ANY_UUID).removesuffix(_ANY_UUID.encode())


def _kind(random: Random) -> _Kind:
    entity_type = random.choice(SPEC["entity_types"])
    fields = {
        "action": f"{entity_type.lower()}.{random.choice(SPEC['actions'])}",
        "actor_type": random.choices(list(SPEC["actor_types"]), list(SPEC["actor_types"].values()))[0],
        "outcome": random.choices(list(SPEC["outcomes"]), list(SPEC["outcomes"].values()))[0],
        "tenant_id": f"tenant-{random.randrange(SPEC['tenants']):02}",
        "client_address": f"10.20.{random.randrange(4)}.{random.randrange(SPEC['client_addresses'] // 4)}",
        "user_agent": random.choice(SPEC["user_agents"]),
        "reason": random.choice(SPEC["reasons"]),
    }
    attributes = [_attribute(column, text) for column, text in fields.items()]
    attributes += [_attribute("entity_type", entity_type), _attribute("schema_version", SCHEMA_VERSION)]
    event_name = f"{entity_type}.{fields['action']}".lower().encode()
    other_fields = bytes((0x10, SEVERITY_INFO)) + length_delimited(12, event_name)
    place = SPEC["entity_types"].index(entity_type)
    return _Kind(entity_type, place, fields, tuple(attributes), other_fields)


def _metadata(random: Random) -> dict[str, Any]:
    return {
        "title": " ".join(random.choices(SPEC["metadata"]["words"], k=4)),
        "priority": random.randrange(1, 1 + SPEC["metadata"]["priorities"]),
        "source": random.choice(SPEC["metadata"]["sources"]),
    }
