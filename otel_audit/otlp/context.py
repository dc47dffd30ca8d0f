"""What all records under one Resource and scope share, as the archive's columns hold it, and back.

Both columns are JSON objects that give the message back exactly. `attributes` is there when the message is, even when
it has none; so `{"schemaUrl":"…"}` is a schema URL without a Resource. A null column is neither.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from google.protobuf.message import DecodeError, Message
from opentelemetry.proto.common.v1.common_pb2 import EntityRef, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from otel_audit.errors import ArchiveFaultError
from otel_audit.model.json_values import format_json
from otel_audit.otlp.parsing import parse_again
from otel_audit.otlp.values import UnacceptableError, format_object, format_typed, parse_typed, quote

__all__ = ["parse_resource", "parse_scope", "read_resource", "read_scope"]

_M = TypeVar("_M", bound=Message)
_PROMOTED = {
    "service.name": "service_name",
    "service.version": "service_version",
    "service.instance.id": "service_instance_id",
    "deployment.environment.name": "deployment_environment",
}


def read_resource(raw: bytes | None, schema_url: bytes | None) -> dict[str, str | None]:
    """The column `resource` and those promoted from the Resource; what is missing is null.

    Raises:
        UnacceptableError: it is no protobuf, or breaks a rule of `_attributes`.
    """
    columns: dict[str, str | None] = {}
    members: dict[str, str] = {}
    with _in_context():
        if raw is not None:
            resource = _parse(Resource, raw)
            members = _resource_members(resource)
            for attribute in resource.attributes:
                if attribute.key in _PROMOTED and attribute.value.HasField("string_value"):
                    columns[_PROMOTED[attribute.key]] = attribute.value.string_value
        columns["resource"] = _column(members, schema_url)
    return columns


def read_scope(raw: bytes | None, schema_url: bytes | None) -> dict[str, str | None]:
    """The column `scope`. Raises UnacceptableError, as `read_resource`."""
    with _in_context():
        members = {} if raw is None else _scope_members(_parse(InstrumentationScope, raw))
        return {"scope": _column(members, schema_url)}


@contextmanager
def _in_context() -> Iterator[None]:
    try:
        yield
    except (DecodeError, UnicodeDecodeError) as error:
        raise UnacceptableError(f"its Resource or scope cannot be parsed: {error}") from None
    except UnacceptableError as error:
        raise UnacceptableError(f"in its Resource or scope, {error}") from None


def _parse(kind: type[_M], raw: bytes) -> _M:
    try:
        return kind.FromString(raw)
    except DecodeError:
        return parse_again(kind, raw)


def _column(members: dict[str, str], schema_url: bytes | None) -> str | None:
    if schema_url:
        members["schemaUrl"] = quote(schema_url.decode())
    return _object(members) if members else None


def _object(members: dict[str, str]) -> str:
    return format_object({name: f"{quote(name)}:{text}" for name, text in members.items()})


def _attributes(attributes: Iterable[KeyValue]) -> str:
    members: dict[str, str] = {}
    for attribute in attributes:
        key = attribute.key
        if key in members:
            raise UnacceptableError(f"the attribute {key!r:.100} stands twice")
        if attribute.key_strindex:
            raise UnacceptableError("a key is given by reference (key_strindex)")
        members[key] = format_typed(attribute.value) if attribute.HasField("value") else "null"
    return _object(members)


def _resource_members(resource: Resource) -> dict[str, str]:
    members = {"attributes": _attributes(resource.attributes)}
    if resource.dropped_attributes_count:
        members["droppedAttributesCount"] = str(resource.dropped_attributes_count)
    if resource.entity_refs:
        members["entityRefs"] = format_json([_entity_ref(entity) for entity in resource.entity_refs])
    return members


def _entity_ref(entity: EntityRef) -> dict[str, Any]:
    members = {
        "schemaUrl": entity.schema_url,
        "type": entity.type,
        "idKeys": list(entity.id_keys),
        "descriptionKeys": list(entity.description_keys),
    }
    return {name: value for name, value in members.items() if value}


def _scope_members(scope: InstrumentationScope) -> dict[str, str]:
    members = {"attributes": _attributes(scope.attributes)}
    if scope.name:
        members["name"] = quote(scope.name)
    if scope.version:
        members["version"] = quote(scope.version)
    if scope.dropped_attributes_count:
        members["droppedAttributesCount"] = str(scope.dropped_attributes_count)
    return members


def parse_resource(text: str | None) -> tuple[Resource | None, str]:
    """The Resource and the schema URL of a `resource` column.

    Raises:
        ArchiveFaultError: not what decoding writes.
    """
    content = _load(text)
    try:
        resource = None
        if "attributes" in content:
            resource = Resource(
                attributes=_parse_attributes(content["attributes"]),
                dropped_attributes_count=content.get("droppedAttributesCount", 0),
            )
            for entity in content.get("entityRefs", ()):
                resource.entity_refs.add(
                    schema_url=entity.get("schemaUrl", ""),
                    type=entity.get("type", ""),
                    id_keys=entity.get("idKeys", ()),
                    description_keys=entity.get("descriptionKeys", ()),
                )
        return resource, str(content.get("schemaUrl", ""))
    except (TypeError, ValueError, AttributeError) as error:
        raise ArchiveFaultError(f"not a resource column: {text:.200} ({error})") from None


def parse_scope(text: str | None) -> tuple[InstrumentationScope | None, str]:
    """The scope and the schema URL of a `scope` column.

    Raises:
        ArchiveFaultError: not what decoding writes.
    """
    content = _load(text)
    try:
        scope = None
        if "attributes" in content:
            scope = InstrumentationScope(
                name=content.get("name", ""),
                version=content.get("version", ""),
                attributes=_parse_attributes(content["attributes"]),
                dropped_attributes_count=content.get("droppedAttributesCount", 0),
            )
        return scope, str(content.get("schemaUrl", ""))
    except (TypeError, ValueError, AttributeError) as error:
        raise ArchiveFaultError(f"not a scope column: {text:.200} ({error})") from None


def _load(text: str | None) -> dict[str, Any]:
    try:
        content = {} if text is None else json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ArchiveFaultError(f"not JSON: {text:.200} ({error})") from None
    if not isinstance(content, dict):
        raise ArchiveFaultError(f"not a JSON object: {text:.200}")
    return content


def _parse_attributes(content: dict[str, Any]) -> list[KeyValue]:
    return [
        KeyValue(key=key) if typed is None else KeyValue(key=key, value=parse_typed(typed))
        for key, typed in content.items()
    ]
