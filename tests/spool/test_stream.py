"""The own stream: a record has its number when it is durable, and not before."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_audit import disk as disk_module
from otel_audit.disk import Disk
from otel_audit.errors import SpoolUnwritableError, UnwritableError
from otel_audit.spool import stream as stream_module
from otel_audit.spool.format import Kind
from otel_audit.spool.places import POOLS, STREAMS, segments
from otel_audit.spool.reading import read_header
from otel_audit.spool.stream import OwnStream, open_spool
from tests.faults.append_disk import AppendDisk
from tests.faults.disk import Fault
from tests.spool.interrupts import Interrupt, interrupting
from tests.spool.plain import Reading, new_spool, numbered, own_stream, records_in


@pytest.fixture
def root(tmp_path: Path) -> Path:
    new_spool(tmp_path / "spool")
    return tmp_path / "spool"


def files(stream: OwnStream) -> list[Path]:
    return [path for _, path in segments(stream.folder)]


def written(stream: OwnStream) -> list[bytes]:
    """What a reader gets once the stream's process is gone."""
    return Reading(stream.folder, new_spool(stream.folder.parent.parent)).take_all()


# --- the spool's folder ---


def test_a_spool_is_made_with_all_the_folders_above_it_and_is_ours_alone(tmp_path: Path) -> None:
    root = tmp_path / "a" / "b" / "spool"
    open_spool(root, POOLS, Disk())
    assert sorted(path.name for path in root.iterdir()) == sorted(POOLS)
    assert {path.stat().st_mode & 0o777 for path in (root, *root.iterdir())} == {0o700}
    open_spool(root, POOLS, Disk())


@pytest.mark.parametrize("name", POOLS)
def test_a_folder_of_the_spool_that_is_a_link_is_refused(tmp_path: Path, name: str) -> None:
    root = tmp_path / "spool"
    root.mkdir()
    (tmp_path / "elsewhere").mkdir()
    (root / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SpoolUnwritableError, match="is a link"):
        open_spool(root, POOLS, Disk())


def test_a_spool_may_be_reached_by_a_link_of_our_own(tmp_path: Path) -> None:
    (tmp_path / "volume").mkdir()
    (tmp_path / "spool").symlink_to(tmp_path / "volume")
    open_spool(tmp_path / "spool", POOLS, Disk())
    assert sorted(path.name for path in (tmp_path / "volume").iterdir()) == sorted(POOLS)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give folders to others")
@pytest.mark.parametrize("name", ["", *POOLS])
def test_a_folder_of_another_user_is_refused(tmp_path: Path, name: str) -> None:
    root = tmp_path / "spool"
    open_spool(root, POOLS, Disk())
    os.chown(root / name, 65534, 65534)
    with pytest.raises(SpoolUnwritableError, match="belongs to another user"):
        open_spool(root, POOLS, Disk())


def test_a_folder_that_is_there_already_is_made_durable_as_well(tmp_path: Path) -> None:
    """Whoever made it may have ended before it was; and the record that is promised in it is ours."""
    synced: list[Path] = []

    class Watched(Disk):
        def fsync_folder(self, folder: Path) -> None:
            synced.append(folder)
            super().fsync_folder(folder)

    root = tmp_path / "spool"
    for name in POOLS:
        (root / name).mkdir(parents=True)
    open_spool(root, POOLS, Watched())
    assert {tmp_path, root} <= set(synced)


def test_a_folder_around_the_spool_that_may_not_be_read_is_no_trouble(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It cannot be opened to be fsynced, and none of us made what is in it."""

    class Closed(Disk):
        def fsync_folder(self, folder: Path) -> None:
            assert folder != tmp_path
            super().fsync_folder(folder)

    (tmp_path / "spool").mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)
    open_spool(tmp_path / "spool", POOLS, Closed())
    assert sorted(path.name for path in (tmp_path / "spool").iterdir()) == sorted(POOLS)


def test_a_spool_where_a_file_stands_in_the_way_says_so(tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("mine")
    with pytest.raises(SpoolUnwritableError, match="spool"):
        open_spool(tmp_path / "spool", POOLS, Disk())
    assert (tmp_path / "spool").read_text() == "mine"


def test_a_stream_whose_folder_cannot_be_made_says_so(root: Path) -> None:
    (root / STREAMS).rmdir()
    with pytest.raises(SpoolUnwritableError):
        own_stream(root)


def test_an_id_that_is_taken_is_not_used_again(root: Path) -> None:
    first = own_stream(root)
    ids = iter(["s1", "s1", "s2"])
    other = own_stream(root, lambda: next(ids))
    assert (first.stream_id, other.stream_id) == ("s1", "s2")


# --- records ---


@given(st.lists(st.lists(st.binary(max_size=20), min_size=1, max_size=5), max_size=12), st.integers(1, 400))
def test_records_are_read_back_in_order_whatever_the_size_of_files(
    tmp_path_factory: pytest.TempPathFactory, groups: list[list[bytes]], segment_bytes: int
) -> None:
    pools = new_spool(tmp_path_factory.mktemp("spool"))
    stream = own_stream(pools.root, synced=False, segment_bytes=segment_bytes)
    numbers = [stream.write(group) for group in groups]
    records = numbered(*[record for group in groups for record in group])
    assert stream.last == len(records)
    assert numbers == [1 + sum(len(group) for group in groups[:at]) for at in range(len(groups))]
    reading = Reading(stream.folder, pools)
    assert reading.take_all(stream.written, most=3) == records
    assert reading.damage == []
    stream.close()


def test_a_file_of_full_size_is_finished_and_the_next_one_says_where_it_begins(root: Path) -> None:
    stream = own_stream(root, segment_bytes=300)
    for _ in range(5):
        stream.write([bytes(80)])
    found = [(name.sequence, name.first, len(records_in(path))) for name, path in segments(stream.folder)]
    assert found[0] == (1, 1, 2)
    assert [first for _, first, _ in found] == [1, 3, 5]
    assert [read_header(path)[0].first for path in files(stream)] == [1, 3, 5]


def test_another_resource_goes_into_another_file(root: Path) -> None:
    """A file's header names the service all of its records come from."""
    described = (b"one", "")
    stream = own_stream(root, resource=lambda: described)
    stream.write([b"a"])
    described = (b"two", "https://schema")
    stream.write([b"b"])
    stream.write([b"c"])
    headers = [read_header(path)[0] for path in files(stream)]
    assert [(header.resource, header.schema_url, header.first) for header in headers] == [
        (b"one", "", 1),
        (b"two", "https://schema", 2),
    ]


def test_a_marker_takes_no_number(root: Path) -> None:
    stream = own_stream(root)
    stream.write([b"a"])
    stream.mark(Kind.MARKER, b"word")
    assert stream.write([b"b"]) == 2
    stream.close()
    assert written(stream) == [b"a#1", b"word", b"b#2"]


def test_a_closed_stream_takes_nothing_and_makes_no_file(root: Path) -> None:
    stream = own_stream(root)
    stream.close()
    with pytest.raises(UnwritableError, match="closed"):
        stream.write([b"late"])
    assert files(stream) == []


def test_what_is_written_to_a_file_that_somebody_has_removed_is_not_promised(root: Path) -> None:
    """A cleaner of temporary folders, say: the next record is in a new file."""
    stream = own_stream(root)
    stream.write([b"a"])
    files(stream)[0].unlink()
    with pytest.raises(UnwritableError, match="removed"):
        stream.write([b"b"])
    assert stream.write([b"c"]) == 2
    stream.close()
    assert written(stream) == [b"c#2"]


# --- what fails takes no number ---


def test_appends_that_fail_on_a_full_disk_leave_one_file_and_use_up_no_names(root: Path) -> None:
    disk = AppendDisk({})
    stream = own_stream(root, disk=disk)
    stream.write([b"a"])
    disk.room = 300  # for headers, and for no such record
    for _ in range(20):
        with pytest.raises(UnwritableError):
            stream.write([bytes(1_000)])
        disk.room = 300
    disk.room = None
    assert stream.write([b"b"]) == 2
    assert [(name.sequence, name.first) for name, _ in segments(stream.folder)] == [(1, 1), (2, 2)]
    stream.close()
    assert written(stream) == [b"a#1", b"b#2"]


def test_an_exception_from_a_signal_handler_is_not_taken_for_the_disks(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = own_stream(root)
    stream.write([b"a"])
    expired = TimeoutError("the task took too long")

    def write(handle: int, content: bytes) -> int:
        raise expired

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", write)
        with pytest.raises(TimeoutError) as caught:
            stream.write([b"b"])
    assert caught.value is expired
    assert stream.write([b"c"]) == 2
    stream.close()
    assert written(stream) == [b"a#1", b"c#2"]


@pytest.fixture
def beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(disk_module, "sync_handle", lambda handle: None)
    return tmp_path


def operations_of_two_writes(root: Path) -> list[str]:
    disk = AppendDisk({})
    new_spool(root, disk)
    stream = own_stream(root, disk=disk)
    begin = len(disk.trace)
    stream.write([b"a"])
    stream.write([b"b", b"c"])
    stream.close()
    return ["before"] * begin + disk.trace[begin:]


def test_whichever_operation_of_a_write_fails_the_number_goes_to_the_next_record(beside: Path) -> None:
    trace = operations_of_two_writes(beside / "rehearsal")
    assert set(trace) == {"before", "create", "append", "sync", "replace", "fsync_folder"}
    for at, kind in enumerate(trace):
        for when in ("before", "half", "after"):
            if kind == "before" or (when == "half" and kind != "append"):
                continue
            root = beside / f"{at}-{when}"
            disk = AppendDisk({at: Fault("fail", when)})  # type: ignore[arg-type]
            pools = new_spool(root, disk)
            stream = own_stream(root, disk=disk)
            taken: list[bytes] = []
            for group in ([b"a"], [b"b", b"c"], [b"d"]):
                try:
                    first = stream.write(group)
                except UnwritableError:
                    continue
                assert first == len(taken) + 1
                taken += group
            assert len(taken) < 4, f"{kind} {when} raised nothing"
            assert Reading(stream.folder, pools).take_all(stream.written) == numbered(*taken), f"{kind} {when}"
            stream.close()


def test_a_file_is_never_synced_again_after_that_failed_once(beside: Path) -> None:
    disk = AppendDisk({})
    new_spool(beside / "spool", disk)
    stream = own_stream(beside / "spool", disk=disk)
    stream.write([b"a"])
    disk.faults[len(disk.trace) + 1] = Fault("fail", "before")  # the append goes well
    with pytest.raises(UnwritableError):
        stream.write([b"b"])
    assert disk.trace[-3:] == ["append", "sync", "truncate"]
    assert stream.write([b"c"]) == 2
    assert len(files(stream)) == 2


def test_a_stream_goes_on_when_the_disk_does(beside: Path) -> None:
    disk = AppendDisk({})
    new_spool(beside / "spool", disk)
    stream = own_stream(beside / "spool", disk=disk)
    stream.write([b"a"])
    disk.room = 0
    for _ in range(3):
        with pytest.raises(UnwritableError):
            stream.write([b"no"])
    disk.room = None
    assert stream.write([b"b"]) == 2
    stream.close()
    assert written(stream) == [b"a#1", b"b#2"]


# --- interrupted ---


def test_a_write_interrupted_at_any_moment_is_there_as_a_whole_or_not_at_all(beside: Path) -> None:
    """And no two records ever have the same number."""
    at = 0
    while True:
        root = beside / str(at)
        pools = new_spool(root)
        stream = own_stream(root, segment_bytes=100)
        taken = [b"a"]
        stream.write([b"a"])
        with interrupting(at, stream_module, disk_module) as struck, suppress(Interrupt):
            stream.write([b"b", b"c"])
        if stream.last > 1:
            assert stream.last == 3, struck.where
            taken += [b"b", b"c"]
        assert stream.write([b"d"]) == len(taken) + 1, struck.where
        taken += [b"d"]
        assert Reading(stream.folder, pools).take_all(stream.written) == numbered(*taken), struck.where
        stream.close()
        if not struck.where:
            break
        at += 1
    assert at > 30
