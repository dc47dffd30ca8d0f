"""A real disk on which one chosen operation goes wrong, and a model of what power loss leaves of it.

The model is the worst that POSIX allows: a new entry, a removed one or a rename is durable when its folder was fsynced
after it, and until then it may or may not be there, each for itself; content is durable when the file was fsynced, and
until then the file may be whole, cut short, empty, or have a hole.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from otel_audit.disk import FILE_MODE, Disk
from otel_audit.errors import UnwritableError

Content = Literal["whole", "torn", "hole", "empty"]


@dataclass(frozen=True)
class Loss:
    """What a power loss does to what is not durable yet."""

    adds_kept: bool
    removes_kept: bool
    content: Content = "torn"


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong at one operation.

    Attributes:
        what: the call fails; the process dies; the machine loses power.
        when: before the operation took effect, half-way (a file half written), or after it.
    """

    what: Literal["fail", "die", "power"]
    when: Literal["before", "half", "after"]
    loss: Loss | None = None

    def __str__(self) -> str:
        loss = self.loss
        return f"{self.what}-{self.when}" + (
            f"-{'+' if loss.adds_kept else '-'}adds{'+' if loss.removes_kept else '-'}removes-{loss.content}"
            if loss
            else ""
        )


LOSSES = [Loss(adds, removes) for adds in (False, True) for removes in (False, True)]
ANY_OPERATION = [
    Fault("fail", "before"),
    Fault("fail", "after"),
    Fault("die", "after"),  # dying before an operation leaves what dying after the one before it does
    *(Fault("power", "after", loss) for loss in LOSSES),
]
A_WRITE = [
    Fault("fail", "half"),
    Fault("die", "half"),
    *(Fault("power", "half", Loss(True, True, content)) for content in ("whole", "torn", "hole", "empty")),
]


class Died(BaseException):
    """The process is gone: nothing may catch this but the test."""


@dataclass
class _Node:
    content: bytes
    synced: bool = False


@dataclass
class _Folder:
    durable: dict[str, _Node | None] = field(default_factory=dict)  # None: a folder
    pending: list[dict[str, _Node | Literal["gone"] | None]] = field(default_factory=list)

    def sync(self) -> None:
        for change in self.pending:
            _apply(self.durable, change)
        self.pending.clear()

    def after(self, loss: Loss) -> dict[str, _Node | None]:
        left = dict(self.durable)
        for change in self.pending:
            only_removes = all(node == "gone" for node in change.values())
            if loss.removes_kept if only_removes else loss.adds_kept:
                _apply(left, change)
        return left


def _apply(entries: dict[str, _Node | None], change: dict[str, _Node | Literal["gone"] | None]) -> None:
    for name, node in change.items():
        if node == "gone":
            entries.pop(name, None)
        else:
            entries[name] = node


class FaultyDisk(Disk):
    """`faults`: by number of the operation, counted over the disk's whole life.

    Attributes:
        trace: the operations so far, by kind.
        on_publish: called with a path as soon as a file has its name, as the quickest reader would.
    """

    def __init__(self, faults: dict[int, Fault], on_publish: Callable[[Path], None] = lambda _: None) -> None:
        self.faults = faults
        self.trace: list[str] = []
        self.on_publish = on_publish
        self._folders: dict[Path, _Folder] = {}
        self._nodes: dict[Path, _Node] = {}

    def _do(self, kind: str, effect: Callable[[], None], half: Callable[[], None] | None = None) -> None:
        fault = self.faults.get(len(self.trace))
        self.trace.append(kind)
        if fault is not None and fault.when == "half" and half is not None:
            half()
            _strike(fault, kind)
        if fault is not None and fault.when == "before":
            _strike(fault, kind)
        effect()
        if fault is not None and fault.when == "after":
            _strike(fault, kind)

    def _change(self, folder: Path, change: dict[str, _Node | Literal["gone"] | None]) -> None:
        self._folders.setdefault(folder, _Folder()).pending.append(change)

    def write_new(self, path: Path, content: bytes | memoryview, mode: int = FILE_MODE) -> None:
        node = _Node(bytes(content))

        def half() -> None:
            path.write_bytes(node.content[: len(node.content) // 2])
            self._nodes[path] = node
            self._change(path.parent, {path.name: node})

        def effect() -> None:
            super(FaultyDisk, self).write_new(path, content, mode)
            node.synced = True
            self._nodes[path] = node
            self._change(path.parent, {path.name: node})

        self._do("write_new", effect, half)

    def fsync_folder(self, folder: Path) -> None:
        self._do("fsync_folder", lambda: self._folders.setdefault(folder, _Folder()).sync())

    def fsync_file(self, path: Path) -> None:
        def effect() -> None:
            self._nodes[path].synced = True

        self._do("fsync_file", effect)

    def publish(self, tmp: Path, final: Path) -> None:
        def effect() -> None:
            super(FaultyDisk, self).publish(tmp, final)
            self._nodes[final] = self._nodes[tmp]
            self._change(final.parent, {final.name: self._nodes[tmp]})
            self.on_publish(final)

        self._do("publish", effect)

    def replace(self, tmp: Path, final: Path) -> None:
        def effect() -> None:
            super(FaultyDisk, self).replace(tmp, final)
            self._nodes[final] = self._nodes.pop(tmp)
            self._change(final.parent, {tmp.name: "gone", final.name: self._nodes[final]})

        self._do("replace", effect)

    def unlink(self, path: Path) -> None:
        if not path.exists():
            return

        def effect() -> None:
            super(FaultyDisk, self).unlink(path)
            del self._nodes[path]
            self._change(path.parent, {path.name: "gone"})

        self._do("unlink", effect)

    def make_folder(self, folder: Path) -> None:
        if not folder.exists():

            def effect() -> None:
                folder.mkdir()
                self._change(folder.parent, {folder.name: None})

            self._do("make_folder", effect)
        super().make_folder(folder)

    def free_bytes(self, folder: Path) -> int:
        return 1 << 40

    def know(self, root: Path) -> None:
        """Take everything that is in `root` for durable, as after a start of the machine."""
        for path in (root, *root.rglob("*")):
            entries = self._folders.setdefault(path.parent, _Folder()).durable
            entries[path.name] = None
            if path.is_file():
                entries[path.name] = self._nodes[path] = _Node(path.read_bytes(), synced=True)

    def after_power_loss(self, root: Path, loss: Loss, copy: Path) -> None:
        """Write what is left of `root` to `copy`; nothing when `root` itself is gone."""
        if root.name in self._folders.get(root.parent, _Folder()).after(loss):
            self._restore(root, loss, copy)

    def _restore(self, folder: Path, loss: Loss, copy: Path) -> None:
        copy.mkdir()
        for name, node in self._folders.get(folder, _Folder()).after(loss).items():
            if node is None:
                self._restore(folder / name, loss, copy / name)
            else:
                (copy / name).write_bytes(node.content if node.synced else spoilt(node.content, loss.content))


def _strike(fault: Fault, kind: str) -> None:
    if fault.what == "fail":
        raise UnwritableError(f"{kind} failed")
    raise Died(f"{fault} at {kind}")


def spoilt(content: bytes, how: Content) -> bytes:
    """What may be left of a file that was not fsynced."""
    cut = 2 * len(content) // 3
    # A hole in the rows of a Parquet file, its footer whole: that is what only reading every row can tell.
    is_parquet = content[-4:] == b"PAR1"
    rows_end = len(content) - 8 - int.from_bytes(content[-8:-4], "little") if is_parquet else cut
    start = rows_end // 3
    return {
        "whole": content,
        "torn": content[:cut],
        "hole": content[:start] + bytes(rows_end - start) + content[rows_end:],
        "empty": b"",
    }[how]
