"""Models of the answers, for the OpenAPI document only: answers are written as bytes, not through these."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

__all__ = ["Completeness", "Count", "HeldRecord", "Page", "Problem", "Quarantine", "Record", "Status", "Streams"]


class Entity(BaseModel):
    """The thing acted upon."""

    entity_type: str
    entity_id: str


class Record(BaseModel):
    """One activity. Every field is always there; what is not known is null."""

    record_id: str = Field(description="A UUIDv7 unless the producer chose its own.")
    occurred_at: datetime = Field(description="RFC 3339, UTC, six fractional digits.")
    actor_id: str = Field(description="Who did it.")
    actor_type: str = Field(description='"user", "service", "system", or what another producer wrote.')
    actor_name: str | None = Field(description="The actor's name at that time.")
    on_behalf_of: str | None = Field(description="For whom the actor acted.")
    owner_id: str | None = Field(description="Whose data it is.")
    action: str = Field(description="The application's own verb.")
    entity_ref: Entity | None
    entity_name: str | None = Field(description="The entity's name at that time.")
    outcome: str = Field(description='"success", "failure", "unknown", or what another producer wrote.')
    reason: str | None
    metadata: dict[str, Any] = Field(
        description="The application's own JSON. Integers have up to 64 bits: read them with a parser that keeps them."
    )
    changes: dict[str, Any] | None = Field(description="`{field: [old, new]}`.")
    tenant_id: str | None
    client_address: str | None
    user_agent: str | None
    session_id: str | None
    request_id: str | None
    trace_id: str | None = Field(description="32 lower-case hex digits.")
    span_id: str | None = Field(description="16 lower-case hex digits.")
    trace_flags: int | None


class Position(BaseModel):
    """A place in a log."""

    log: str = Field(description="The log's name.")
    log_index: int = Field(description="The last record's index; -1 before the first.")


class Page(BaseModel):
    """Some records."""

    records: list[Record]
    next_cursor: str | None = Field(description="Pass it as `cursor` for the next page; null on the last one.")
    position: Position | None = Field(description="Reads in log order: pass it as `after=<log>:<log_index>`.")


class ValueCount(BaseModel):
    """How many records have one value."""

    value: str | None
    count: int = Field(ge=1)


class Others(BaseModel):
    """Values beyond the limit of an answer."""

    values: int = Field(ge=0)
    count: int = Field(ge=0, description="Records with one of them.")


class Count(BaseModel):
    """How many records match; `field` and `counts` are there when `by` was given."""

    count: int = Field(ge=0)
    field: str = Field(default="", description="The field that was counted by.")
    counts: list[ValueCount] = Field(default=[], description="Most first.")
    others: Others | None = Field(default=None, description="What `limit` left out.")


class Stream(BaseModel):
    """What became of the numbers that a producer gave its records."""

    stream_id: str
    service_name: str | None = Field(description="`service.name` of the producer.")
    state: Literal["open", "closed", "recovered", "settled"] = Field(
        description="closed: ended cleanly. recovered: its process died, and another one delivered what it had left. "
        "settled: an operator closed it, and nothing came since."
    )
    emitted: int = Field(ge=0, description="The highest number known to be given.")
    archived: int = Field(ge=0, description="Numbers whose records are in the archive, each counted once.")
    quarantined: int = Field(ge=0, description="Numbers whose records are in quarantine and not in the archive.")
    missing: list[Annotated[list[int], Field(min_length=2, max_length=2)]] = Field(
        description="First and last of each range that should be here and is not, in order."
    )
    missing_count: int = Field(ge=0, description="How many numbers those are.")
    awaited: int = Field(ge=0, description="Numbers given and not overtaken by later ones: on their way.")
    repeats: int = Field(ge=0, description="Numbers that came when the archive had their record already.")
    settled: int = Field(
        ge=0, description="Numbers that are not here, and that an operator decided to look for no longer."
    )
    settled_reason: str | None = Field(description="The operator's words.")
    implausible: Annotated[list[int], Field(min_length=2, max_length=2)] | None = Field(
        description="Lowest and highest of the numbers too far above all others to be a count of records."
    )
    last_seen: datetime = Field(description="When something of the stream was last stored.")


class Streams(BaseModel):
    """Producers' streams, longest unseen first."""

    streams: list[Stream]
    next_cursor: str | None = Field(description="Gives the next page; null at the end.")


class LostRows(BaseModel):
    """Rows of a log that are gone and that an operator accepted as lost; both ends inclusive."""

    log: str
    first: int = Field(ge=0)
    last: int = Field(ge=0)


class Completeness(BaseModel):
    """What no report on a stream can show."""

    records: int = Field(ge=0, description="Rows in the archive.")
    unnumbered: int = Field(ge=0, description="Records without a number: nothing shows whether all of them are here.")
    lost: list[LostRows]


class Status(BaseModel):
    """What a data folder holds. Sizes are in bytes."""

    log: str
    rows: int = Field(ge=0)
    hot_files: int = Field(ge=0)
    hot_bytes: int = Field(ge=0)
    sealed_files: int = Field(ge=0)
    sealed_bytes: int = Field(ge=0)
    occurred_min: datetime | None
    occurred_max: datetime | None
    quarantined: int = Field(ge=0, description="Records held now.")
    quarantined_bytes: int = Field(ge=0, description="Of those, as they were sent.")
    duplicates_dropped: int = Field(ge=0)
    owner_pid: int | None = Field(description="The process that writes to the folder.")
    owner_url: str | None
    checked_files: int = Field(ge=0, description="How many footers were read and agree with their names.")
    scrub_completed: datetime | None = Field(description="When every byte had last been read back.")
    lost: list[LostRows] = Field(description="Rows of any of the logs that are accepted as lost.")
    faults: list[str] = Field(description="What contradicts itself; empty when all is well.")


class Held(BaseModel):
    """A record in quarantine, without its bytes."""

    sha256: str = Field(description="Of the OTLP request that has this one record.")
    recorded_at: datetime
    received_from: str
    service_name: str | None
    bytes: int = Field(ge=0)
    reason: str = Field(description="Why it is no valid activity.")


class Quarantine(BaseModel):
    """Held records, oldest first."""

    held: list[Held]
    next_cursor: str | None = Field(description="Gives the next page; null at the end.")


class HeldRecord(BaseModel):
    """A record in quarantine."""

    sha256: str
    recorded_at: datetime
    received_from: str
    reason: str
    request: str = Field(description="An OTLP ExportLogsServiceRequest with this one record, in base64.")


class Problem(BaseModel):
    """Problem details (RFC 9457)."""

    type: str = Field(description="`urn:otel-audit:problem:<name>`, or about:blank for a plain HTTP error.")
    title: str
    status: int
    detail: str = Field(description="What is wrong with this request.")
    diagnostics: str = Field(description="What to do next.")
