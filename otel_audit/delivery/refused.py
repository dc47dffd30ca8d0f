"""What a flush has to report of the spool: records that the peer refused, and such as could not be read back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from otel_audit.delivery.outcome import Refusal
from otel_audit.errors import SpoolUnreadableError
from otel_audit.spool.format import Entry, Kind, scan
from otel_audit.spool.pools import Parked

__all__ = ["UNREADABLE", "Refused"]

UNREADABLE = "it could not be read back from the spool; the damaged file is kept in the folder `aside`"


class Refused:
    """Refused records by the file they are parked in, oldest first. All methods are called with the outbox's lock.

    Args:
        there: what is parked now; the same object as long as nothing changed.
    """

    def __init__(self, there: Callable[[], Parked]) -> None:
        self._there = there
        self._seen = Parked()
        self._parked: dict[Path, tuple[str, int]] = {}
        self._unreadable = 0

    def add(self, path: Path, reason: str, rejected: int) -> None:
        """So many records of a parked file were refused."""
        self._parked[path] = (reason, rejected)

    def has(self, path: Path) -> bool:
        """Whether a parked file is to be reported."""
        return path in self._parked

    def add_unreadable(self, count: int) -> None:
        """Own records were lost with a damaged file."""
        self._unreadable += count

    def counts(self) -> list[tuple[str, int]]:
        """(why, how many records) of all."""
        if self._parked and (there := self._there()) is not self._seen:
            # Another process has sent the others again (`otel-audit spool retry`), or somebody has taken them out.
            self._parked = {path: count for path, count in self._parked.items() if path.name in there.names}
            self._seen = there
        counts = list(self._parked.values())
        return [*counts, (UNREADABLE, self._unreadable)] if self._unreadable else counts

    def read(self) -> tuple[Refusal, ...]:
        """The same with the records, as far as the files can be read. Raises SpoolUnreadableError."""
        found = []
        for path, (reason, rejected) in tuple(self._parked.items()):
            try:
                content = path.read_bytes()
            except FileNotFoundError:  # another process has sent it again, or somebody has taken it out
                del self._parked[path]
                continue
            except OSError as error:
                raise SpoolUnreadableError(f"{path} cannot be read: {error}") from error
            entries = [entry for entry in scan(content) if isinstance(entry, Entry) and entry.kind == Kind.RECORD]
            found.append(Refusal(reason, tuple(entry.payload for entry in entries), rejected))
        if self._unreadable:
            found.append(Refusal(UNREADABLE, (), self._unreadable))
        return tuple(found)

    def clear(self) -> list[Path]:
        """Nothing is to be reported any more; returns the files."""
        paths, self._parked, self._unreadable = list(self._parked), {}, 0
        return paths
