"""What the documented examples say of a data folder."""

from __future__ import annotations

from base64 import b64decode
from hashlib import sha256
from typing import Any

__all__ = ["HELD", "HELD_CURSOR", "HELD_RECORD", "HELD_SHA256", "STATUS"]

_REQUEST = "CgwSChIIKgYKBHNob3A="
_REASON = "audit.record.id missing or empty"
HELD_SHA256 = sha256(b64decode(_REQUEST)).hexdigest()
HELD_CURSOR = "0123456789abcdef:7"
_KNOWN = {"sha256": HELD_SHA256, "recorded_at": "2026-11-24T09:35:00+00:00", "received_from": "192.0.2.7"}
HELD: dict[str, Any] = {**_KNOWN, "service_name": "shop", "bytes": len(b64decode(_REQUEST)), "reason": _REASON}
HELD_RECORD: dict[str, Any] = {**_KNOWN, "reason": _REASON, "request": _REQUEST}
STATUS: dict[str, Any] = {
    "log": "0123456789abcdef",
    "rows": 1003,
    "hot_files": 2,
    "hot_bytes": 53_248,
    "sealed_files": 1,
    "sealed_bytes": 114_688,
    "occurred_min": "2026-11-24T09:30:00.250000Z",
    "occurred_max": "2026-11-24T09:41:00.000000Z",
    "quarantined": 1,
    "quarantined_bytes": len(b64decode(_REQUEST)),
    "duplicates_dropped": 64,
    "owner_pid": 4711,
    "owner_url": "http://127.0.0.1:4318",
    "checked_files": 3,
    "scrub_completed": None,
    "lost": [{"log": "0123456789abcdef", "first": 400, "last": 431}],
    "faults": [],
}
