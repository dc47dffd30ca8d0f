"""The faulty disk for files that grow, and for folders that come and go.

To the model of `disk.py` it adds: what was appended is durable when the file was fsynced after it, and until then any
part of it may be there; a cut is durable no sooner; a rename between two folders is two changes; a process that is gone
does nothing more; and files that are written past the disk (`owner`, `delivered`) are never durable.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

from otel_audit.disk import FILE_MODE, FOLDER_MODE, AppendFile, Disk
from otel_audit.errors import UnwritableError
from tests.faults.disk import LOSSES, Content, Died, Fault, FaultyDisk, Loss, _apply, _Folder, _Node, spoilt

__all__ = ["ANY_CHANGE", "A_GROWTH", "AppendDisk", "Scattered"]


@dataclass(frozen=True)
class Scattered(Loss):
    """A power loss after which each change is there or not, and each file whole or not, as the dice fall."""

    seed: int = 0


SCATTERED = [Scattered(False, False, "torn", seed) for seed in range(4)]
ANY_CHANGE = [
    Fault("fail", "before"),
    Fault("fail", "after"),
    Fault("die", "before"),  # between two operations the peer may have answered, and that may have been noted
    Fault("die", "after"),
    *(Fault("power", "after", loss) for loss in (*LOSSES, *SCATTERED)),
]
A_GROWTH = [
    Fault("fail", "half"),
    Fault("die", "half"),
    *(Fault("power", when, Loss(True, True, how)) for when in ("half", "after") for how in ("whole", "hole", "empty")),
]


@dataclass
class _Growing(_Node):
    """`content` as the system has it, `safe` as the last fsync left it; None before the first."""

    safe: bytes | None = None

    def after(self, how: Content) -> bytes:
        if self.safe is None:
            return spoilt(self.content, how)
        if self.content.startswith(self.safe):
            return self.safe + spoilt(self.content[len(self.safe) :], how)
        return self.content if how == "whole" else self.safe


@dataclass
class _Loose(_Node):
    """A file that was not written through the disk."""


class _File(AppendFile):
    def __init__(self, path: Path, handle: int, disk: AppendDisk, node: _Growing) -> None:
        super().__init__(path, handle)
        self._disk, self._node = disk, node

    def append(self, content: bytes) -> None:
        self._disk.take_room(len(content))

        def write(part: bytes) -> None:
            AppendFile.append(self, part)
            self._node.content += part

        self._disk.do("append", lambda: write(content), lambda: write(content[: len(content) // 2]))

    def sync(self) -> None:
        def effect() -> None:
            self._node.safe = self._node.content

        self._disk.do("sync", effect)

    def truncate(self, size: int) -> None:
        def effect() -> None:
            AppendFile.truncate(self, size)
            self._node.content = self._node.content[:size]

        self._disk.do("truncate", effect)


class AppendDisk(FaultyDisk):
    """Attributes:
    room: bytes that can still be written; None: any number.
    """

    def __init__(self, faults: dict[int, Fault]) -> None:
        super().__init__(faults)
        self.room: int | None = None
        self._dead = False

    def do(self, kind: str, effect: Callable[[], None], half: Callable[[], None] | None = None) -> None:
        """One operation, with what is to go wrong at it."""
        if self._dead:
            raise Died("long ago")
        try:
            super()._do(kind, effect, half)
        except Died:
            self._dead = True
            raise

    _do = do

    def revive(self) -> None:
        """Another process uses the disk."""
        self._dead = False

    def take_room(self, size: int) -> None:
        """Raise UnwritableError if there is not so much."""
        if self.room is not None:
            if size > self.room:
                raise UnwritableError("the disk is full") from OSError(errno.ENOSPC, "no space left on device")
            self.room -= size

    def create(self, path: Path, mode: int) -> AppendFile:
        made: list[_File] = []

        def effect() -> None:
            node = _Growing(b"")
            handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
            made.append(_File(path, handle, self, node))
            self._nodes[path] = node
            self._change(path.parent, {path.name: node})

        try:
            self._do("create", effect)
        except BaseException:
            for file in made:
                file.close()
            raise
        return made[0]

    def write_new(self, path: Path, content: bytes | memoryview, mode: int = FILE_MODE) -> None:
        self.take_room(len(content))
        super().write_new(path, content, mode)

    def fsync_folder(self, folder: Path) -> None:
        def effect() -> None:
            self._look(folder)
            self._folders.setdefault(folder, _Folder()).sync()

        self._do("fsync_folder", effect)

    def replace(self, tmp: Path, final: Path) -> None:
        def effect() -> None:
            node = self._nodes.pop(tmp, None) or _Loose(tmp.read_bytes())
            Disk.replace(self, tmp, final)
            self._nodes[final] = node
            if tmp.parent == final.parent:
                self._change(final.parent, {tmp.name: "gone", final.name: node})
            else:
                self._change(tmp.parent, {tmp.name: "gone"})
                self._change(final.parent, {final.name: node})

        self._do("replace", effect)

    def unlink(self, path: Path) -> None:
        if not path.exists():
            return

        def effect() -> None:
            self._look(path.parent)
            if self.room is not None:
                self.room += path.stat().st_size
            Disk.unlink(self, path)
            self._nodes.pop(path, None)
            self._change(path.parent, {path.name: "gone"})

        self._do("unlink", effect)

    def make_folder(self, folder: Path, mode: int = FOLDER_MODE) -> None:
        FaultyDisk.make_folder(self, folder)

    def remove_folder(self, folder: Path) -> None:
        def effect() -> None:
            Disk.remove_folder(self, folder)
            self._change(folder.parent, {folder.name: "gone"})

        self._do("remove_folder", effect)

    def spoil(self, path: Path, at: int) -> None:
        """Flip a bit of a file, as old age does."""
        content = bytearray(path.read_bytes())
        content[at] ^= 1
        path.write_bytes(content)
        node = self._nodes[path]
        node.content = bytes(content)
        if isinstance(node, _Growing):
            node.safe = node.content

    def _look(self, folder: Path) -> None:
        """Take note of what was written past the disk."""
        if not folder.is_dir():
            return
        for path in folder.iterdir():
            if path.is_file():
                node = self._nodes.get(path)
                if node is None:
                    node = self._nodes[path] = _Loose(b"")
                    self._change(folder, {path.name: node})
                if isinstance(node, _Loose):
                    node.content = path.read_bytes()

    def _restore(self, folder: Path, loss: Loss, copy: Path) -> None:
        copy.mkdir()
        self._look(folder)
        for name, node in self._left(folder, loss).items():
            if node is None:
                self._restore(folder / name, loss, copy / name)
            else:
                how = loss.content
                if isinstance(loss, Scattered):
                    how = Random(f"{loss.seed} {folder.name} {name}").choice(("whole", "torn", "hole", "empty"))
                whole = node.synced
                left = node.after(how) if isinstance(node, _Growing) else spoilt(node.content, how)
                (copy / name).write_bytes(node.content if whole else left)

    def _left(self, folder: Path, loss: Loss) -> dict[str, _Node | None]:
        known = self._folders.setdefault(folder, _Folder())
        if not isinstance(loss, Scattered):
            return known.after(loss)
        left = dict(known.durable)
        for at, change in enumerate(known.pending):
            if Random(f"{loss.seed} {folder.name} {at}").random() < 0.5:
                _apply(left, change)
        return left
