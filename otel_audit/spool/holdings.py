"""Every file of every stream, in whichever folder of the spool it lies. Changes nothing, beside living processes.

A living process appends to its newest file, and moves a file on once it is delivered. So a file may be longer, or
elsewhere, or gone by the time it is read: the folders are listed in the order in which files move, and a file that left
is looked for where it went.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from otel_audit.disk import TMP_SUFFIX
from otel_audit.errors import SpoolFileError, SpoolUnreadableError
from otel_audit.spool.format import Damage, Entry, Header, Kind, scan
from otel_audit.spool.places import (
    ASIDE,
    DELIVERED,
    OWNER,
    PARKED,
    SENT,
    STREAMS,
    PoolFile,
    SegmentName,
    is_stream_id,
)
from otel_audit.spool.reading import DeliveredMark, read_header

__all__ = ["Content", "Held", "Holdings", "holdings", "read_held", "read_waiting"]

_NO_HEADER = Header("", 0, "", b"")
_OF_A_STREAM = {OWNER, DELIVERED}


@dataclass(frozen=True, slots=True)
class Held:
    """One file.

    Attributes:
        pool: the folder it was found in.
        header: where none can be read, another file's of its stream, or an empty one.
        begin: where its entries begin.
        void_from: records with this number or above in it are void (their `append` raised); None: none are.
    """

    stream_id: str
    pool: str
    name: SegmentName
    path: Path
    header: Header
    begin: int
    void_from: int | None = None


@dataclass(frozen=True, slots=True)
class Content:
    """What could be read of a file: entries that count, and whether bytes among them are damaged."""

    entries: tuple[Entry, ...]
    is_damaged: bool

    @property
    def records(self) -> list[Entry]:
        """Those that are records."""
        return [entry for entry in self.entries if entry.kind == Kind.RECORD]


@dataclass(frozen=True, slots=True)
class Holdings:
    """What a spool holds.

    Attributes:
        files: by stream; a stream's own files in order, then what was refused of it.
        folders: the streams that have a folder, whether or not there is a file in it.
        strangers: what no spool puts there; in `aside` there is anything.
    """

    files: dict[str, list[Held]]
    folders: dict[str, Path]
    strangers: tuple[Path, ...]


def holdings(root: Path) -> Holdings:
    """Look through a spool.

    Raises:
        SpoolUnreadableError: there is none, or it cannot be read.
    """
    if not (root / STREAMS).is_dir():
        raise SpoolUnreadableError(f"there is no spool at {root}")
    try:
        return _looked_through(root)
    except OSError as error:
        raise SpoolUnreadableError(f"the spool {root} cannot be read: {error}") from error


def _looked_through(root: Path) -> Holdings:
    strangers: list[Path] = []
    folders = _folders(root, strangers)
    found: dict[tuple[str, SegmentName], Held] = {}
    for pool, stream_id, name, path in _listed(root, folders, strangers):
        held = _held(pool, stream_id, name, path)
        if held is None:
            continue
        key = (stream_id, name)
        # Seen before: it was moved in between, unless a crash left it under both names. Then it is delivered once more.
        if key not in found or not found[key].path.exists():
            found[key] = held
    files: dict[str, list[Held]] = {}
    for held in sorted(found.values(), key=lambda held: (held.stream_id, held.name.is_refused, held.name)):
        files.setdefault(held.stream_id, []).append(held)
    return Holdings({name: _placed(held) for name, held in files.items()}, folders, tuple(strangers))


def _folders(root: Path, strangers: list[Path]) -> dict[str, Path]:
    folders = {}
    for path in sorted((root / STREAMS).iterdir()):
        if path.is_dir() and is_stream_id(path.name):
            folders[path.name] = path
        else:
            strangers.append(path)
    return folders


def _listed(
    root: Path, folders: dict[str, Path], strangers: list[Path]
) -> Iterator[tuple[str, str, SegmentName, Path]]:
    """(pool, stream, name, path), in the order in which files move."""
    for stream_id, folder in folders.items():
        try:
            there = sorted(folder.iterdir())
        except FileNotFoundError:
            continue  # all of it was delivered just now
        for path in there:
            name = SegmentName.parse(path.name)
            if name is not None and not name.is_refused:
                yield STREAMS, stream_id, name, path
            elif path.name not in _OF_A_STREAM and path.suffix != TMP_SUFFIX:
                strangers.append(path)
    for pool in (PARKED, SENT, ASIDE):
        try:
            there = sorted((root / pool).iterdir())
        except FileNotFoundError:
            continue
        for path in there:
            parsed = PoolFile.parse(path.name)
            if parsed is not None:
                yield pool, parsed.stream_id, parsed.name, path
            elif path.suffix != TMP_SUFFIX and pool != ASIDE:
                strangers.append(path)


def _held(pool: str, stream_id: str, name: SegmentName, path: Path) -> Held | None:
    """None for a file that has gone: it is found where it went, or it was only a copy."""
    try:
        header, begin = read_header(path)
    except FileNotFoundError:
        return None
    except SpoolFileError:
        header, begin = _NO_HEADER, 0
    return Held(stream_id, pool, name, path, header, begin)


def _placed(files: list[Held]) -> list[Held]:
    """Each file knowing from which number on it is void (the first one of the file that follows it in the stream), and
    one without a header knowing its service from another one."""
    own = [held for held in files if not held.name.is_refused]
    following = {before.name: after.name.first for before, after in pairwise(own)}
    known = next((held.header for held in files if held.header.endpoint), _NO_HEADER)
    return [
        replace(
            held,
            header=held.header
            if held.begin
            else replace(known, stream_id=held.stream_id, first=0, reason="", rejected=0),
            void_from=None if held.name.is_refused else following.get(held.name),
        )
        for held in files
    ]


def read_held(held: Held, root: Path) -> Content | None:
    """What a file holds, wherever it lies by now; None when it is gone for good (only kept copies go).

    Raises:
        SpoolUnreadableError.
    """
    try:
        content = _bytes_of(held, root)
    except OSError as error:
        raise SpoolUnreadableError(f"{held.path} cannot be read: {error}") from error
    return None if content is None else _content(content, held)


def read_waiting(files: Iterable[Held], root: Path) -> Iterator[tuple[Held, Content]]:
    """Those files of a stream that are not delivered to their end, each with the entries that still wait.

    Raises:
        SpoolUnreadableError.
    """
    for held in files:
        if held.pool != STREAMS or not held.path.exists():
            continue
        sequence, offset, _ = DeliveredMark(held.path.parent).read()
        content = read_held(held, root)
        if content is not None:
            since = offset if held.name.sequence == sequence else 0
            yield held, replace(content, entries=tuple(entry for entry in content.entries if entry.start >= since))


def _bytes_of(held: Held, root: Path) -> bytes | None:
    pooled = PoolFile(held.stream_id, held.name).format()
    for path in (held.path, root / SENT / pooled, root / ASIDE / pooled):
        try:
            return path.read_bytes()
        except FileNotFoundError:
            continue
    return None


def _content(content: bytes, held: Held) -> Content:
    entries = []
    is_damaged = False
    for found in scan(content, held.begin):
        if isinstance(found, Damage):
            # At the end it is a write that is under way, or was cut short before anybody was told of it.
            is_damaged = is_damaged or not found.at_end
        elif found.kind != Kind.RECORD or held.void_from is None or found.number < held.void_from:
            entries.append(found)
    return Content(tuple(entries), is_damaged)
