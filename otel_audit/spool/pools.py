"""Files that are no stream's business any more: delivered ones kept for a while, refused ones, damaged ones."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from otel_audit.disk import TMP_SUFFIX, Disk, is_full
from otel_audit.errors import SpoolFileError, SpoolUnreadableError, SpoolUnwritableError, UnwritableError
from otel_audit.spool.format import Damage, Entry, Header, Kind, format_entry, format_header, parse_header, scan
from otel_audit.spool.places import ASIDE, PARKED, POOLS, SENT, STREAMS, PoolFile, SegmentName
from otel_audit.spool.retention import Retention
from otel_audit.spool.stream import MODE, open_spool

__all__ = ["Parked", "Pools", "read_file", "set_aside_count", "streams_bytes"]

_SETTLED_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Parked:
    """The files of refused records: their names, and what they take."""

    names: frozenset[str] = frozenset()
    bytes: int = 0


class Pools:
    """The pools of one spool; safe to use from several processes at once.

    Args:
        keep_s, keep_bytes: how long delivered files stay, and how much of them.
        wall_s: seconds since 1970.
        on_mended: told of folders that were made anew, because somebody had removed them.
    """

    def __init__(
        self,
        root: Path,
        disk: Disk,
        keep_s: float,
        keep_bytes: int,
        wall_s: Callable[[], float] = time.time,
        on_mended: Callable[[list[str]], None] = lambda names: None,
    ) -> None:
        self.root = root
        self._disk = disk
        self._retention = Retention(root, disk, keep_s, keep_bytes, wall_s)
        self._parked: tuple[int | None, Parked] = None, Parked()
        self._wall_s = wall_s
        self._on_mended = on_mended

    def mend(self) -> None:
        """Make those of the spool's folders anew that somebody has removed under us. Raises SpoolUnwritableError."""
        try:
            gone = [name for name in POOLS if not (self.root / name).is_dir()]
        except OSError as error:  # no permission any more: privileges were dropped
            raise SpoolUnwritableError(f"{self.root} cannot be looked at: {error.strerror or error}") from error
        if gone:
            open_spool(self.root, POOLS, self._disk)
            self._on_mended(gone)

    def take_in(self, path: Path, stream_id: str, name: SegmentName, pool: str) -> None:
        """Move a file that is done with to `sent` or `aside`. Raises UnwritableError; it is where it was then."""
        final = self.root / pool / PoolFile(stream_id, name).format()
        if not path.exists():
            return  # somebody removed it by hand
        with suppress(SpoolUnwritableError):  # then what follows fails as well
            self.mend()
        if pool == ASIDE:
            # Under both names until the new one is durable: nothing else has what this file holds. A crash between
            # leaves both, and the stream is taken over and delivered once more.
            if not final.exists():
                self._disk.publish(path, final)
            self._disk.fsync_folder(final.parent)
            self._disk.unlink(path)
        else:
            self._retention.added(path)
            # Not made durable: after a power loss the file may be back in its stream, where it is delivered again, or
            # be in neither folder; what was kept is only a copy.
            with suppress(UnwritableError):
                self._disk.replace(path, final)
            # A full disk may have no room for another name, and a rename to another name of the same file does nothing.
            # Better a copy less than a stream that does not go on.
            self._disk.unlink(path)
        # The files of a stream go in their order, also for a power loss: a later one says which records at the end of
        # an earlier one are void. Where that fails, a power loss on top of it may bring such a record back.
        with suppress(UnwritableError):
            self._disk.fsync_folder(path.parent)

    def set_aside(self, path: Path, stream_id: str) -> None:
        """Move what is no spool file out of a stream's folder. Raises UnwritableError."""
        names = (f"{stream_id}.{path.name}{again}" for again in ("", *map(".{}".format, range(1, 1000))))
        final = next((self.root / ASIDE / name for name in names if not (self.root / ASIDE / name).exists()), None)
        if final is None:
            raise UnwritableError(f"cannot move {path} to {self.root / ASIDE}: there are too many of that name")
        self._disk.replace(path, final)

    def park(self, header: Header, records: Sequence[tuple[int, bytes]], reason: str, rejected: int) -> Path:
        """Write refused records, with the peer's answer, to a file of their own, durably.

        Args:
            records: number in the stream, and LogRecord, of each.

        Raises:
            UnwritableError: nothing is parked; the records must not count as delivered.
        """
        with suppress(SpoolUnwritableError):
            self.mend()
        first = records[0][0]
        header = replace(header, first=first, reason=reason, rejected=rejected)
        content = format_header(header) + b"".join(
            format_entry(Kind.RECORD, number, record) for number, record in records
        )
        # Named by count and first number: the same records refused once more after a crash take the same name.
        name = SegmentName(len(records), first, is_refused=True)
        final = self.root / PARKED / PoolFile(header.stream_id, name).format()
        tmp = final.with_name(f"{final.name}.{os.getpid()}{TMP_SUFFIX}")
        self._disk.unlink(tmp)  # another one of our number crashed here: in a container all have the same
        # A crash before the rename is durable leaves the records undelivered in their stream: they are sent, and
        # refused, again.
        try:
            self._disk.write_new(tmp, content, MODE)
        except UnwritableError as error:
            if not is_full(error):
                raise
            self.expire(keep_bytes=0)
            self._disk.write_new(tmp, content, MODE)
        self._disk.replace(tmp, final)
        self._disk.fsync_folder(final.parent)
        return final

    def unpark(self, path: Path) -> None:
        """A parked file was delivered after all, as far as it can be read; one that is gone already is fine.

        Raises:
            SpoolUnreadableError, UnwritableError: it is where it was.
        """
        parsed = PoolFile.parse(path.name)
        assert parsed is not None
        try:
            is_damaged = any(isinstance(found, Damage) for found in scan(path.read_bytes()))
        except FileNotFoundError:
            return
        except OSError as error:
            raise SpoolUnreadableError(f"{path} cannot be read: {error}") from error
        self.take_in(path, parsed.stream_id, parsed.name, ASIDE if is_damaged else SENT)

    def files(self, pool: str) -> list[tuple[PoolFile, Path]]:
        """What a pool holds, by stream and number."""
        try:
            paths = list((self.root / pool).iterdir())
        except FileNotFoundError:
            return []
        named = ((PoolFile.parse(path.name), path) for path in paths)
        return sorted((name, path) for name, path in named if name is not None)

    def expire(self, keep_bytes: int | None = None) -> int:
        """See `Retention.expire`."""
        return self._retention.expire(keep_bytes)

    def expire_in_turn(self) -> None:
        """See `Retention.expire_in_turn`."""
        self._retention.expire_in_turn()

    # --- what waits ---

    def parked(self) -> Parked:
        """What is parked; the same object as long as nothing changed."""
        folder = self.root / PARKED
        try:
            changed_ns = folder.stat().st_mtime_ns
        except OSError:
            return Parked()
        known_ns, parked = self._parked
        if changed_ns != known_ns:
            parked = Parked(*_names_and_bytes(folder))
            # A name that comes in the same tick of the file system's clock would not be seen.
            settled = self._wall_s() * 1e9 - changed_ns > _SETTLED_NS
            self._parked = changed_ns if settled else None, parked
        return parked

    def undelivered_bytes(self, but_for: Collection[Path] = ()) -> tuple[int, int]:
        """What waits in the streams, but for some folders, and what is parked."""
        return streams_bytes(self.root, but_for), self.parked().bytes


def streams_bytes(root: Path, but_for: Collection[Path] = ()) -> int:
    """What waits in a spool's streams, but for some folders."""
    # What cannot be looked at is not counted: a write that is in vain for the same reason says so itself.
    folders: list[Path] = []
    with suppress(OSError):
        folders = [folder for folder in (root / STREAMS).iterdir() if folder not in but_for]
    return sum(_names_and_bytes(folder)[1] for folder in folders)


def _names_and_bytes(folder: Path) -> tuple[frozenset[str], int]:
    names, total = [], 0
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):
                total += entry.stat().st_size
                names.append(entry.name)
    return frozenset(names), total


def read_file(path: Path) -> tuple[Header, list[Entry]]:
    """A whole spool file: its header, and every sound record in it.

    Raises:
        SpoolFileError: no header that can be read.
        OSError.
    """
    content = path.read_bytes()
    try:
        header, begin = parse_header(content)
    except SpoolFileError as error:
        raise SpoolFileError(f"{path}: {error}") from None
    found = scan(content, begin)
    return header, [entry for entry in found if isinstance(entry, Entry) and entry.kind == Kind.RECORD]


def set_aside_count(root: Path) -> int:
    """How many files lie in `aside`."""
    try:
        return sum(1 for _ in (root / ASIDE).iterdir())
    except FileNotFoundError:
        return 0
