"""The quarantine: a second log for what is no valid activity, so that nothing a sender was told we have is thrown away.

A row is either a held record or a decision about one. The rows of a log never change, so `release` and `drop` append
a decision; a record counts as held until there is one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from otel_audit.archive.columns import QUARANTINE_COLUMNS
from otel_audit.archive.footer import unreadable
from otel_audit.archive.listing import LocatedFile, has_log, list_log
from otel_audit.archive.verify import open_checked
from otel_audit.errors import ArchiveFaultError, RecordNotFoundError
from otel_audit.model.record import from_us

__all__ = ["FOLDER", "HELD", "HeldRecord", "decision_rows", "digest_of", "held_records", "held_rows", "quarantine_key"]

FOLDER = "quarantine"
HELD = "held"
_TRIES = 5
_INCOMING = pa.schema(
    [column.arrow for column in QUARANTINE_COLUMNS if column.name not in {"log_index", "recorded_at"}]
)


@dataclass(frozen=True, slots=True)
class HeldRecord:
    """A record in quarantine. `request` is an OTLP ExportLogsServiceRequest with this one record."""

    sha256: str
    recorded_at: str
    received_from: str
    reason: str
    request: bytes


def quarantine_key(digest_hex: str) -> bytes:
    """The 128-bit index key of a quarantined request; its version digit is cleared, as for every text id."""
    raw = bytearray(bytes.fromhex(digest_hex)[:16])
    raw[6] &= 0x0F
    return bytes(raw)


def held_rows(items: Iterable[tuple[str, str, str, bytes]]) -> pa.Table:
    """Rows to commit for (sha256, received_from, reason, request)."""
    rows = [
        {"record_id": digest, "received_from": peer, "decision": HELD, "reason": reason, "request": request}
        for digest, peer, reason, request in items
    ]
    return pa.Table.from_pylist(rows, schema=_INCOMING)


def decision_rows(digest: str, decision: str, reason: str) -> pa.Table:
    """The row to commit for a decision about a held record."""
    row = {"record_id": digest, "received_from": None, "decision": decision, "reason": reason, "request": None}
    return pa.Table.from_pylist([row], schema=_INCOMING)


def held_records(data_dir: Path, wanted: str | None = None) -> list[HeldRecord]:
    """What is held now, oldest first; works beside a running collector.

    Args:
        wanted: only this SHA-256, or a beginning of it that names one record.

    Raises:
        RecordNotFoundError: `wanted` names none, or several.
        ArchiveFaultError: the quarantine's files cannot be read.
    """
    root = data_dir / FOLDER
    rows = _all_rows(root) if has_log(root) else []
    decided = {row["record_id"] for row in rows if row["decision"] != HELD}
    held = [
        HeldRecord(
            str(row["record_id"]),
            from_us(row["recorded_us"]).isoformat(),  # type: ignore[arg-type]
            str(row["received_from"] or ""),
            str(row["reason"]),
            row["request"],  # type: ignore[arg-type]
        )
        for row in rows
        if row["decision"] == HELD and row["record_id"] not in decided
    ]
    if wanted is None:
        return held
    named = [record for record in held if record.sha256.startswith(wanted)]
    if len(named) != 1:
        raise RecordNotFoundError(f"{wanted!r} names {len(named)} held records")
    return named


def _all_rows(root: Path) -> list[dict[str, object]]:
    for _ in range(_TRIES):
        try:
            return [row for file in list_log(root).files for row in _read(file)]
        except FileNotFoundError:
            continue  # merged or sealed between listing and opening: list again
    raise ArchiveFaultError(f"{root}: its files go away faster than they can be read")


def _read(file: LocatedFile) -> list[dict[str, object]]:
    try:
        with open_checked(file.path) as opened:
            table = opened.read()
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError) as error:
        raise unreadable(file.path, error) from error
    table = table.append_column("recorded_us", pc.cast(table["recorded_at"], pa.int64()))
    rows: list[dict[str, object]] = table.drop_columns(["recorded_at"]).to_pylist()
    return rows


def digest_of(request: bytes) -> str:
    """The id of a quarantined request."""
    return sha256(request).hexdigest()
