"""A fixed piece of work for the sender, done in the calling thread: what is in the spool now, sent once.

It ends when all of it is answered for, or when nobody has answered for so long that somebody should be told.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from otel_audit.config import Settings
from otel_audit.delivery.backlog import Backlog
from otel_audit.delivery.endpoint import Endpoint
from otel_audit.delivery.identity import authentication
from otel_audit.delivery.marking import marking
from otel_audit.delivery.outbox import Parcel
from otel_audit.delivery.resource import EncodedResource
from otel_audit.delivery.sender import Sender
from otel_audit.delivery.transport import Transport
from otel_audit.disk import Disk
from otel_audit.errors import SpoolUnreadableError, SpoolUnwritableError, UnwritableError
from otel_audit.model.printing import public_url
from otel_audit.spool.destination import Destination, identity_of
from otel_audit.spool.pools import Pools

__all__ = ["Tally", "Work", "left_behind", "run_errand"]


class Work(Protocol):
    """Where the parcels come from, and what is to be done with those that are answered for; see `Backlog`."""

    def next_parcel(self, max_records: int, max_bytes: int) -> Parcel | None: ...

    def end_part(self, parcel: Parcel, stop: int) -> None: ...

    def park(self, parcel: Parcel, start: int, stop: int, reason: str, rejected: int) -> Path: ...

    def let_go(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Tally:
    """What came of it.

    Attributes:
        delivered, refused: records.
        answers: what the peer said to those it refused, each once.
        state: what the delivered ones have reached; None where there were none.
        trouble: why it was given up before the end, or "".
    """

    delivered: int
    refused: int
    answers: tuple[str, ...]
    state: Literal["acknowledged", "forwarded"] | None
    trouble: str


class _Errand:
    """The sender's source: parcels of the work until there is none, and pauses until patience ends."""

    def __init__(
        self, work: Work, root: Path, settings: Settings, patience_s: float, progress: Callable[[int], None]
    ) -> None:
        self.trouble = ""
        self.kept = str(root)
        self.gave_up = False
        self.answers: dict[str, None] = {}
        self._work = work
        self._batch_records, self._batch_bytes = settings.batch_max_records, settings.batch_max_bytes
        self._patience_s, self._progress = patience_s, progress
        self._until_s = time.monotonic() + patience_s

    def take(self) -> Parcel | None:
        """The next parcel; None at the end."""
        return self._work.next_parcel(self._batch_records, self._batch_bytes)

    def settle(self, parcel: Parcel, start: int, stop: int, log: str | None, rows: str) -> None:
        """A part is delivered."""
        self._end_part(parcel, start, stop)

    def refuse(self, parcel: Parcel, start: int, stop: int, reason: str, rejected: int) -> None:
        """A part is refused: it is parked, or stays so."""
        if not parcel.is_marker:
            self._work.park(parcel, start, stop, reason, rejected)
            self.answers[reason] = None
        self._end_part(parcel, start, stop)

    def _end_part(self, parcel: Parcel, start: int, stop: int) -> None:
        self._work.end_part(parcel, stop)
        self._until_s = time.monotonic() + self._patience_s
        self._progress(0 if parcel.is_marker else stop - start)

    def pause(self, until_s: float, *, hurried_s: float, soonest_s: float) -> bool:
        """Wait; False, at once, when that would be beyond all patience."""
        if until_s > self._until_s:
            self.gave_up = True
            return False
        time.sleep(max(0.0, until_s - time.monotonic()))
        return True

    def let_go(self) -> None:
        """Leave the rest to the next process."""
        self._work.let_go()


def left_behind(
    pools: Pools, disk: Disk, target: Endpoint | None, clock_ns: Callable[[], int] = time.time_ns
) -> Backlog:
    """What dead processes left in a spool and what is parked there, as work.

    Args:
        target: only streams whose records are to go there, and in the same name, are taken over; None: all.
    """
    resource = EncodedResource().current
    destination = None
    if target is not None:
        known = authentication(target)
        identity = lambda: identity_of(known, pools.root, disk)  # noqa: E731
        destination = Destination(public_url(target.url), identity, resource)
    return Backlog(pools, disk, destination, marking(clock_ns), resource)


def run_errand(
    work: Work,
    root: Path,
    endpoint: Endpoint,
    settings: Settings,
    *,
    patience_s: float,
    progress: Callable[[int], None] = lambda records: None,
) -> Tally:
    """Send all of it, and say what came of it.

    Args:
        root: the spool, for messages.
        patience_s: how long to go on without any answer that settles something.
        progress: told of every few records that are answered for.

    Raises:
        ConfigError: headers or a credential provider that cannot be used.
        SpoolUnreadableError, SpoolUnwritableError, SpoolFileError: the spool itself gives trouble; what nobody answered
            for is still in it.
    """
    errand = _Errand(work, root, settings, patience_s, progress)
    sender = Sender(
        errand,
        Transport(endpoint),
        retry_initial_s=settings.retry_initial_s,
        retry_max_s=settings.retry_max_s,
    )
    try:
        sender.run()
    except UnwritableError as error:
        raise SpoolUnwritableError(str(error)) from error
    except OSError as error:
        raise SpoolUnreadableError(f"the spool {root} cannot be read: {error}") from error
    return Tally(
        delivered=sender.acknowledged + sender.forwarded,
        refused=sender.refused,
        answers=tuple(errand.answers),
        state="acknowledged" if sender.acknowledged else "forwarded" if sender.forwarded else None,
        trouble=errand.trouble if errand.gave_up else "",
    )
