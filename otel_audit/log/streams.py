"""The streams log: a third log, of what happened to producers' streams that is no activity.

It notes which records were dropped as repeats, which numbers went to quarantine, and what producers say of their
streams. With it and the activities alone, a number that is missing can be told from one that was never given, was
dropped for a reason, or is still on its way. A row may come twice when a request is sent twice: readers take unions and
maxima.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from otel_audit.archive.columns import NOTE_QUARANTINED, NOTE_REPEAT, NOTE_SETTLED, STREAM_COLUMNS
from otel_audit.otlp.decode import Rejected
from otel_audit.otlp.markers import Marker

__all__ = [
    "FOLDER",
    "PLACES",
    "fold",
    "marker_rows",
    "place_rows",
    "quarantined_rows",
    "repeat_rows",
    "settled_rows",
]

FOLDER = "streams"
_INCOMING = pa.schema([column.arrow for column in STREAM_COLUMNS if column.name not in {"log_index", "recorded_at"}])
_OF_WHOM = ("stream_id", "service_name", "service_instance_id", "received_from")
PLACES = [*_OF_WHOM, "stream_number"]
"""Columns of a decoded activity: where it stands in which stream, and who sent it."""
_PLACES_SCHEMA = pa.schema([pa.field(name, pa.int64() if name == "stream_number" else pa.string()) for name in PLACES])


def place_rows(rejected: Sequence[Rejected]) -> pa.Table:
    """The columns `PLACES` of invalid records."""
    columns = {name: [getattr(item, name) for item in rejected] for name in PLACES}
    return pa.table(columns, schema=_PLACES_SCHEMA)


def repeat_rows(places: pa.Table) -> pa.Table:
    """Rows to commit for dropped records; also those outside any stream count."""
    return fold(NOTE_REPEAT, places)


def quarantined_rows(places: pa.Table) -> pa.Table:
    """Rows to commit for records in quarantine. Of one without a number there is nothing to note."""
    return fold(NOTE_QUARANTINED, places.filter(_numbered(places)))


def marker_rows(markers: Sequence[Marker]) -> pa.Table:
    """Rows to commit for what producers say of their streams."""
    columns = {name: [getattr(marker, name) for marker in markers] for name in _OF_WHOM}
    columns["kind"] = [marker.state for marker in markers]
    return pa.table(
        {
            **columns,
            "first_number": [None] * len(markers),
            "last_number": [marker.last_number for marker in markers],
            "records": [0] * len(markers),
            "settled_reason": [None] * len(markers),
        },
        schema=_INCOMING,
    )


def settled_rows(stream_id: str, upto: int, disregarded: int | None, reason: str) -> pa.Table:
    """The row to commit for an operator's decision; see `ActivityLog.settle_stream`."""
    row = {
        "stream_id": stream_id,
        "kind": NOTE_SETTLED,
        "first_number": disregarded,
        "last_number": upto,
        "records": 0,
        "settled_reason": reason,
    }
    return pa.Table.from_pylist([row], schema=_INCOMING)


def fold(kind: str, places: pa.Table) -> pa.Table:
    """A row per unbroken run of numbers of one stream, service and peer; a number that came twice counts twice.

    Args:
        places: the columns `PLACES` of records, in any order.
    """
    count = places.num_rows
    if not count:
        return _INCOMING.empty_table()
    numbered = _numbered(places).to_numpy()
    numbers = np.where(numbered, places["stream_number"].fill_null(0).to_numpy(), 0)
    whose = [_codes(places[name]) for name in _OF_WHOM]
    order = np.lexsort((numbers, numbered, *whose))
    numbers = numbers[order]
    begins = np.ones(count, dtype=bool)
    # The first clause keeps the second from wrapping round at the lowest number of all.
    begins[1:] = (numbers[1:] != numbers[:-1]) & (numbers[1:] - 1 != numbers[:-1])
    for key in (numbered, *whose):
        begins[1:] |= key[order][1:] != key[order][:-1]
    starts = np.flatnonzero(begins)
    ends = np.append(starts[1:], count)
    without = ~numbered[order][starts]
    heads = places.select(_OF_WHOM).take(pa.array(order[starts]))
    made = {
        "kind": pa.array([kind] * len(starts), pa.string()),
        "first_number": pa.array(numbers[starts], mask=without),
        "last_number": pa.array(numbers[ends - 1], mask=without),
        "records": pa.array(ends - starts),
        "settled_reason": pa.nulls(len(starts), pa.string()),
    }
    columns = [made[name] if name in made else heads[name] for name in _INCOMING.names]
    return pa.Table.from_arrays(columns, schema=_INCOMING)


def _numbered(places: pa.Table) -> pa.ChunkedArray:
    """Whether each record has a number; one outside any stream says nothing."""
    return pc.and_(places["stream_id"].is_valid(), places["stream_number"].is_valid())


def _codes(texts: pa.ChunkedArray) -> npt.NDArray[np.int32]:
    """A number per text, the same for the same; -1 for null."""
    encoded = texts.combine_chunks().dictionary_encode()
    codes: npt.NDArray[np.int32] = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    return codes
