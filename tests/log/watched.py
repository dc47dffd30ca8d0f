"""The real disk, with somebody who looks at each call before it is made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from otel_audit.disk import FILE_MODE, Disk
from otel_audit.errors import UnwritableError


class Watched(Disk):
    """The real disk; `before` may look at each call, wait, or raise."""

    def __init__(self) -> None:
        self.before: Callable[[str, Path], None] = lambda call, path: None

    def write_new(self, path: Path, content: bytes | memoryview, mode: int = FILE_MODE) -> None:
        self.before("write_new", path)
        super().write_new(path, content, mode)

    def fsync_folder(self, folder: Path) -> None:
        self.before("fsync_folder", folder)
        super().fsync_folder(folder)

    def unlink(self, path: Path) -> None:
        self.before("unlink", path)
        super().unlink(path)


def failing(call: str, ending: str) -> Callable[[str, Path], None]:
    """Every such call for such a path fails."""

    def before(made: str, path: Path) -> None:
        if made == call and path.name.endswith(ending):
            raise UnwritableError(f"{call} failed")

    return before
