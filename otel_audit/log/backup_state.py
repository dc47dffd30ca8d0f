"""The small files of a log as a backup takes them: what it is, how far it has come, what of it is accepted as lost.

Not the lock, which says who owns a folder, nor the index of ids, which can be rebuilt.
"""

from __future__ import annotations

from pathlib import Path

from otel_audit.archive.extent import IDENTITY, LOG, LOST
from otel_audit.disk import TMP_SUFFIX, Disk
from otel_audit.errors import StorageError
from otel_audit.log.folder import LOCK

__all__ = ["is_loss", "read_state", "write_state"]

_INDEX = "ids"


def read_state(folder: Path) -> dict[str, bytes]:
    """The small files that say what a log is and how far it has come, by their paths in the folder."""
    try:
        paths = {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}
        return {
            key: path.read_bytes()
            for key, path in paths.items()
            if key != LOCK and path.suffix != TMP_SUFFIX and Path(key).parts[0] != _INDEX
        }
    except OSError as error:
        raise StorageError(f"{folder}: cannot be read now: {error.strerror}") from error


def is_loss(key: str) -> bool:
    """Whether a file says that rows are accepted as lost."""
    return Path(key).parts[0] == LOST


def write_state(target: Path, state: dict[str, bytes], disk: Disk) -> None:
    """Write a log's small files, its identity last: from then on the copy is a log."""
    for folder in (target, target / LOG):
        disk.make_folder(folder)
    for key in sorted(state, key=lambda key: key == IDENTITY):
        final = target / LOG / key
        if final.exists() and final.read_bytes() == state[key]:
            continue
        if final.parent != target / LOG:
            disk.make_folder(final.parent)
        tmp = final.with_name(final.name + TMP_SUFFIX)
        # A crash at any of these steps leaves the earlier state, which fits the rows as well: it says less of them.
        disk.unlink(tmp)
        disk.write_new(tmp, state[key])
        disk.replace(tmp, final)
        disk.fsync_folder(final.parent)
