"""However the bed ends, nothing of it goes on: no process, no mount."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

_WAIT_S = 30.0


def processes_of(folder: Path) -> list[str]:
    """Command lines of all processes that were told of the folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command, environment = (entry / "cmdline").read_bytes(), (entry / "environ").read_bytes()
        except OSError:
            continue  # it has just ended
        if str(folder).encode() in command + environment:
            found.append(command.decode().replace("\0", " "))
    return found


def wait_until(true: Callable[[], bool]) -> bool:
    end = time.monotonic() + _WAIT_S
    while not (done := true()) and time.monotonic() < end:
        time.sleep(0.05)
    return done


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, 130), (signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)],
    ids=["SIGTERM", "SIGINT", "SIGKILL"],
)
def test_an_interrupted_bed_leaves_no_process_and_no_mount(tmp_path: Path, number: int, code: int) -> None:
    folder = tmp_path / "bed"
    command = [sys.executable, "-m", "tests.torture", "--folder", str(folder), "--durability", "memory"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as bed:
        ledgers = folder / "ledgers"
        assert wait_until(lambda: bed.poll() is not None or any(ledgers.glob("*"))), "no producer has begun"
        assert len(processes_of(folder)) > 5
        bed.send_signal(number)
        assert bed.wait(_WAIT_S) == code, bed.stderr and bed.stderr.read().decode()
    assert wait_until(lambda: not processes_of(folder)), processes_of(folder)
    assert str(folder) not in Path("/proc/self/mounts").read_text()
