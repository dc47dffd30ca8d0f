"""The output of `git diff-tree --stdin -z --raw`, read as commits. Pure: bytes in, commits out.

The stream is fields that end in NUL; what a field is follows from the ones before it, never from its content, so paths
and subjects may hold anything but NUL (line breaks, colons, any bytes):

    commit := "" id parents author_name author_email author_time committer_time subject change*
    change := [LF] ":" old_mode " " new_mode " " old_blob " " new_blob " " status  path [second path for R and C]
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from otel_audit.errors import ImportSourceError

__all__ = ["FORMAT", "FileChange", "HistoryCommit", "parse_history"]

_PLACES = ("%H", "%P", "%an", "%ae", "%at", "%ct", "%s")
FORMAT = "".join(f"%x00{place}" for place in _PLACES)
"""The `--format` that the grammar above describes. `%an` and `%ae`, not their mailmap twins: a mailmap may change
between two imports, and an activity that was recorded does not."""

_ID = re.compile(rb"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_CHANGE = re.compile(rb"\n?:(\d{6}) (\d{6}) [0-9a-f]+ [0-9a-f]+ ([A-Z])(\d{0,3})")
_TWO_PATHS = (b"R", b"C")
_MAX_FIELD_BYTES = 64 << 20
_SHOWN_BYTES = 60


@dataclass(frozen=True, slots=True)
class FileChange:
    """One touched file. `path` is the new one; `source` the old one of a rename or copy. Modes are six octal digits."""

    status: str
    path: bytes
    old_mode: str
    new_mode: str
    source: bytes | None = None
    score: int | None = None


@dataclass(frozen=True, slots=True)
class HistoryCommit:
    """One commit as git tells it, texts undecoded. Times are decimal seconds since 1970, or empty when unreadable."""

    id: str
    parents: tuple[str, ...]
    author_name: bytes
    author_email: bytes
    author_time: bytes
    committer_time: bytes
    subject: bytes
    changes: list[FileChange] = field(default_factory=list)


def parse_history(chunks: Iterable[bytes]) -> Iterator[HistoryCommit]:
    """The commits, one in memory at a time.

    Raises:
        ImportSourceError: the bytes are something else, or end in the middle of a commit.
    """
    fields = _fields(chunks)
    commit: HistoryCommit | None = None
    for token in fields:
        if not token:
            if commit is not None:
                yield commit
            commit = _commit(fields)
        elif (match := _CHANGE.fullmatch(token)) and commit is not None:
            commit.changes.append(_change(match, fields))
        else:
            raise _unexpected(token)
    if commit is not None:
        yield commit


def _commit(fields: Iterator[bytes]) -> HistoryCommit:
    commit_id, parents = _next(fields), _next(fields)
    if not _ID.fullmatch(commit_id):
        raise _unexpected(commit_id)
    if not all(map(_ID.fullmatch, parents.split())):
        raise _unexpected(parents)
    return HistoryCommit(
        commit_id.decode(),
        tuple(parents.decode().split()),
        _next(fields),
        _next(fields),
        _next(fields),
        _next(fields),
        _next(fields),
    )


def _change(match: re.Match[bytes], fields: Iterator[bytes]) -> FileChange:
    old_mode, new_mode, status, score = match.groups()
    first = _path(fields)
    second = _path(fields) if status in _TWO_PATHS else None
    return FileChange(
        status.decode(),
        first if second is None else second,
        old_mode.decode(),
        new_mode.decode(),
        None if second is None else first,
        int(score) if score else None,
    )


def _path(fields: Iterator[bytes]) -> bytes:
    path = _next(fields)
    if not path:
        raise ImportSourceError("git's answer holds an empty path")
    return path


def _next(fields: Iterator[bytes]) -> bytes:
    token = next(fields, None)
    if token is None:
        raise ImportSourceError("git's answer ends in the middle of a commit")
    return token


def _fields(chunks: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for chunk in chunks:
        *whole, last = chunk.split(b"\0")
        if whole:
            yield rest + whole[0]
            yield from whole[1:]
            rest = last
        else:
            rest += last
        if len(rest) > _MAX_FIELD_BYTES:
            raise ImportSourceError(f"git's answer holds a field of more than {_MAX_FIELD_BYTES} bytes")
    if rest.strip(b"\n"):
        raise ImportSourceError("git's answer ends in the middle of a field")


def _unexpected(token: bytes) -> ImportSourceError:
    return ImportSourceError(f"git's answer is not a history at {token[:_SHOWN_BYTES]!r}")
