"""Which service the records come from: the OpenTelemetry Resource sent with every request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource

from otel_audit.errors import ConfigError, InvalidRecordError
from otel_audit.otlp.encode import encode_resource

__all__ = ["EncodedResource"]


class EncodedResource:
    """The resource as bytes: the one given, else the global TracerProvider's, else from the OTEL_* variables.

    An application may set its TracerProvider after it opened the log, so that one is asked for at every request. The
    variables are read at once: resource detectors run in threads, which cannot be started while the interpreter exits.

    Raises:
        ConfigError: a value that OTLP cannot hold.
    """

    def __init__(self, given: Resource | Mapping[str, Any] | None = None) -> None:
        self._fixed = given is not None
        first = _of_provider() if given is None else given
        self._current: Resource | Mapping[str, Any] = Resource.create() if first is None else first
        try:
            self._encoded = _encode(self._current)
        except InvalidRecordError as error:
            raise ConfigError(f"resource: {error.rule}") from None

    def current(self) -> tuple[bytes, str]:
        """(serialized Resource, its schema URL)."""
        if not self._fixed:
            found = _of_provider()
            if found is not None and found is not self._current:
                self._current, self._encoded = found, _encode(found)
        return self._encoded


def _of_provider() -> Resource | None:
    """The global TracerProvider's resource; only the SDK's has one."""
    found = getattr(trace.get_tracer_provider(), "resource", None)
    return found if isinstance(found, Resource) else None


def _encode(resource: Resource | Mapping[str, Any]) -> tuple[bytes, str]:
    if isinstance(resource, Resource):
        return encode_resource(resource.attributes), resource.schema_url
    return encode_resource(resource), ""
