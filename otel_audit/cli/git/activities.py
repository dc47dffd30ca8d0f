"""Commits as activities: who touched which file of whose repository.

Everything in a record follows from the commit alone (no configuration, no mailmap, no clock), and its id is a UUIDv5
of repository, commit, status and path. So importing again, from any clone, adds nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from otel_audit.cli.git.history import FileChange, HistoryCommit
from otel_audit.errors import ImportSourceError
from otel_audit.model.ids import MAX_ID_CHARS
from otel_audit.model.record import EPOCH, LATEST, ActivityRecord, EntityRef

__all__ = ["ACTIONS", "EARLIEST", "TimeSource", "activities", "activity_id", "commit_time", "path_text"]

ACTIONS = {
    "A": "add_file",
    "M": "modify_file",
    "D": "delete_file",
    "R": "rename_file",
    "C": "copy_file",
    "T": "change_type",
}
SNAPSHOT = "snapshot_file"
"""A file that a shallow clone's oldest commits hold: it was there, but who added it lies beyond the cut."""
MERGE, EMPTY = "merge_commit", "empty_commit"

EARLIEST = EPOCH + timedelta(microseconds=1)
"""Where a commit stands whose dates no calendar holds; its metadata says so."""

TimeSource = Literal["author", "committer", "none"]

_NAMESPACE = UUID("92f59e48-9ce3-409b-8452-78e9323df09f")
_MAX_NAME_CHARS = 1024
_MAX_SUBJECT_CHARS = 2000
_DIGEST_CHARS = 16


def activities(commit: HistoryCommit, owner: str, *, boundary: bool = False) -> Iterator[ActivityRecord]:
    """One activity for each file the commit touched; one for the commit itself when it touched none (merges, empty
    commits), so that no commit is invisible.

    Args:
        owner: the repository's name; also its identity in the ids.
        boundary: the commit is where a shallow clone was cut off.

    Raises:
        ImportSourceError: a status that git does not document.
    """
    when, source = commit_time(commit)
    name = _text(commit.author_name)
    shared: dict[str, Any] = {
        "occurred_at": when,
        "actor_id": _bounded(_text(commit.author_email) or name or "unknown", MAX_ID_CHARS),
        "actor_name": _bounded(name, _MAX_NAME_CHARS) or None,
        "owner_id": owner,
    }
    about = {"commit": commit.id, "subject": _bounded(_text(commit.subject), _MAX_SUBJECT_CHARS)}
    if source != "author":
        # Only where it matters: the author's date is the rule.
        about |= {"date": source, "author_date": _text(commit.author_time)}
    if not commit.changes:
        merge = len(commit.parents) > 1
        yield ActivityRecord(
            record_id=activity_id(owner, commit.id, "commit", b""),
            action=MERGE if merge else EMPTY,
            entity_ref=EntityRef("Commit", commit.id),
            metadata=about | ({"parents": list(commit.parents)} if merge else {}),
            **shared,
        )
    for change in commit.changes:
        if change.status not in ACTIONS:
            raise ImportSourceError(f"commit {commit.id}: git gives a file the unknown status {change.status!r}")
        status = "snapshot" if boundary else change.status
        path = path_text(change.path)
        entity = _bounded(path, MAX_ID_CHARS)
        extra: dict[str, Any] = {}
        if entity != path:
            extra["path"] = path
        if change.source is not None:
            extra["from"] = path_text(change.source)
        yield ActivityRecord(
            record_id=activity_id(owner, commit.id, status, change.path),
            action=SNAPSHOT if boundary else ACTIONS[change.status],
            entity_ref=EntityRef("File", entity),
            metadata=about | extra,
            changes=_changes(change, path),
            **shared,
        )


def commit_time(commit: HistoryCommit) -> tuple[datetime, TimeSource]:
    """When the author wrote it; where that is unreadable or out of range, when it was committed; else `EARLIEST`."""
    candidates: tuple[tuple[bytes, TimeSource], ...] = (
        (commit.author_time, "author"),
        (commit.committer_time, "committer"),
    )
    for raw, source in candidates:
        # Checked as digits first: int() would also take "1_0" and blanks, and timedelta overflows on long ones.
        if raw.isdigit() and len(raw) <= len(b"9223372036"):
            moment = EPOCH + timedelta(seconds=int(raw))
            if EPOCH < moment < LATEST:
                return moment, source
    return EARLIEST, "none"


def activity_id(owner: str, commit_id: str, status: str, path: bytes) -> UUID:
    """RFC 9562 §5.5 over bytes, because a path need not be text."""
    name = b"\0".join((owner.encode(), commit_id.encode(), status.encode(), path))
    return UUID(bytes=hashlib.sha1(_NAMESPACE.bytes + name, usedforsecurity=False).digest()[:16], version=5)


def path_text(path: bytes) -> str:
    r"""A path as text, one to one. UTF-8 stays; any other is written as git itself shows it: `"caf\351.txt"`."""
    try:
        text = path.decode()
    except UnicodeDecodeError:
        text = ""
    if text and not text.startswith('"'):
        return text
    # A path that begins with a quote is quoted as well, so that it cannot be taken for a quoted one.
    quoted = "".join(chr(byte) if 0x20 <= byte < 0x7F and byte not in b'"\\' else f"\\{byte:03o}" for byte in path)
    return f'"{quoted}"'


def _changes(change: FileChange, path: str) -> dict[str, list[Any]] | None:
    changed: dict[str, list[Any]] = {}
    if change.source is not None:
        changed["path"] = [path_text(change.source), path]
    if change.status not in "AD" and change.old_mode != change.new_mode:
        changed["mode"] = [change.old_mode, change.new_mode]
    return changed or None


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "backslashreplace")


def _bounded(text: str, most: int) -> str:
    """Long text cut, with a digest of the whole, so that two long texts stay two."""
    if len(text) <= most:
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()[:_DIGEST_CHARS]
    return f"{text[: most - _DIGEST_CHARS - 1]}…{digest}"
