"""Reading a repository with the `git` program.

Only plumbing is called, with fixed options and a clean environment: the answer depends on the objects, not on how
somebody likes to see them.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from otel_audit.cli.git.history import FORMAT, HistoryCommit, parse_history
from otel_audit.errors import ImportSourceError

__all__ = ["Repository", "open_repository"]

_CHUNK_BYTES = 1 << 16
_RENAMES = ("--find-renames=50%", "--find-copies=50%", "-l1000")
"""Fixed, because a status is part of an activity's id; bounded, because renames cost time by the square."""

_REDIRECTIONS = {
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_DIR",
    "GIT_EXTERNAL_DIFF",
    "GIT_GRAFT_FILE",
    "GIT_INDEX_FILE",
    "GIT_NAMESPACE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
    "GIT_SHALLOW_FILE",
    "GIT_WORK_TREE",
}


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository as it was when it was opened.

    Attributes:
        name: what it is called, without any path of this machine: the remote's last part, else the folder's name.
        head: the commit the history is read from.
        commits: how many there are.
        boundary: the commits where a shallow clone was cut off.
    """

    path: Path
    name: str
    head: str
    commits: int
    boundary: frozenset[str]

    def history(self) -> Iterator[HistoryCommit]:
        """Every commit, parents first; one in memory at a time.

        Raises:
            ImportSourceError: git failed, with its own words.
        """
        with tempfile.TemporaryFile() as complaints:
            listing = _start(self.path, "rev-list", "--reverse", "--topo-order", self.head, errors=complaints)
            diffs = _start(
                self.path,
                "diff-tree", "--stdin", "--always", "-r", "--root", "-z", "--raw", "--no-abbrev", *_RENAMES,
                "--encoding=UTF-8", f"--format={FORMAT}",
                errors=complaints, stdin=listing.stdout,
            )  # fmt: skip
            assert listing.stdout is not None and diffs.stdout is not None
            listing.stdout.close()  # ours; rev-list ends when diff-tree lets go of the other end
            try:
                yield from parse_history(iter(lambda: diffs.stdout.read(_CHUNK_BYTES), b""))  # type: ignore[union-attr]
                failed = diffs.wait() or listing.wait()
            finally:
                diffs.stdout.close()
                for process in (diffs, listing):
                    if process.poll() is None:
                        process.terminate()
                    process.wait()
            if failed:
                complaints.seek(0)
                raise ImportSourceError(f"git could not read the history: {_last_line(complaints.read())}")


def open_repository(path: Path, revision: str = "HEAD") -> Repository:
    """Look at a repository: a work tree, any folder in it, or a bare one.

    Raises:
        ImportSourceError: git is not installed, no repository there, nothing committed, or no such revision.
    """
    if not path.is_dir():
        raise ImportSourceError(f"{path}: no such folder")
    git_dir = _ask(path, "rev-parse", "--absolute-git-dir", problem=f"{path}: not a git repository")
    head = _ask(
        path, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}",
        problem=f"{path}: no commit at {revision}",
    )  # fmt: skip
    commits = int(_ask(path, "rev-list", "--count", head, problem=f"{path}: the history cannot be counted"))
    shallow = Path(_ask(path, "rev-parse", "--git-path", "shallow", problem=f"{path}: not a git repository"))
    cut = path / shallow
    boundary = frozenset(cut.read_text(encoding="ascii").split()) if cut.is_file() else frozenset()
    return Repository(path, _name(path, Path(git_dir)), head, commits, boundary)


def _name(path: Path, git_dir: Path) -> str:
    remote = _run(path, "config", "--get", "remote.origin.url").stdout
    last = os.fsdecode(remote).strip().rstrip("/").replace("\\", "/").rpartition("/")[2].rpartition(":")[2]
    folder = _run(path, "rev-parse", "--show-toplevel").stdout
    candidates = (last, Path(os.fsdecode(folder).rstrip("\n")).name, git_dir.name)
    names = (candidate.removesuffix(".git") for candidate in candidates)
    name = next((name for name in names if name), "repository")
    return os.fsencode(name).decode("utf-8", "backslashreplace")[:256]


def _ask(path: Path, *words: str, problem: str) -> str:
    done = _run(path, *words)
    if done.returncode:
        said = _last_line(done.stderr)
        raise ImportSourceError(f"{problem}{f' ({said})' if said else ''}")
    return os.fsdecode(done.stdout).rstrip("\n")


def _run(path: Path, *words: str) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(
            _command(path, words), env=_environment(), stdin=subprocess.DEVNULL, capture_output=True, check=False
        )
    except OSError as error:
        raise _no_git(error) from error


def _start(
    path: Path, *words: str, errors: IO[bytes], stdin: IO[bytes] | int | None = subprocess.DEVNULL
) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            _command(path, words), env=_environment(), stdin=stdin, stdout=subprocess.PIPE, stderr=errors
        )
    except OSError as error:
        raise _no_git(error) from error


def _no_git(error: OSError) -> ImportSourceError:
    return ImportSourceError(f"the program git could not be started: {error.strerror}")


def _command(path: Path, words: tuple[str, ...]) -> list[str]:
    return ["git", "--no-pager", "--no-replace-objects", "-C", str(path), *words]


def _environment() -> dict[str, str]:
    # A hook or an alias runs with GIT_DIR set, which would answer for another repository than the one named.
    kept = {name: value for name, value in os.environ.items() if name not in _REDIRECTIONS}
    return kept | {"LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"}


def _last_line(said: bytes) -> str:
    lines = said.decode("utf-8", "backslashreplace").strip().splitlines()
    return lines[-1] if lines else ""
