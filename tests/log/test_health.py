"""What a log says about its disk, and that it goes on whatever it cannot say."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import pytest

from otel_audit.archive.listing import scan_files
from otel_audit.archive.names import Stage
from otel_audit.config import Settings, load_settings
from otel_audit.disk import Disk
from otel_audit.errors import StorageError, UnwritableError
from otel_audit.log.engine import ActivityLog
from otel_audit.log.health import Health
from otel_audit.log.writer import Writer
from tests.faults.world import SETTINGS, Ledger, World
from tests.log.requests import record, request


class Roomy(Disk):
    """A disk with as much room as it is told."""

    free = 1 << 30

    def free_bytes(self, folder: Path) -> int:
        return self.free


def test_what_failed_is_told_until_something_works_or_it_is_long_ago(tmp_path: Path) -> None:
    now = [1_000.0]
    health = Health(tmp_path, Disk(), 0, lambda: now[0])
    assert health.trouble == ""
    health.failed(UnwritableError("no room"))
    assert health.trouble == "the last commit failed: no room"
    now[0] += 9
    assert health.trouble
    health.worked()
    assert health.trouble == ""
    health.failed(UnwritableError("no room"))
    now[0] += 11
    assert health.trouble == ""
    assert health.failures == 2


def test_a_commit_that_does_not_end_is_told(tmp_path: Path) -> None:
    now = [1_000.0]
    health = Health(tmp_path, Disk(), 0, lambda: now[0])
    health.began()
    now[0] += 9
    assert health.trouble == ""
    now[0] += 3
    assert health.trouble == "a commit has been under way for 12 s; the disk may not answer"
    health.worked()
    assert health.trouble == ""


def test_room_is_what_is_free_above_the_mark(tmp_path: Path) -> None:
    disk = Roomy()
    health = Health(tmp_path, disk, 1_000)
    disk.free = 1_500
    health.need_room(500)
    assert health.lack_of_room == ""
    with pytest.raises(UnwritableError, match="501 bytes to be written above the low-space mark of 1000"):
        health.need_room(501)
    disk.free = 999
    assert "999 bytes free, below the low-space mark" in health.lack_of_room


def test_a_file_system_that_does_not_answer_has_no_room(tmp_path: Path) -> None:
    health = Health(tmp_path / "gone", Disk(), 0)
    assert health.free_bytes() == 0
    assert "cannot look at" in health.lack_of_room


def test_a_merge_that_does_not_fit_above_the_mark_waits(tmp_path: Path) -> None:
    """It would take the room in which commits are accepted, and its inputs stay for a while as well."""
    disk, root = Roomy(), tmp_path / "data"
    world = World(root, disk, Ledger(), Settings({**SETTINGS, "min_free_bytes": 100_000, "index_run_rows": 1_000}))
    for name in "abc":
        world.send(request(record(name)))
    sizes = sum(path.stat().st_size for path in scan_files(root).values())
    disk.free = 100_000 + sizes - 1
    with pytest.raises(UnwritableError, match="low-space mark"):
        world.maintain()
    world.send(request(record("d")))
    disk.free = 1 << 30
    world.maintain()
    assert any(name.stage is Stage.MERGED for name in scan_files(root))


def test_a_log_below_the_mark_takes_nothing_and_says_why(tmp_path: Path) -> None:
    disk = Roomy()
    with ActivityLog.open(tmp_path, load_settings({}), disk=disk) as log:
        assert (log.ready, log.not_ready_reason) == (True, "")
        disk.free = 1_000
        assert not log.ready
        assert "low-space mark" in log.not_ready_reason
        assert log.stats().free_bytes == 1_000
        with pytest.raises(UnwritableError, match="low-space mark"):
            log.submit(request(record("a"))).result()
        disk.free = 1 << 30
        assert log.ready
        assert log.submit(request(record("a"))).result().committed == 1
        assert log.not_ready_reason == ""


class Mute(logging.Handler):
    """A handler whose lines cannot be written, and that lets it be known."""

    def emit(self, record: logging.LogRecord) -> None:
        raise OSError(28, os.strerror(28))


def test_a_thread_outlives_the_line_it_could_not_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger("otel_audit.log"), "handlers", [Mute()])
    real, calls = Writer.write, []

    def once_broken(self: Writer, requests: Any) -> Any:
        calls.append(requests)
        if len(calls) == 1:
            raise ZeroDivisionError
        return real(self, requests)

    monkeypatch.setattr(Writer, "write", once_broken)
    with ActivityLog.open(tmp_path, load_settings({}, min_free_bytes=0)) as log:
        with pytest.raises(StorageError, match="ZeroDivisionError"):
            log.submit(request(record("a"))).result(timeout=10)
        assert log.stats().failures == 1
        assert log.submit(request(record("a"))).result(timeout=10).committed == 1
