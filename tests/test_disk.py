"""What makes a file survive power loss, where the operating system has more than one way to ask for it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from otel_audit import disk

UNKNOWN = 51
"""F_FULLFSYNC where there is one; Linux answers that it knows no such command."""


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The handles that the plain fsync was called with."""
    handles: list[int] = []
    real: Callable[[int], None] = os.fsync

    def fsync(handle: int) -> None:
        handles.append(handle)
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    return handles


def test_a_full_sync_is_asked_for_where_there_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, synced: list[int]
) -> None:
    monkeypatch.setattr(disk, "_FULL_SYNC", fcntl.F_GETFD)
    disk.Disk().write_new(tmp_path / "file", b"content")
    disk.Disk().fsync_folder(tmp_path)
    assert synced == []


@pytest.mark.parametrize("command", [None, UNKNOWN])
def test_where_there_is_none_it_is_the_plain_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, synced: list[int], command: int | None
) -> None:
    monkeypatch.setattr(disk, "_FULL_SYNC", command)
    disk.Disk().write_new(tmp_path / "file", b"content")
    disk.Disk().fsync_file(tmp_path / "file")
    disk.Disk().fsync_folder(tmp_path)
    assert len(synced) == 3


def test_a_full_sync_that_failed_is_not_made_up_for(monkeypatch: pytest.MonkeyPatch, synced: list[int]) -> None:
    """The plain one might succeed, for the kernel forgets what it could not write."""
    monkeypatch.setattr(disk, "_FULL_SYNC", fcntl.F_GETFD)
    closed, other = os.pipe()
    for handle in (closed, other):
        os.close(handle)
    with pytest.raises(OSError, match="Bad file descriptor"):
        disk.sync_handle(closed)
    assert synced == []
