"""What the quarantine holds now, read a piece at a time: what is said of each record first, its bytes when asked for.

Works beside a running collector. A row group is the most that is in memory at once, however much is held.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from otel_audit.archive.columns import QUARANTINE, conformed
from otel_audit.archive.footer import unreadable
from otel_audit.archive.listing import has_log, list_log
from otel_audit.archive.verify import open_checked
from otel_audit.errors import ArchiveFaultError, RecordNotFoundError
from otel_audit.log.quarantine import FOLDER, HELD
from otel_audit.model.filters import LogPosition
from otel_audit.model.interrupts import check_read
from otel_audit.model.record import from_us

__all__ = ["Held", "HeldRecord", "held", "held_matching", "held_records"]

_TRIES = 5
T = TypeVar("T")
_SAID = pa.schema([field for field in QUARANTINE if field.name != "request"])


@dataclass(frozen=True, slots=True)
class Held:
    """What is known of a held record without its bytes. `path`, `group`, `row`: where those are; `position`: in the
    quarantine's log."""

    sha256: str
    recorded_at: str
    received_from: str
    service_name: str | None
    reason: str
    request_bytes: int
    path: Path
    group: int
    row: int
    position: LogPosition

    @property
    def source(self) -> str:
        """Whose part of the budget it takes."""
        return self.service_name or self.received_from


@dataclass(frozen=True, slots=True)
class HeldRecord:
    """A record in quarantine. `request` is an OTLP ExportLogsServiceRequest with this one record."""

    sha256: str
    recorded_at: str
    received_from: str
    reason: str
    request: bytes


def held(data_dir: Path) -> list[Held]:
    """What is held now, oldest first.

    Raises:
        ArchiveFaultError: the quarantine's files cannot be read.
    """
    return _over_moving_files(data_dir / FOLDER, _held)


def held_matching(
    data_dir: Path, told: Callable[[Held], bool], content: Callable[[bytes], bool] | None = None
) -> list[Held]:
    """Those of which what is told matches, and then the bytes, which are read only when `content` is given.

    Raises:
        ArchiveFaultError: the quarantine's files cannot be read.
    """

    def read(root: Path) -> list[Held]:
        found = [one for one in _held(root) if told(one)]
        if content is None:
            return found
        return [one for one, whole in zip(found, _with_bytes(found), strict=True) if content(whole.request)]

    return _over_moving_files(data_dir / FOLDER, read)


def held_records(data_dir: Path, wanted: str | Collection[str] | None = None) -> list[HeldRecord]:
    """The same with the bytes of each, all of them in memory.

    Args:
        wanted: only this SHA-256, or a beginning of it that names one record; or those of these that are held.

    Raises:
        RecordNotFoundError: `wanted` is text and names none, or several.
        ArchiveFaultError: the quarantine's files cannot be read.
    """
    return _over_moving_files(data_dir / FOLDER, lambda root: list(_with_bytes(_named(_held(root), wanted))))


def _named(found: list[Held], wanted: str | Collection[str] | None) -> list[Held]:
    if wanted is None:
        return found
    if not isinstance(wanted, str):
        return [one for one in found if one.sha256 in wanted]
    named = [one for one in found if one.sha256.startswith(wanted)]
    if len(named) != 1:
        raise RecordNotFoundError(f"{wanted!r} names {len(named)} held records")
    return named


def _over_moving_files(root: Path, read: Callable[[Path], list[T]]) -> list[T]:
    if not has_log(root):
        return []
    for _ in range(_TRIES):
        try:
            return read(root)
        except FileNotFoundError:
            continue  # merged or sealed between listing and opening: list again
    raise ArchiveFaultError(f"{root}: its files go away faster than they can be read")


def _held(root: Path) -> list[Held]:
    found: list[Held] = []
    decided: set[str] = set()
    for file in list_log(root).files:
        for group, rows in _groups(file.path):
            for at, row in enumerate(rows.to_pylist()):
                if row["decision"] != HELD:
                    decided.add(row["record_id"])
                    continue
                found.append(
                    Held(
                        sha256=row["record_id"],
                        recorded_at=from_us(row["recorded_us"]).isoformat(),
                        received_from=row["received_from"] or "",
                        service_name=row["service_name"],
                        reason=row["reason"],
                        request_bytes=row["request_bytes"],
                        path=file.path,
                        group=group,
                        row=at,
                        position=LogPosition(file.name.log, row["log_index"]),
                    )
                )
    return [one for one in found if one.sha256 not in decided]


def _groups(path: Path) -> Iterator[tuple[int, pa.Table]]:
    """What each row group says of its records."""
    try:
        with open_checked(path) as file:
            for group in range(file.metadata.num_row_groups):
                check_read()
                rows = conformed(file.read_row_group(group, columns=_SAID.names), _SAID)
                if rows.filter(pc.equal(rows["decision"], HELD))["request_bytes"].null_count:
                    # A file of an earlier release does not say.
                    lengths = pc.binary_length(file.read_row_group(group, columns=["request"])["request"])
                    at = rows.schema.get_field_index("request_bytes")
                    rows = rows.set_column(at, "request_bytes", pc.cast(lengths, pa.int64()))
                at = rows.schema.get_field_index("recorded_at")
                yield group, rows.set_column(at, "recorded_us", pc.cast(rows["recorded_at"], pa.int64()))
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError) as error:
        raise unreadable(path, error) from error


def _with_bytes(found: list[Held]) -> Iterator[HeldRecord]:
    opened: tuple[Path, int] | None = None
    requests: pa.ChunkedArray = pa.chunked_array([], pa.binary())
    for one in found:
        if opened != (one.path, one.group):
            opened, requests = (one.path, one.group), _requests(one.path, one.group)
        yield HeldRecord(one.sha256, one.recorded_at, one.received_from, one.reason, requests[one.row].as_py())


def _requests(path: Path, group: int) -> pa.ChunkedArray:
    try:
        with open_checked(path) as file:
            table: pa.Table = file.read_row_group(group, columns=["request"])
            return table["request"]
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError) as error:
        raise unreadable(path, error) from error
