"""Taking over what dead processes left: their streams, delivered from here with their own Resource."""

from __future__ import annotations

import errno
import sys
import time
from collections.abc import Callable, Container
from contextlib import suppress
from pathlib import Path

from otel_audit.disk import TMP_SUFFIX, Disk
from otel_audit.errors import SpoolFileError, UnwritableError
from otel_audit.spool.destination import Destination
from otel_audit.spool.format import Header
from otel_audit.spool.owner import OwnerLock
from otel_audit.spool.places import DELIVERED, OWNER, STREAMS, is_stream_id, segments
from otel_audit.spool.pools import Pools
from otel_audit.spool.reading import DeliveredMark, StreamReader, read_header
from otel_audit.spool.stream import remove_stream

__all__ = ["AdoptedStream", "adopt"]

_EMPTY_FOR_S = 3600.0


class AdoptedStream:
    """A stream of a process that is gone, held by this one until it is delivered and its folder removed.

    Attributes:
        reader: gives what is left, batch by batch.
        header: of its first file that can tell, or an empty one.
        has_begun: whether it ever held a record; else there is nothing to tell of it.

    Raises:
        OSError: it cannot be looked at.
    """

    def __init__(self, lock: OwnerLock, pools: Pools, disk: Disk, on_damage: Callable[[Path, str], None]) -> None:
        self.folder = lock.folder
        self.stream_id = lock.folder.name
        self._lock = lock
        self._disk, self._pools, self._on_damage = disk, pools, on_damage
        files = [path for _, path in segments(self.folder)]
        self.header = _header_of(files)
        self.has_begun = bool(files) or DeliveredMark(self.folder).read()[2] > 0
        self.reader = StreamReader(
            self.folder, lambda path, name, pool: pools.take_in(path, self.stream_id, name, pool), on_damage
        )

    def remove(self) -> None:
        """All of it is delivered and told of: remove the folder. Raises OSError, UnwritableError."""
        for path in self.folder.iterdir():
            if path.name not in (OWNER, DELIVERED) and path.suffix != TMP_SUFFIX:
                self._on_damage(path, "nothing of ours has such a name")
                self._pools.set_aside(path, self.stream_id)
        remove_stream(self.folder, self._disk)
        self.let_go()

    def let_go(self) -> None:
        """Leave it to the next process."""
        self._lock.release()

    def abandon(self) -> None:
        """In a child just forked: it is the parent's."""
        self._lock.abandon()


def adopt(
    root: Path,
    destination: Destination | None,
    pools: Pools,
    disk: Disk,
    on_damage: Callable[[Path, str], None],
    *,
    known: Container[str] = (),
    most: int = sys.maxsize,
    on_foreign: Callable[[Path, str], None] = lambda folder, why: None,
) -> list[AdoptedStream]:
    """Streams whose process is gone and whose records are to go to a destination; None: to any.

    Args:
        known: streams not to look at.
        most: how many to take; each holds a file open.
        on_damage: also told of a folder that cannot be looked at; it stays as it is.
        on_foreign: told of each stream that cannot be sent from here, and why.

    Raises:
        OSError: nothing can be looked at.
        SpoolUnwritableError: the spool's key cannot be read.
    """
    found: list[AdoptedStream] = []
    try:
        folders = sorted(path for path in (root / STREAMS).iterdir() if path.name not in known)
    except FileNotFoundError:
        return []
    for folder in folders:
        if len(found) >= most:
            break
        if not is_stream_id(folder.name):
            continue
        try:
            stream = _adopted(folder, pools, disk, on_damage)
        except FileNotFoundError:
            continue  # another process has come to its end meanwhile
        except PermissionError:
            on_foreign(folder, "it belongs to another user")
            continue
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                break  # the application needs them all; later
            on_damage(folder, f"it cannot be looked at: {error}")
            continue
        if stream is None:
            continue
        why = destination.refusal(stream.header) if destination is not None else ""
        if why:
            stream.let_go()
            on_foreign(folder, why)
        else:
            found.append(stream)
    return found


def _adopted(folder: Path, pools: Pools, disk: Disk, on_damage: Callable[[Path, str], None]) -> AdoptedStream | None:
    if not any(folder.iterdir()):
        _remove_stillborn(folder, disk)
        return None
    # Whoever makes a folder puts `owner` into it first, and locks it. So one that holds anything and is not locked was
    # left by somebody, even if `owner` is gone: a removal that a power loss undid in part.
    lock = OwnerLock.take_over(folder)
    if lock is None:
        return None
    try:
        return AdoptedStream(lock, pools, disk, on_damage)
    except BaseException:
        lock.release()
        raise


def _remove_stillborn(folder: Path, disk: Disk) -> None:
    """A process died between making its folder and owning it. A fresh folder may be about to be owned."""
    if time.time() - folder.stat().st_mtime > _EMPTY_FOR_S:
        with suppress(UnwritableError):  # owned just now; else the next one that looks tries again
            disk.remove_folder(folder)


def _header_of(files: list[Path]) -> Header:
    for path in files:
        try:
            return read_header(path)[0]
        except SpoolFileError:
            continue
    return Header("", 0, "", b"")
