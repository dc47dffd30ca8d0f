"""A data folder: made, recognised, owned by one process, and carrying the log's fixed name."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

from otel_audit.archive.extent import IDENTITY, LOG
from otel_audit.archive.footer import FORMAT_VERSION
from otel_audit.archive.listing import ARCHIVE, HOT, scan_files
from otel_audit.archive.names import is_log_name
from otel_audit.disk import TMP_SUFFIX, Disk
from otel_audit.errors import (
    ArchiveFaultError,
    FolderLockedError,
    NewerFormatError,
    NotADataFolderError,
    StorageError,
    UnwritableError,
)
from otel_audit.log.ownership import open_lock, refuse_others

__all__ = [
    "LOCK",
    "FolderLock",
    "Identity",
    "file_system",
    "new_log_name",
    "open_identity",
    "open_side_log",
    "read_identity",
    "read_owner",
    "write_state",
]

LOCK = "lock"
_LOCK_TRIES = 5
_OWNER_BYTES = 512
_NETWORK = ("nfs", "cifs", "smb", "fuse.sshfs", "9p", "ceph", "glusterfs", "lustre", "afs", "fuse.s3fs", "fuse.gcsfuse")


@dataclass(frozen=True, slots=True)
class Identity:
    """What a log is called, for ever; `kind` is "activity", "quarantine" or "streams".

    `previous`: the logs of the folder that this one is a copy of.
    """

    log: str
    kind: str
    created_at_ns: int
    format_version: int = FORMAT_VERSION
    previous: tuple[str, ...] = ()


def open_identity(root: Path, kind: str, disk: Disk, clock: Callable[[], int], log: str | None = None) -> Identity:
    """The identity of the log in `root`; an empty or new folder becomes a log, called `log` if that is given.

    Raises:
        WrongOwnerError: it, or a part of it, belongs to another user.
        NotADataFolderError: the folder holds something else.
        NewerFormatError: written by a later release.
        ArchiveFaultError: Parquet files of a log, but no identity.
        UnwritableError: it cannot be created.
    """
    parts = [root, *(root / name for name in (HOT, ARCHIVE, LOG))]
    refuse_others(*parts)
    for folder in reversed([root, *takewhile(lambda above: not above.exists(), root.parents)]):
        # A crash here, as below for the log's own folders, leaves some of them, empty; the next start goes on.
        disk.make_folder(folder)
    for part in parts:
        _refuse_network(part)
    identity = read_identity(root)
    if identity is not None:
        if identity.kind != kind:
            raise NotADataFolderError(f"{root} is a log of another kind ({identity.kind})")
        for name in (HOT, ARCHIVE):
            disk.make_folder(root / name)
        return identity
    if scan_files(root):
        raise ArchiveFaultError(f"{root}: Parquet files of a log, but {LOG}/{IDENTITY} is missing")
    for name in (HOT, ARCHIVE, LOG):
        disk.make_folder(root / name)
    identity = Identity(log or new_log_name(), kind, clock())
    # A crash before the file has its name leaves an empty folder, and perhaps a temporary file that nobody looks at;
    # the next start makes another identity. Nothing is written under this one before its name is durable.
    final = root / LOG / IDENTITY
    tmp = final.with_name(f"{IDENTITY}.{os.getpid()}{TMP_SUFFIX}")
    disk.unlink(tmp)
    disk.write_new(tmp, json.dumps(asdict(identity)).encode())
    try:
        disk.publish(tmp, final)
    except UnwritableError:
        # Another process was quicker: its name stands, and the lock decides which of the two goes on.
        disk.unlink(tmp)
        winner = read_identity(root)
        if winner is None:
            raise
        return winner
    disk.fsync_folder(final.parent)
    # A crash here leaves both names, and the temporary one stays for good: it holds the same, and nobody looks at it.
    disk.unlink(tmp)
    return identity


def open_side_log(root: Path, kind: str, marks: Mapping[str, int], disk: Disk, clock: Callable[[], int]) -> Identity:
    """The identity of a log beside the activities. One that held rows is never made anew in place of what has gone.

    Args:
        marks: the high-water marks of the logs that were here.

    Raises:
        ArchiveFaultError: the log that was here is not. Else as `open_identity`.
    """
    identity = read_identity(root)
    known = () if identity is None else (identity.log, *identity.previous)
    gone = [f"rows 0-{mark - 1} are missing (log {log})" for log, mark in marks.items() if mark and log not in known]
    if gone:
        raise ArchiveFaultError(f"{root}: " + "; ".join(gone))
    return open_identity(root, kind, disk, clock)


def read_identity(root: Path) -> Identity | None:
    """The identity of the log in `root`, or None when it has none yet. Raises as `open_identity`."""
    path = root / LOG / IDENTITY
    try:
        facts = json.loads(path.read_bytes())
        version = facts["format_version"]
        if version > FORMAT_VERSION:
            raise NewerFormatError(f"{root}: format {version}; this release knows up to {FORMAT_VERSION}")
        identity = Identity(
            facts["log"], facts["kind"], facts["created_at_ns"], version, tuple(facts.get("previous", ()))
        )
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ArchiveFaultError(f"{path}: not an identity: {error}") from None
    if not is_log_name(identity.log):
        raise ArchiveFaultError(f"{path}: {identity.log!r} is not the name of a log")
    return identity


def write_state(path: Path, state: dict[str, Any], disk: Disk) -> None:
    """Replace a small JSON file durably.

    A crash at any step leaves the old state or the new one, and perhaps a `.tmp` that the next write removes.
    """
    tmp = path.with_name(path.name + TMP_SUFFIX)
    disk.unlink(tmp)
    disk.write_new(tmp, json.dumps(state, separators=(",", ":")).encode())
    disk.replace(tmp, path)
    disk.fsync_folder(path.parent)


def new_log_name() -> str:
    """A name that no other log has."""
    return base64.b32encode(secrets.token_bytes(10)).decode().lower()


def _refuse_network(folder: Path) -> None:
    """A lock and an fsync mean too little on a network file system."""
    kind = file_system(folder)
    if kind.startswith(_NETWORK):
        raise StorageError(f"{folder} is on a network file system ({kind}); use a local disk")


def file_system(folder: Path) -> str:
    """The kind of file system a folder is on; "" where that is not known."""
    try:
        mounts = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""  # not Linux; the lock still guards against a second process on this machine
    target = str(folder.resolve())
    best, kind = "", ""
    for line in mounts:
        _, point, fstype, *_ = line.split(" ")
        point = point.replace("\\040", " ")
        inside = target == point or target.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, fstype
    return kind


class FolderLock:
    """Ownership of a data folder: an advisory lock, which the kernel lets go of however the process ends."""

    def __init__(self, root: Path) -> None:
        """Raises FolderLockedError naming the owner, WrongOwnerError, or UnwritableError."""
        path = root / LOG / LOCK
        try:
            self._handle = open_lock(path, os.O_RDWR | os.O_CREAT)
        except OSError as error:
            raise UnwritableError(f"cannot open {path}: {error.strerror}") from error
        for attempt in range(_LOCK_TRIES):
            try:
                fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                # `read_owner` holds the lock for an instant; an owner holds it for good.
                if attempt < _LOCK_TRIES - 1:
                    time.sleep(0.05)
        else:
            os.close(self._handle)
            owner = read_owner(root) or {}
            raise FolderLockedError(f"{root} is owned by process {owner.get('pid', 'unknown')}")
        try:
            self.announce(None)
        except UnwritableError:
            os.close(self._handle)
            raise

    def announce(self, url: str | None) -> None:
        """Write down who owns the folder and where it can be reached. Raises UnwritableError.

        A crash here leaves any text at all: whoever reads it takes it for "unknown", and the lock itself is gone.
        Over what stands there, which takes no new room: a full disk must not keep a log from being opened and read.
        """
        content = json.dumps({"pid": os.getpid(), "url": url}).encode().ljust(_OWNER_BYTES)
        try:
            os.pwrite(self._handle, content, 0)
            os.ftruncate(self._handle, len(content))
        except OSError as error:
            raise UnwritableError(f"cannot write the folder's lock file: {error.strerror}") from error

    def release(self) -> None:
        """Let go."""
        with suppress(OSError):  # what it says counts only while the lock is held
            os.pwrite(self._handle, b"{}".ljust(_OWNER_BYTES), 0)
        os.close(self._handle)


def read_owner(root: Path) -> dict[str, Any] | None:
    """`{"pid", "url"}` of the process that owns the folder now, or None."""
    try:
        handle = os.open(root / LOG / LOCK, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        try:
            owner = json.loads(os.pread(handle, 4096, 0))
            return owner if isinstance(owner, dict) else {}
        except ValueError:
            return {}
    else:
        return None
    finally:
        os.close(handle)
