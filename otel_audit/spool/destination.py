"""Where a stream's records are to go and on whose behalf: what decides who may deliver what a dead process left.

Two applications of one user may share a spool and send with different tokens. If one delivered what the other left, the
records would arrive under the wrong tenant or name. So a stream's header carries its endpoint and an identity: a hash
of what its process authenticates with, under a key that never leaves the spool, so that nothing can be learnt from it.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from google.protobuf.message import DecodeError
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from otel_audit.disk import TMP_SUFFIX, Disk
from otel_audit.errors import SpoolUnwritableError, UnwritableError
from otel_audit.model.printing import public_url
from otel_audit.spool.format import Header
from otel_audit.spool.places import KEY

__all__ = ["Destination", "identity_of", "service_name"]

_KEY_BYTES = 32
_MODE = 0o600
_APPLICATION = ("service.namespace", "service.name", "deployment.environment.name")


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a process sends.

    Attributes:
        endpoint: without credentials and query.
        identity: see `identity_of`; "" takes any.
        resource: the serialized Resource of the process and its schema URL.
    """

    endpoint: str
    identity: Callable[[], str] = lambda: ""
    resource: Callable[[], tuple[bytes, str]] = lambda: (b"", "")

    def refusal(self, header: Header) -> str:
        """Why a stream with such a header is not to be sent from here, "" if it is. Raises SpoolUnwritableError.

        The same application may send it with other credentials: a token that was replaced must not strand what waits.
        """
        if header.endpoint and public_url(header.endpoint) != self.endpoint:
            return f"its records are to go to {public_url(header.endpoint)}"
        if not header.identity or header.identity == (self.identity() or header.identity):
            return ""  # written before there were identities, or by one who authenticates in the same way
        ours, theirs = _application(self.resource()[0]), _application(header.resource)
        if ours is not None and ours == theirs:
            return ""
        return "it was written by another application, with other credentials"


def identity_of(authentication: bytes, root: Path, disk: Disk) -> str:
    """The identity of whoever authenticates so, as this spool writes it. Raises SpoolUnwritableError."""
    return hmac.digest(_key(root, disk), authentication, "sha256").hex()[:32]


def _key(root: Path, disk: Disk) -> bytes:
    """The spool's key, drawn with the first stream."""
    path = root / KEY
    try:
        for _ in range(2):
            with suppress(FileNotFoundError):
                key = path.read_bytes()
                if len(key) == _KEY_BYTES:
                    return key
                disk.unlink(path)  # a file that nobody of us wrote
            tmp = path.with_name(f"{KEY}.{os.getpid()}.{os.urandom(4).hex()}{TMP_SUFFIX}")
            # A crash before the folder is fsynced may leave another key, or none, beside streams that were written
            # under this one: they count as another application's credentials then.
            disk.write_new(tmp, os.urandom(_KEY_BYTES), _MODE)
            try:
                disk.publish(tmp, path)
            except UnwritableError:
                if not path.exists():
                    raise
            finally:
                disk.unlink(tmp)
            disk.fsync_folder(root)
        return path.read_bytes()
    except (OSError, UnwritableError) as error:
        raise SpoolUnwritableError(str(error)) from error


def _application(resource: bytes) -> tuple[str, ...] | None:
    """What names an application; None where nobody has given it a name of its own."""
    found = _texts(resource)
    name = found.get("service.name", "")
    if not name or name.startswith("unknown_service"):
        return None
    return tuple(found.get(key, "") for key in _APPLICATION)


def service_name(resource: bytes) -> str:
    """The name of the service that a serialized Resource belongs to, or ""."""
    return _texts(resource).get("service.name", "")


def _texts(resource: bytes) -> dict[str, str]:
    try:
        return {a.key: a.value.string_value for a in Resource.FromString(resource).attributes}
    except DecodeError:
        return {}
