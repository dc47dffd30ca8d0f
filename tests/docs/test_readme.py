"""The README is a transcript: its programs run and print what it says they print; its links lead somewhere."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from tests.e2e.processes import CollectorProcess

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.S)


def test_the_first_example_prints_what_the_readme_shows_and_sql_agrees(tmp_path: Path) -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    with CollectorProcess(tmp_path / "otel-audit-data", min_free_bytes=0) as collector:
        program = blocks("python")[0].replace("http://127.0.0.1:4318", collector.url)
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=env, timeout=60)
        assert done.stderr == ""
        assert done.stdout == blocks("text")[0]
        transcript = next(block for block in blocks("console") if "otel-audit sql" in block)
        command, _, expected = transcript.removeprefix("$ ").partition("\n")
        assert shlex.split(command)[0] == "otel-audit"
        done = subprocess.run(
            [sys.executable, "-m", "otel_audit.cli.main", *shlex.split(command)[1:]],
            capture_output=True,
            text=True,
            env=env,
            cwd=tmp_path,
            timeout=60,
        )
        assert done.stderr == ""
        assert done.stdout == expected


def test_the_other_programs_run() -> None:
    for program in blocks("python")[1:]:
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stdout) == (0, "")


def test_every_link_of_the_documentation_leads_to_a_file() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\((?!http)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
