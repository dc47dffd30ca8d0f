"""An HTTP answer, and what it says in words a person can read.

A refusal of an OTLP server carries a `google.rpc.Status` (OTLP specification, "Failures"): protobuf or JSON, by its
content type. Whatever else stands between us and it answers with a page or a line of text. All of it was written by
others, so control characters are shown as escapes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet

from otel_audit.model.printing import printable

__all__ = ["PROTOBUF", "Answer"]

PROTOBUF = "application/x-protobuf"
_JSON = ("application/json", "application/problem+json")
_EXCERPT_CHARS = 200
_STATUS_MESSAGE, _LENGTH_DELIMITED = 2, 2


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer. `headers` has names in lower case; `body` may be cut off after 4 MiB, the most OTLP allows."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def content_type(self) -> str:
        """The media type without its parameters, in lower case; "" for none."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def words(self) -> str:
        """What the body says: the message of a Status, else the first of its text; "" for nothing."""
        message = ""
        if self.content_type == PROTOBUF:
            message = _message_in_protobuf(self.body)
        elif self.content_type in _JSON:
            message = _message_in_json(self.body)
        if not message:
            message = self.body[: 4 * _EXCERPT_CHARS].decode("utf-8", "backslashreplace")
        return printable(" ".join(message.split()))[:_EXCERPT_CHARS]


def _message_in_protobuf(body: bytes) -> str:
    # google.rpc.Status: 1 code, 2 message, 3 details. Its class would need a package that nothing else here needs.
    try:
        fields = UnknownFieldSet(Empty.FromString(body))
        for field in (fields[at] for at in range(len(fields))):
            if field.field_number == _STATUS_MESSAGE and field.wire_type == _LENGTH_DELIMITED:
                return bytes(field.data).decode("utf-8")
    except (DecodeError, UnicodeDecodeError):
        pass
    return ""


def _message_in_json(body: bytes) -> str:
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    if not isinstance(said, dict):
        return ""
    # A Status has `message`; problem details (RFC 9457) have `detail`.
    found = said.get("message", said.get("detail"))
    return found if isinstance(found, str) else ""
