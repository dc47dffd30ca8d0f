"""What goes from an outbox to the sender."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["Parcel"]


@dataclass(frozen=True, slots=True)
class Parcel:
    """Records for one request, all of one Resource; or markers alone, which tell about a stream.

    Attributes:
        records: encoded LogRecords.
        first: the number of the first one, in the outbox's own stream; the others follow without a gap. 0 for those of
            other streams and for markers.
        is_second_try: a peer refused them before, and nobody asked to send them again.
        source: the outbox's own business.
    """

    resource: bytes
    schema_url: str
    records: tuple[bytes, ...]
    first: int = 0
    is_marker: bool = False
    source: Any = None
    is_second_try: bool = False
