"""What is no stream's business any more: delivered files that are kept, refused ones, damaged ones."""

from __future__ import annotations

import multiprocessing
import os
import time
from contextlib import suppress
from pathlib import Path

import pytest

from otel_audit import disk as disk_module
from otel_audit.disk import Disk
from otel_audit.errors import SpoolFileError, UnwritableError
from otel_audit.spool.format import HEAD_BYTES, Header, Kind, format_entry, format_header
from otel_audit.spool.places import ASIDE, PARKED, SENT, STREAMS, SegmentName
from otel_audit.spool.pools import Pools, read_file
from tests.faults.append_disk import AppendDisk
from tests.faults.disk import Fault
from tests.spool.plain import new_spool

HEADER = Header("s1", 1, "http://here", b"service", "https://schema")


@pytest.fixture
def pools(tmp_path: Path) -> Pools:
    return new_spool(tmp_path / "spool")


def a_file(pools: Pools, name: SegmentName, size: int = 10, stream_id: str = "s1") -> Path:
    folder = pools.root / STREAMS / stream_id
    folder.mkdir(exist_ok=True)
    path = folder / name.format()
    path.write_bytes(bytes(size))
    return path


def sent(pools: Pools, *sizes: int) -> list[Path]:
    """Delivered files, oldest first."""
    found = []
    for at, size in enumerate(sizes, start=1):
        name = SegmentName(at, at)
        pools.take_in(a_file(pools, name, size), "s1", name, SENT)
        found.append(pools.root / SENT / f"s1.{name.format()}")
        time.sleep(0.002)  # the clock of a file system is coarse
    return found


def there(*paths: Path) -> list[bool]:
    return [path.exists() for path in paths]


# --- taken in ---


@pytest.mark.parametrize("pool", [SENT, ASIDE])
def test_a_file_is_moved_whole_under_its_streams_name(pools: Pools, pool: str) -> None:
    name = SegmentName(3, 17)
    path = a_file(pools, name)
    path.write_bytes(b"content")
    pools.take_in(path, "s1", name, pool)
    assert not path.exists()
    assert (pools.root / pool / f"s1.{name.format()}").read_bytes() == b"content"


@pytest.mark.parametrize("pool", [SENT, ASIDE])
def test_a_file_that_a_crash_left_under_both_names_is_taken_in_again(pools: Pools, pool: str) -> None:
    name = SegmentName(3, 17)
    path = a_file(pools, name)
    os.link(path, pools.root / pool / f"s1.{name.format()}")
    pools.take_in(path, "s1", name, pool)
    assert there(path, pools.root / pool / f"s1.{name.format()}") == [False, True]


def test_a_file_that_somebody_removed_is_no_trouble(pools: Pools) -> None:
    pools.take_in(pools.root / STREAMS / "s1" / "gone", "s1", SegmentName(1, 1), SENT)


def test_a_copy_that_cannot_be_kept_is_given_up_and_the_stream_goes_on(pools: Pools) -> None:
    """No room for another name on a full disk, or the pool is gone."""
    (pools.root / SENT).rmdir()
    name = SegmentName(1, 1)
    path = a_file(pools, name)
    pools.take_in(path, "s1", name, SENT)
    assert not path.exists()


def test_a_damaged_file_that_cannot_be_set_aside_stays(pools: Pools) -> None:
    (pools.root / ASIDE).rmdir()
    (pools.root / ASIDE).write_bytes(b"no folder")
    name = SegmentName(1, 1)
    path = a_file(pools, name)
    with pytest.raises(UnwritableError):
        pools.take_in(path, "s1", name, ASIDE)
    assert path.exists()


def test_what_is_no_spool_file_is_set_aside_under_a_name_of_its_own(pools: Pools) -> None:
    for content in ("one", "two", "three"):
        path = a_file(pools, SegmentName(1, 1)).with_name("notes.txt")
        path.write_text(content)
        pools.set_aside(path, "s1")
    names = ["s1.notes.txt", "s1.notes.txt.1", "s1.notes.txt.2"]
    assert [(pools.root / ASIDE / name).read_text() for name in names] == ["one", "two", "three"]


# --- parked ---


def test_refused_records_are_parked_with_the_peers_answer_and_all_that_is_needed_to_send_them(pools: Pools) -> None:
    path = pools.park(HEADER, [(5, b"five"), (6, b"six")], "HTTP 403 (no)", 1)
    header, entries = read_file(path)
    assert (header.stream_id, header.first, header.reason, header.rejected) == ("s1", 5, "HTTP 403 (no)", 1)
    assert (header.endpoint, header.resource, header.schema_url) == ("http://here", b"service", "https://schema")
    assert [(entry.number, entry.payload) for entry in entries] == [(5, b"five"), (6, b"six")]
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_same_records_refused_again_after_a_crash_are_parked_once(pools: Pools) -> None:
    pools.park(HEADER, [(5, b"five")], "first", 1)
    pools.park(HEADER, [(5, b"five")], "second", 1)
    (only,) = (pools.root / PARKED).iterdir()
    assert read_file(only)[0].reason == "second"


def test_what_a_crash_left_of_parking_is_in_nobodys_way(pools: Pools) -> None:
    """In a container every process has the same number."""
    path = pools.park(HEADER, [(5, b"five")], "first", 1)
    path.rename(path.with_name(f"{path.name}.{os.getpid()}.tmp"))
    assert pools.park(HEADER, [(5, b"five")], "second", 1) == path
    assert [each.name for each in (pools.root / PARKED).iterdir()] == [path.name]


def test_what_a_crash_left_of_parking_is_removed_after_a_while(pools: Pools) -> None:
    for name, age_s in (("old.tmp", 7200), ("young.tmp", 10)):
        (pools.root / PARKED / name).touch()
        os.utime(pools.root / PARKED / name, (time.time() - age_s,) * 2)
    pools.expire()
    assert [path.name for path in (pools.root / PARKED).iterdir()] == ["young.tmp"]


def test_parking_is_whole_or_not_at_all_whichever_operation_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk_module, "sync_handle", lambda handle: None)
    for at in range(3):
        for when in ("before", "half", "after"):
            disk = AppendDisk({})
            pools = new_spool(tmp_path / f"{at}-{when}", disk)
            disk.faults[len(disk.trace) + at] = Fault("fail", when)  # type: ignore[arg-type]
            with suppress(UnwritableError):
                pools.park(HEADER, [(5, b"five"), (6, b"six")], "no", 2)
            for _, path in pools.files(PARKED):
                assert len(read_file(path)[1]) == 2
            pools.park(HEADER, [(5, b"five"), (6, b"six")], "no", 2)
            assert len(pools.files(PARKED)) == 1


def test_kept_copies_give_way_to_refused_records_on_a_full_disk(tmp_path: Path) -> None:
    disk = AppendDisk({})
    pools = new_spool(tmp_path / "spool", disk)
    (copy,) = sent(pools, 500)
    disk.room = 10
    path = pools.park(HEADER, [(5, b"five")], "no", 1)
    assert there(copy, path) == [False, True]


def test_a_parked_file_that_was_delivered_after_all_is_kept_like_the_others(pools: Pools) -> None:
    """Beside the file of its stream that has the same numbers in its name."""
    (copy,) = sent(pools, 10)
    pools.unpark(pools.park(HEADER, [(1, b"one")], "no", 1))
    assert list((pools.root / PARKED).iterdir()) == []
    assert len(pools.files(SENT)) == 2 and copy.stat().st_size == 10


def test_a_damaged_parked_file_does_not_expire_with_the_others(pools: Pools) -> None:
    path = pools.park(HEADER, [(1, b"one"), (2, b"two")], "no", 2)
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    pools.unpark(path)
    assert [each.name for each in (pools.root / ASIDE).iterdir()] == [path.name]


def test_a_parked_file_that_is_gone_needs_no_more_done(pools: Pools) -> None:
    path = pools.park(HEADER, [(1, b"one")], "no", 1)
    path.unlink()
    pools.unpark(path)


def test_a_file_without_a_header_is_told_by_its_name(pools: Pools) -> None:
    path = a_file(pools, SegmentName(1, 1))
    with pytest.raises(SpoolFileError, match=r"00000001-0000000000000001\.spool"):
        read_file(path)


def test_of_a_damaged_file_the_sound_records_are_read(pools: Pools) -> None:
    path = a_file(pools, SegmentName(1, 1))
    parts = [format_header(HEADER), *(format_entry(Kind.RECORD, at, b"x") for at in (1, 2, 3))]
    path.write_bytes(parts[0] + parts[1] + b"\0" * HEAD_BYTES + parts[3])
    assert [entry.number for entry in read_file(path)[1]] == [1, 3]


# --- kept for a while ---


def test_delivered_files_go_when_they_are_too_old(tmp_path: Path) -> None:
    now_s = time.time()
    root = new_spool(tmp_path / "spool").root
    pools = Pools(root, Disk(), 60.0, 1 << 30, wall_s=lambda: now_s)
    files = sent(pools, 10, 20)
    assert pools.expire() == 0
    now_s += 61
    assert pools.expire() == 30
    assert there(*files) == [False, False]


def test_the_age_of_a_file_counts_from_its_delivery(tmp_path: Path) -> None:
    """One that waited for a week is kept as long as any other."""
    pools = Pools(new_spool(tmp_path / "spool").root, Disk(), 60.0, 1 << 30)
    name = SegmentName(1, 1)
    path = a_file(pools, name)
    os.utime(path, (time.time() - 7 * 86400,) * 2)
    pools.take_in(path, "s1", name, SENT)
    assert pools.expire() == 0


def test_the_oldest_delivered_files_go_when_there_are_too_many(tmp_path: Path) -> None:
    pools = Pools(new_spool(tmp_path / "spool").root, Disk(), 3600.0, 250)
    files = sent(pools, 100, 100, 100)
    assert pools.expire() == 100
    assert there(*files) == [False, True, True]
    assert pools.expire(keep_bytes=100) == 100
    assert there(*files) == [False, False, True]


def test_nothing_but_delivered_files_expires(tmp_path: Path) -> None:
    pools = Pools(new_spool(tmp_path / "spool").root, Disk(), 0.0, 0)
    waiting = a_file(pools, SegmentName(9, 9))
    parked = pools.park(HEADER, [(1, b"one")], "no", 1)
    damaged = a_file(pools, SegmentName(8, 8))
    pools.take_in(damaged, "s1", SegmentName(8, 8), ASIDE)
    (pools.root / SENT / "README").write_text("not ours")
    pools.expire(keep_bytes=0)
    assert there(waiting, parked, pools.root / SENT / "README") == [True] * 3
    assert len(list((pools.root / ASIDE).iterdir())) == 1


def test_a_spool_that_is_gone_has_nothing_in_it(tmp_path: Path) -> None:
    pools = Pools(tmp_path / "nowhere", Disk(), 0.0, 0)
    assert (pools.files(SENT), pools.expire(), pools.undelivered_bytes()) == ([], 0, (0, 0))


def test_what_waits_and_what_is_parked_counts_and_what_is_delivered_does_not(pools: Pools) -> None:
    waiting = a_file(pools, SegmentName(9, 9), 1000)
    a_file(pools, SegmentName(1, 1), 500, "s2")
    parked = pools.park(HEADER, [(1, b"one")], "no", 1)
    sent(pools, 5000)
    size = parked.stat().st_size
    assert pools.undelivered_bytes() == (1500, size)
    assert pools.undelivered_bytes({waiting.parent}) == (500, size)


def test_the_parked_files_are_looked_at_again_only_when_there_are_others(pools: Pools) -> None:
    first = pools.park(HEADER, [(1, b"one")], "no", 1)
    assert pools.parked().names == {first.name}
    second = pools.park(HEADER, [(2, b"two")], "no", 1)  # perhaps in the same tick of the file system's clock
    assert pools.parked().names == {first.name, second.name}
    os.utime(pools.root / PARKED, (time.time() - 60,) * 2)
    known = pools.parked()
    assert pools.parked() is known
    pools.unpark(first)
    assert (pools.parked().names, pools.parked().bytes) == ({second.name}, second.stat().st_size)


# --- several processes ---


def work_on(root: Path, name: str, rounds: int) -> None:
    pools = Pools(root, Disk(), 3600.0, 2000)
    for at in range(1, rounds + 1):
        pools.take_in(a_file(pools, SegmentName(at, at), 100, name), name, SegmentName(at, at), SENT)
        pools.unpark(pools.park(Header(name, 1, "", b""), [(at, b"x")], "no", 1))
        pools.expire()
        pools.undelivered_bytes()


def test_several_processes_can_use_the_same_pools_at_once(pools: Pools) -> None:
    """What one removes, another one has just listed."""
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=work_on, args=(pools.root, f"s{at}", 25)) for at in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0] * 4
    pools = Pools(pools.root, Disk(), 3600.0, 2000)
    pools.expire()
    assert sum(path.stat().st_size for _, path in pools.files(SENT)) <= 2000
