"""The quarantine: a second log for what is no valid activity, so that nothing a sender was told we have is thrown away.

A row is either a held record or a decision about one. The rows of a log never change, so `release` and `drop` append
a decision; a record counts as held until there is one.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256

import pyarrow as pa

from otel_audit.archive.columns import QUARANTINE_COLUMNS

__all__ = ["FOLDER", "HELD", "decision_rows", "digest_of", "held_rows", "quarantine_key"]

FOLDER = "quarantine"
HELD = "held"
_INCOMING = pa.schema(
    [column.arrow for column in QUARANTINE_COLUMNS if column.name not in {"log_index", "recorded_at"}]
)


def quarantine_key(digest_hex: str) -> bytes:
    """The 128-bit index key of a quarantined request; its version digit is cleared, as for every text id."""
    raw = bytearray(bytes.fromhex(digest_hex)[:16])
    raw[6] &= 0x0F
    return bytes(raw)


def held_rows(items: Iterable[tuple[str, str, str | None, str, bytes]]) -> pa.Table:
    """Rows to commit for (sha256, received_from, service_name, reason, request)."""
    rows = [
        {
            "record_id": digest,
            "received_from": peer,
            "service_name": service,
            "decision": HELD,
            "reason": reason,
            "request": request,
            "request_bytes": len(request),
        }
        for digest, peer, service, reason, request in items
    ]
    return pa.Table.from_pylist(rows, schema=_INCOMING)


def decision_rows(digests: Iterable[str], decision: str, reason: str) -> pa.Table:
    """The rows to commit for one decision about held records."""
    rows = [
        {"record_id": digest, "received_from": None, "decision": decision, "reason": reason, "request": None}
        for digest in digests
    ]
    return pa.Table.from_pylist(rows, schema=_INCOMING)


def digest_of(request: bytes) -> str:
    """The id of a quarantined request."""
    return sha256(request).hexdigest()
