"""Repositories made with `git fast-import`, so that every byte is the test's own, and a way to run a command."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pytest

from otel_audit.cli.main import main

CLEAN = {name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "OTEL_"))}


def git(path: Path, *words: str, stdin: bytes = b"") -> bytes:
    done = subprocess.run(["git", "-C", str(path), *words], input=stdin, capture_output=True, env=CLEAN, check=True)
    return done.stdout


class Stream:
    """Writes a fast-import stream, one commit after another on one branch unless told."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.mark = 0

    def commit(
        self,
        *changes: bytes,
        subject: bytes = b"change",
        author: bytes = b"Ada <ada@example.com> 1700000000 +0000",
        committer: bytes = b"Ada <ada@example.com> 1700000100 +0000",
        branch: bytes = b"main",
        parent: int | None = None,
        merge: int | None = None,
    ) -> int:
        self.mark += 1
        head = b"commit refs/heads/%b\nmark :%d\nauthor %b\ncommitter %b\ndata %d\n%b\n" % (
            branch, self.mark, author, committer, len(subject), subject,
        )  # fmt: skip
        parents = (b"from :%d\n" % parent if parent else b"") + (b"merge :%d\n" % merge if merge else b"")
        self.parts.append(head + parents + b"".join(change + b"\n" for change in changes) + b"\n")
        return self.mark


def put(path: bytes, content: bytes, mode: bytes = b"100644") -> bytes:
    """A change of fast-import: write a file."""
    return b"M %b inline %b\ndata %d\n%b" % (mode, path, len(content), content)


@pytest.fixture
def make_repository(tmp_path: Path) -> Callable[[Stream], Path]:
    """Turns a stream into a repository called "project"."""

    def make(stream: Stream) -> Path:
        path = tmp_path / "project"
        subprocess.run(["git", "init", "-q", "-b", "main", str(path)], check=True, env=CLEAN)
        git(path, "fast-import", "--quiet", stdin=b"".join(stream.parts))
        return path

    return make


@dataclass(frozen=True)
class Done:
    """What a command left behind."""

    code: int
    out: str
    err: str


class Invoke(Protocol):
    def __call__(self, *words: str, stdin: str = "", env: dict[str, str] | None = None) -> Done: ...


@pytest.fixture
def invoke(monkeypatch: pytest.MonkeyPatch) -> Iterator[Invoke]:
    """Runs a command line in this process, off a terminal, as `main` would."""
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)

    def run(*words: str, stdin: str = "", env: dict[str, str] | None = None) -> Done:
        out, err = io.StringIO(), io.StringIO()
        with monkeypatch.context() as patched, redirect_stdout(out), redirect_stderr(err):
            for name, value in (env or {}).items():
                patched.setenv(name, value)
            patched.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode()), encoding="utf-8"))
            with pytest.raises(SystemExit) as leaving:
                main(words)
        return Done(int(leaving.value.code or 0), out.getvalue(), err.getvalue())

    yield run
