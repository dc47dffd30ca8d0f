"""Raw bytes go to files and pipes, and never to a terminal, which would act on them."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from otel_audit.log.held import held_records
from tests.cli.conftest import Done
from tests.log.test_budget import invalid
from tests.log.test_engine import open_log
from tests.spool.filled import FilledSpool


def on_terminal(*words: str) -> Done:
    """The command with a real terminal for its standard output."""
    ours, theirs = pty.openpty()
    try:
        done = subprocess.run(
            [sys.executable, "-m", "otel_audit.cli.main", *words],
            stdout=theirs, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, timeout=60, check=False,
        )  # fmt: skip
    finally:
        os.close(theirs)
    written = b""
    try:
        while piece := os.read(ours, 65536):
            written += piece
    except OSError:
        pass  # how Linux tells that nobody has the other end any more
    finally:
        os.close(ours)
    return Done(done.returncode, written.decode("latin-1"), done.stderr.decode())


@pytest.fixture
def commands(tmp_path: Path) -> dict[str, list[str]]:
    with open_log(tmp_path / "data") as log:
        log.submit(invalid("shop", "r")).result()
    (held,) = held_records(tmp_path / "data")
    FilledSpool(tmp_path / "spool").stream("s1").write(2)
    return {
        "quarantine": ["quarantine", "show", held.sha256, "--data", str(tmp_path / "data"), "--raw"],
        "spool": ["spool", "export", "--spool-dir", str(tmp_path / "spool"), "--raw"],
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", ["quarantine", "spool"])
def test_raw_bytes_are_refused_on_a_terminal_with_the_advice_to_redirect(
    commands: dict[str, list[str]], name: str
) -> None:
    done = on_terminal(*commands[name])
    assert (done.code, done.out) == (2, "")
    assert "redirect" in done.err


@pytest.mark.slow
def test_raw_bytes_of_a_held_record_come_whole_through_a_pipe(commands: dict[str, list[str]], tmp_path: Path) -> None:
    words = [sys.executable, "-m", "otel_audit.cli.main", *commands["quarantine"]]
    piped = subprocess.run(words, capture_output=True, check=True, timeout=60).stdout
    assert piped == held_records(tmp_path / "data")[0].request
    assert json.loads(subprocess.run(words[:-1], capture_output=True, check=True, timeout=60).stdout)["request"]
