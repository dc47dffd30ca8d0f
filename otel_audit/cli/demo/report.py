"""What the demo prints: short, in the order of the story, for somebody who has never seen this before."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from otel_audit.archive.listing import list_log
from otel_audit.archive.names import Stage
from otel_audit.cli.demo.answers import Answers, Questions
from otel_audit.cli.demo.timeline import bar
from otel_audit.cli.output import printable, terminal
from otel_audit.cli.status import byte_text
from otel_audit.model.record import ActivityRecord

__all__ = ["Report", "program"]

_WIDTH = 108
_BAR = 40
_MOST_FILES = 6
_SUBJECT_CHARS = 46
_STAGES = {Stage.SEALED: "sealed", Stage.MERGED: "hot, merged", Stage.COMMITTED: "hot"}


class Report:
    """Prints to stdout; plain text off a terminal."""

    def __init__(self) -> None:
        self._console = terminal(sys.stdout)
        self._console.width = min(self._console.width, _WIDTH)
        self._unicode = "utf" in (sys.stdout.encoding or "").lower()

    def heading(self, text: str) -> None:
        """Begin a part."""
        self._console.print()
        self._console.print(Text(printable(text), style="bold cyan"))

    def line(self, text: str, style: str = "") -> None:
        """One line of text."""
        self._console.print(Text(f"  {printable(text)}", style=style))

    def good(self, text: str) -> None:
        """Something that was checked and holds."""
        self._console.print(Text.assemble(("  ✔ " if self._unicode else "  ok ", "bold green"), printable(text)))

    def records(self, records: Iterable[ActivityRecord], *, with_entity: bool) -> None:
        """Activities of the imported history."""
        rows = []
        for record in records:
            subject = str(record.metadata.get("subject", ""))
            row: list[Any] = [
                record.occurred_at.strftime("%Y-%m-%d %H:%M"),
                record.actor_name or record.actor_id,
                record.action,
            ]
            if with_entity:
                row.append("" if record.entity_ref is None else record.entity_ref.entity_id)
            short = subject if len(subject) <= _SUBJECT_CHARS else f"{subject[: _SUBJECT_CHARS - 1]}…"
            rows.append([*row, short])
        heads = ["when (UTC)", "who", "did what", *(["to which file"] if with_entity else []), "in which commit"]
        self._table(heads, rows)

    def actors(self, actors: Sequence[tuple[str, int]]) -> None:
        """The top actors."""
        most = max((count for _, count in actors), default=1)
        self._table(
            ["who", "activities", ""],
            [[actor, f"{count:,}", self._bar(count, most)] for actor, count in actors],
            right=(1,),
        )

    def timeline(self, questions: Questions, answers: Answers) -> None:
        """The chart."""
        most = max((count for _, count in answers.timeline), default=1)
        rows = [
            [label, f"{count:,}", self._bar(count, most)]
            for label, (_, count) in zip(questions.labels, answers.timeline, strict=True)
        ]
        self._table([questions.unit, "activities", ""], rows, right=(1,))

    def files(self, data_dir: Path) -> tuple[int, int]:
        """The files; gives their rows and bytes."""
        files = list_log(data_dir).files
        sized = [(file, file.path.stat().st_size) for file in files]
        rows = [
            [
                file.path.parent.relative_to(data_dir),
                f"{file.name.first:,} … {file.name.last:,}",
                _STAGES[file.name.stage],
                f"{file.name.rows:,}",
                byte_text(size),
                f"{size / file.name.rows:,.0f}",
            ]
            for file, size in sized[-_MOST_FILES:]
        ]
        self._table(["folder", "log index", "state", "rows", "size", "bytes/record"], rows, right=(3, 4, 5))
        if len(sized) > _MOST_FILES:
            self.line(f"… and {len(sized) - _MOST_FILES:,} more", "dim")
        return sum(file.name.rows for file, _ in sized), sum(size for _, size in sized)

    def code(self, text: str) -> None:
        """Something to type, or what was run."""
        for line in text.splitlines():
            self._console.print(Text(f"    {printable(line)}", style="yellow"), soft_wrap=True)

    def _table(self, heads: Sequence[str], rows: Iterable[Sequence[Any]], right: tuple[int, ...] = ()) -> None:
        table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
        table.add_column("")
        for at, head in enumerate(heads):
            side = "right" if at in right else "left"
            table.add_column(head, justify=side, overflow="fold", no_wrap=at == 0)  # type: ignore[arg-type]
        for row in rows:
            table.add_row("", *(Text(printable(str(cell))) for cell in row))
        self._console.print(table)

    def _bar(self, count: int, most: int) -> str:
        return bar(count, max(most, 1), _BAR, unicode=self._unicode)


def program() -> str:
    """How this program was called, so that the commands printed can be copied."""
    called = Path(sys.argv[0])
    found = shutil.which("otel-audit")
    if found is not None and Path(found).resolve() == called.resolve():
        return "otel-audit"
    if called.name == "otel-audit":
        return os.path.relpath(called)
    return "python -m otel_audit.cli.main"
