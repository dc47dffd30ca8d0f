"""Where a data folder stands, so that a copy of it is not taken for it: two would give one log's indexes to other rows.

What tells a copy from its original is the inode of the identity file. It stays as it is when the folder is renamed, the
disk mounted elsewhere or under another device number, the machine or container renamed; a copy, a restored backup or a
move to another file system has another one. Where hard links to the file exist, the folder's own inode decides.
docs/adr/0015-the-place-of-a-log.md has what was weighed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

from otel_audit.archive.extent import ACTIVITY, IDENTITY, LOG, QUARANTINE, STREAMS
from otel_audit.config import Settings
from otel_audit.disk import Disk
from otel_audit.errors import CopiedFolderError, NotADataFolderError, StorageError
from otel_audit.log.folder import file_system, new_log_name, open_identity, read_identity, write_state
from otel_audit.log.stores import Stores

__all__ = ["check", "claim", "rename_logs"]

_PLACE = "place.json"


def check(data_dir: Path) -> None:
    """Refuse a folder that is not where its log was last written.

    Raises:
        CopiedFolderError: it is a copy, or was moved to another file system.
        StorageError: it cannot be looked at.
    """
    try:
        known = json.loads((data_dir / LOG / _PLACE).read_bytes())
    except FileNotFoundError:
        return  # new, or of a release that kept no place
    except (OSError, ValueError) as error:
        raise StorageError(f"{data_dir / LOG / _PLACE} cannot be read: {error}") from error
    now, links = _place(data_dir)
    telling = ("inode", "folder_inode") if links > 1 else ("inode",)
    if now and isinstance(known, dict) and any(known.get(name) != now[name] for name in telling):
        raise CopiedFolderError(f"{data_dir} is a copy of the folder that its log was written in, or was moved")


def claim(data_dir: Path, disk: Disk) -> None:
    """Note that the log stands here from now on, unless that is noted. A crash before it leaves the old note.

    Raises:
        UnwritableError: nothing is noted.
    """
    now, _ = _place(data_dir)
    path = data_dir / LOG / _PLACE
    if now and not (path.exists() and path.read_bytes() == json.dumps(now, separators=(",", ":")).encode()):
        write_state(path, now, disk)


def _place(data_dir: Path) -> tuple[dict[str, int], int]:
    """What identifies the place, nothing where the file system makes inodes up; and how many links the file has."""
    if file_system(data_dir).startswith("fuse"):
        return {}, 1
    try:
        file, folder = os.stat(data_dir / LOG / IDENTITY), os.stat(data_dir / LOG)  # noqa: PTH116
    except OSError as error:
        raise StorageError(f"{data_dir / LOG}: cannot be looked at: {error.strerror}") from error
    return {"inode": file.st_ino, "folder_inode": folder.st_ino}, file.st_nlink


def rename_logs(data_dir: Path, settings: Settings, disk: Disk, clock: Callable[[], int]) -> list[str]:
    """Give the three logs of a copy names of their own; the rows that are there stay under the old ones.

    Raises:
        NotADataFolderError: no log.
        ArchiveFaultError, StorageError, UnwritableError: run it again; some logs may have their new names by then.
    """
    identity = read_identity(data_dir)
    if identity is None:
        raise NotADataFolderError(f"{data_dir} holds no otel-audit log")
    # Under their old names once more: what a crash has left between two states is settled, and nothing else written.
    Stores(data_dir, identity.log, settings, clock, disk).load()
    named = []
    # A crash after any of these leaves a copy that is still refused; another run names some logs once more, which have
    # no rows under the name in between.
    for kind, root in ((STREAMS, data_dir / STREAMS), (QUARANTINE, data_dir / QUARANTINE), (ACTIVITY, data_dir)):
        old = open_identity(root, kind, disk, clock)
        new = replace(old, log=new_log_name(), created_at_ns=clock(), previous=(*old.previous, old.log))
        write_state(root / LOG / IDENTITY, asdict(new), disk)
        named.append(new.log)
    Stores(data_dir, named[-1], settings, clock, disk).load()
    claim(data_dir, disk)
    return named
