"""OTLP's outer messages with everything inside left as `bytes`: what upb makes of the framing alone."""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_FIELD = descriptor_pb2.FieldDescriptorProto
_MESSAGES = {
    "ScopeLogs": [("scope", 1, "", False), ("log_records", 2, "", True), ("schema_url", 3, "", False)],
    "ResourceLogs": [("resource", 1, "", False), ("scope_logs", 2, ".s.ScopeLogs", True), ("schema_url", 3, "", False)],
    "Request": [("resource_logs", 1, ".s.ResourceLogs", True)],
}


def skeleton() -> Any:
    """The class of the skeleton request."""
    file = descriptor_pb2.FileDescriptorProto(name="s.proto", package="s", syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, number, of, repeated in fields:
            message.field.add(
                name=field,
                number=number,
                type=_FIELD.TYPE_MESSAGE if of else _FIELD.TYPE_BYTES,
                type_name=of or None,
                label=_FIELD.LABEL_REPEATED if repeated else _FIELD.LABEL_OPTIONAL,
            )
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("s.Request"))
