"""Requests as files that other OpenTelemetry tools read: JSON lines, and protobuf messages each behind its length.

JSON is that of OTLP/HTTP: ids in hex, enums as numbers, 64-bit integers as text. An otelcol reads such lines with its
`otlpjsonfile` receiver, and each line can be posted to /v1/logs as it is.
"""

from __future__ import annotations

from base64 import b64decode
from typing import Any

from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from otel_audit.otlp.heads import varint

__all__ = ["delimited", "request_to_json"]


def request_to_json(request: bytes) -> dict[str, Any]:
    """An ExportLogsServiceRequest as the JSON value of OTLP/JSON.

    Raises:
        DecodeError: the bytes are none.
    """
    message = ExportLogsServiceRequest.FromString(request)
    value: dict[str, Any] = MessageToDict(message, use_integers_for_enums=True)
    for resource_logs in value.get("resourceLogs", ()):
        for scope_logs in resource_logs.get("scopeLogs", ()):
            for record in scope_logs.get("logRecords", ()):
                for key in ("traceId", "spanId"):
                    if key in record:
                        record[key] = b64decode(record[key]).hex()
    return value


def delimited(request: bytes) -> bytes:
    """A message behind its length, a varint, as protobuf libraries read and write them in a row."""
    return varint(len(request)) + request
