"""A stream belongs to one process, for as long as that lives, and to nobody's children."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from otel_audit.spool.owner import OwnerLock, is_owned, owner_facts
from otel_audit.spool.places import OWNER, SegmentName
from tests.delivery.processes import die, ended_well, held_until_left, in_fork, killed
from tests.spool.interrupts import until


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "s1").mkdir()
    return tmp_path / "s1"


def created(folder: Path) -> OwnerLock:
    lock = OwnerLock.create(folder, {"pid": os.getpid()})
    assert lock is not None
    return lock


def can_be_taken(folder: Path) -> bool:
    lock = OwnerLock.take_over(folder)
    if lock is not None:
        lock.release()
    return lock is not None


def test_a_folder_has_one_owner_also_within_a_process(folder: Path) -> None:
    lock = created(folder)
    assert is_owned(folder)
    assert OwnerLock.take_over(folder) is None
    assert ended_well(in_fork(lambda: None if OwnerLock.take_over(folder) is None else die()))
    lock.release()
    assert not is_owned(folder)
    assert can_be_taken(folder)


def test_an_owner_that_is_killed_owns_nothing_any_more(folder: Path) -> None:
    killed(lambda: created(folder))
    assert not is_owned(folder)
    assert can_be_taken(folder)


def test_only_the_first_owner_is_created(folder: Path) -> None:
    created(folder).release()
    with pytest.raises(FileExistsError):
        OwnerLock.create(folder, {})


def test_whoever_creates_a_file_that_another_one_locks_first_is_not_the_owner(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, other = os.open, []

    def opened(path: Path, *args: int) -> int:
        handle = real(path, *args)
        if not other:
            monkeypatch.setattr(os, "open", real)
            other.append(OwnerLock.take_over(folder))
        return handle

    monkeypatch.setattr(os, "open", opened)
    assert OwnerLock.create(folder, {}) is None
    assert other[0] is not None


def test_a_folder_that_is_gone_is_nobodys(tmp_path: Path) -> None:
    assert OwnerLock.take_over(tmp_path / "gone") is None
    assert not is_owned(tmp_path / "gone")


def test_the_lock_on_a_file_that_was_removed_meanwhile_is_worth_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process had emptied the folder between the open and the lock."""
    created(folder).release()
    real = os.open

    def opened(path: Path, *args: int) -> int:
        handle = real(path, *args)
        (folder / OWNER).unlink()
        return handle

    monkeypatch.setattr(os, "open", opened)
    assert OwnerLock.take_over(folder) is None


def test_looking_takes_nothing(folder: Path) -> None:
    lock = created(folder)
    assert is_owned(folder)
    lock.release()
    assert not is_owned(folder)
    assert can_be_taken(folder)


def test_an_owner_says_who_it_is(folder: Path) -> None:
    created(folder)
    assert owner_facts(folder) == {"pid": os.getpid()}


@pytest.mark.parametrize("content", [b"", b"\xff", b"[1]", b"{", b"[" * 100_000])
def test_an_owner_that_says_nothing_readable_is_one_all_the_same(folder: Path, content: bytes) -> None:
    (folder / OWNER).write_bytes(content)
    assert owner_facts(folder) == {}


def test_releasing_twice_lets_go_of_nothing_else(folder: Path) -> None:
    lock = created(folder)
    lock.release()
    other = os.open(folder, os.O_RDONLY)  # takes the number that has become free
    lock.release()
    lock.abandon()
    os.close(other)


# --- what somebody else removes ---


def test_a_lock_that_somebody_removed_or_replaced_is_noticed(folder: Path) -> None:
    lock = created(folder)
    assert lock.is_held()
    (folder / OWNER).rename(folder / "elsewhere")
    assert not lock.is_held()
    (folder / OWNER).write_bytes(b"")
    assert not lock.is_held()
    (folder / "elsewhere").rename(folder / OWNER)
    assert lock.is_held()
    (folder / OWNER).unlink()
    folder.rmdir()
    assert not lock.is_held()


def test_a_folder_whose_lock_was_removed_is_still_its_living_owners(folder: Path) -> None:
    lock = created(folder)
    for sequence in range(1, 4):
        path = folder / SegmentName(sequence, sequence).format()
        path.write_bytes(b"")
        lock.guard(path)
    (folder / OWNER).unlink()
    assert is_owned(folder)
    assert not can_be_taken(folder)
    assert ended_well(in_fork(lambda: None if OwnerLock.take_over(folder) is None else die()))
    lock.release()
    assert not is_owned(folder)
    assert can_be_taken(folder)


def test_what_is_held_never_looks_old(folder: Path) -> None:
    lock = created(folder)
    file = folder / SegmentName(1, 1).format()
    file.write_bytes(b"")
    lock.guard(file)
    held = (folder / OWNER, file, folder)
    for path in held:
        os.utime(path, (0, 0))
    lock.touch()
    assert all(path.stat().st_mtime > 0 for path in held)


# --- forks ---


def test_a_child_that_lives_keeps_nothing_of_its_dead_parents_locked(folder: Path) -> None:
    with held_until_left() as (wait, _):

        def parent() -> None:
            created(folder)
            if os.fork() == 0:
                wait()
                os._exit(0)

        killed(parent)
        until(lambda: can_be_taken(folder))  # the child may only just have begun


def test_a_child_does_not_let_go_for_its_parent(folder: Path) -> None:
    lock = created(folder)
    assert ended_well(in_fork(lambda: (lock.release(), lock.abandon())))
    assert is_owned(folder)
    assert OwnerLock.take_over(folder) is None


def test_a_fork_at_any_moment_of_anothers_locking_inherits_no_lock(tmp_path: Path) -> None:
    """A thread of the parent takes and lets go all the time, and the children go on living."""
    stop = threading.Event()
    folders: list[Path] = []

    def lock_and_let_go() -> None:
        while not stop.is_set():
            folder = tmp_path / f"s{len(folders)}"
            folder.mkdir()
            folders.append(folder)
            lock = created(folder)
            is_owned(folder)
            lock.release()

    with held_until_left() as (wait, let_go):
        thread = threading.Thread(target=lock_and_let_go)
        thread.start()
        children = []
        while len(children) < 30 or len(folders) < 30:
            children.append(in_fork(wait))
        stop.set()
        thread.join()
        until(lambda: all(can_be_taken(folder) for folder in folders))
        let_go()
        assert all(ended_well(child) for child in children)
