"""What the demo imports: a repository's history, or the bundled sample where there is none."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from otel_audit.cli.append import record_from_line
from otel_audit.cli.git.importing import Tally, flush_patiently, import_history
from otel_audit.cli.git.repository import Repository, open_repository
from otel_audit.errors import ImportSourceError
from otel_audit.ports import ActivityLogWriter

__all__ = ["Source", "find_source"]

_PATIENCE_S = 120.0
_SAMPLE_OWNER = "lantern"


@dataclass(frozen=True, slots=True)
class Source:
    """A history to show.

    Attributes:
        owner: whose data it is.
        commits: how many there are.
        what: one line for a person.
        repository: None for the sample.
    """

    owner: str
    commits: int
    what: str
    repository: Repository | None = None

    def send(self, writer: ActivityLogWriter, progress: Callable[[int, int], None]) -> Tally:
        """Send all of it and wait until it is acknowledged; errors as for `import_history`."""
        if self.repository is not None:
            return import_history(self.repository, writer, self.owner, patience_s=_PATIENCE_S, progress=progress)
        began = time.monotonic()
        records = [record_from_line(line) for line in _sample()]
        writer.append_many(records, timeout_s=_PATIENCE_S)
        flush_patiently(writer, _PATIENCE_S)
        progress(self.commits, len(records))
        return Tally(commits=self.commits, sent=len(records), seconds=time.monotonic() - began)


def find_source(path: Path | None) -> Source:
    """The repository named; else the one this folder is in; else the sample.

    Raises:
        ImportSourceError: `path` was given and is no repository with commits.
    """
    try:
        repository = open_repository(Path() if path is None else path)
    except ImportSourceError as error:
        if path is not None:
            raise
        sample = _sample()
        commits = len({record_from_line(line).metadata["commit"] for line in sample})
        return Source(_SAMPLE_OWNER, commits, f"the bundled sample of a made-up project ({error})")
    cut = ", a shallow clone" if repository.boundary else ""
    return Source(
        repository.name,
        repository.commits,
        f"git history of {repository.name}: {repository.commits:,} commits{cut}",
        repository,
    )


def _sample() -> list[bytes]:
    return (files("otel_audit.cli") / "sample.jsonl").read_bytes().splitlines()
