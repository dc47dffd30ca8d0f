"""Where everything in a spool lies; the folder a file is in is its state. Pure, but for listing.

<spool>/streams/<stream>/<file>   undelivered; beside it `owner`, locked while its process lives, and `delivered`
<spool>/sent/<stream>.<file>      delivered, and kept for a while
<spool>/parked/<stream>.<parked>  refused by the peer; stays until somebody decides, then goes to `sent`
<spool>/aside/<stream>.<file>     damaged or foreign, kept whole; nothing deletes it
<spool>/key                       what identities are hashed under; see `destination.py`
<spool>/expired                   empty; its time says when `sent` was last cleared; see `retention.py`

<file>   = <sequence, 8 digits>-<number of its first record, 16 digits>.spool
<parked> = <how many records, 8 digits>-<number of the first, 16 digits>.refused.spool

A number that has more digits takes them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "ASIDE",
    "DELIVERED",
    "EXPIRED",
    "KEY",
    "OWNER",
    "PARKED",
    "POOLS",
    "SENT",
    "STREAMS",
    "PoolFile",
    "SegmentName",
    "is_stream_id",
    "segments",
]

STREAMS, SENT, PARKED, ASIDE = "streams", "sent", "parked", "aside"
OWNER, DELIVERED, KEY, EXPIRED = "owner", "delivered", "key", "expired"
POOLS = (STREAMS, SENT, PARKED, ASIDE)

_STREAM = r"[0-9A-Za-z_-]{1,64}"
_SEGMENT = re.compile(r"(\d{8,18})-(\d{16,18})(\.refused)?\.spool", re.ASCII)
_POOLED = re.compile(rf"({_STREAM})\.(.+)", re.ASCII)


@dataclass(frozen=True, slots=True, order=True)
class SegmentName:
    """A spool file's place in its stream; or, if `is_refused`, how many records it holds and where they begin."""

    sequence: int
    first: int
    is_refused: bool = False

    def format(self) -> str:
        """The file's name."""
        return f"{self.sequence:08d}-{self.first:016d}{'.refused' if self.is_refused else ''}.spool"

    @classmethod
    def parse(cls, name: str) -> SegmentName | None:
        """The place a name means; None for any other name."""
        found = _SEGMENT.fullmatch(name)
        parsed = cls(int(found[1]), int(found[2]), bool(found[3])) if found else None
        return parsed if parsed and parsed.format() == name else None


@dataclass(frozen=True, slots=True, order=True)
class PoolFile:
    """A file in one of the pools `sent`, `parked` and `aside`."""

    stream_id: str
    name: SegmentName

    def format(self) -> str:
        """The file's name in its pool."""
        return f"{self.stream_id}.{self.name.format()}"

    @classmethod
    def parse(cls, name: str) -> PoolFile | None:
        """What a name in a pool means; None for any other name."""
        found = _POOLED.fullmatch(name)
        segment = SegmentName.parse(found[2]) if found else None
        return cls(found[1], segment) if found and segment else None


def is_stream_id(name: str) -> bool:
    """Whether a folder of this name can be a stream's."""
    return re.fullmatch(_STREAM, name, re.ASCII) is not None


def segments(folder: Path) -> list[tuple[SegmentName, Path]]:
    """The spool files of a stream's folder, in order. Raises OSError."""
    named = ((SegmentName.parse(path.name), path) for path in folder.iterdir())
    return sorted((name, path) for name, path in named if name is not None and not name.is_refused)
