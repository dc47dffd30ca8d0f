"""Who a request's record says did it, read from bytes that need not be a valid activity."""

from __future__ import annotations

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from otel_audit.otlp.names import WIRE

__all__ = ["actor_of"]

_KEYS = {key for name in WIRE if name.column == "actor_id" for key in (name.key, *name.aliases)}


def actor_of(request: bytes) -> str | None:
    """The first actor's id in an ExportLogsServiceRequest; None when there is none, or the bytes cannot be parsed."""
    try:
        parsed = ExportLogsServiceRequest.FromString(request)
        for resource in parsed.resource_logs:
            for scope in resource.scope_logs:
                for record in scope.log_records:
                    for attribute in record.attributes:
                        if attribute.key in _KEYS:
                            value = attribute.value
                            return str(value.int_value) if value.HasField("int_value") else value.string_value
    except (DecodeError, UnicodeDecodeError, ValueError):
        pass  # such bytes are why it is held
    return None
