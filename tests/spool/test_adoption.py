"""What a dead process left is taken over by one other process; what a living one has, by nobody."""

from __future__ import annotations

import os
import time
from collections import Counter
from pathlib import Path
from uuid import uuid4

import pytest

from otel_audit.disk import Disk
from otel_audit.errors import UnwritableError
from otel_audit.spool import owner
from otel_audit.spool.adoption import AdoptedStream, adopt
from otel_audit.spool.destination import Destination
from otel_audit.spool.format import Kind
from otel_audit.spool.owner import OwnerLock, is_owned
from otel_audit.spool.places import ASIDE, DELIVERED, OWNER, SENT, STREAMS, SegmentName, segments
from otel_audit.spool.pools import Pools
from otel_audit.spool.reading import DeliveredMark
from otel_audit.spool.stream import remove_stream
from tests.delivery.processes import end_of, ended_well, in_fork, killed
from tests.spool.plain import ENDPOINT, new_spool, own_stream


@pytest.fixture
def pools(tmp_path: Path) -> Pools:
    return new_spool(tmp_path / "spool")


class Adopter:
    """One that looks round, and what it was told."""

    def __init__(self, pools: Pools, endpoint: str | None = ENDPOINT) -> None:
        self._pools, self._destination = pools, endpoint and Destination(endpoint)
        self.told: list[tuple[str, str]] = []

    def look(self, *known: str) -> list[AdoptedStream]:
        return adopt(
            self._pools.root,
            self._destination,
            self._pools,
            Disk(),
            lambda path, what: self.told.append((path.name, what)),
            known=frozenset(known),
        )


def left_by_the_dead(pools: Pools, stream_id: str = "s1", *records: bytes, endpoint: str = ENDPOINT) -> Path:
    """A stream whose process was killed."""

    def life() -> None:
        own_stream(pools.root, stream_id, endpoint=endpoint).write(list(records) or [b"a"])

    killed(life)
    return pools.root / STREAMS / stream_id


def delivered(stream: AdoptedStream) -> list[bytes]:
    """All of a stream's records, after which it is removed."""
    found: list[bytes] = []
    while (batch := stream.reader.next_batch(None, 10, 1 << 20)) is not None:
        found += batch.records
        stream.reader.delivered(batch)
    stream.remove()
    return found


def streams(pools: Pools) -> list[str]:
    return sorted(path.name for path in (pools.root / STREAMS).iterdir())


# --- whose it is ---


def test_what_a_killed_process_left_is_taken_over_and_nothing_of_it_stays(pools: Pools) -> None:
    left_by_the_dead(pools, "s1", b"a", b"b")
    (stream,) = Adopter(pools).look()
    assert (stream.stream_id, stream.header.endpoint, stream.has_begun) == ("s1", ENDPOINT, True)
    assert delivered(stream) == [b"a#1", b"b#2"]
    assert streams(pools) == []
    assert len(pools.files(SENT)) == 1


def test_what_a_living_process_has_is_left_to_it(pools: Pools) -> None:
    stream = own_stream(pools.root)
    stream.write([b"a"])
    assert Adopter(pools).look() == []
    assert ended_well(in_fork(lambda: Adopter(pools).look() and os._exit(1)))
    stream.write([b"b"])
    stream.close()
    (adopted,) = Adopter(pools).look()
    assert delivered(adopted) == [b"a#1", b"b#2"]


def test_a_stream_is_taken_over_once(pools: Pools) -> None:
    left_by_the_dead(pools)
    (stream,) = Adopter(pools).look()
    assert Adopter(pools).look() == []
    stream.let_go()
    assert len(Adopter(pools).look()) == 1


def test_an_adopter_that_is_killed_leaves_it_to_the_next(pools: Pools) -> None:
    left_by_the_dead(pools, "s1", b"a", b"b")

    def life() -> None:
        (stream,) = Adopter(pools).look()
        batch = stream.reader.next_batch(None, 1, 1 << 20)
        assert batch is not None
        stream.reader.delivered(batch)

    killed(life)
    (stream,) = Adopter(pools).look()
    assert delivered(stream) == [b"b#2"]


def test_streams_that_are_known_are_not_looked_at(pools: Pools) -> None:
    left_by_the_dead(pools)
    assert Adopter(pools).look("s1") == []


def test_records_for_another_endpoint_are_left_alone(pools: Pools) -> None:
    folder = left_by_the_dead(pools, endpoint="http://there")
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert Adopter(pools).look() == []
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    assert not is_owned(folder)
    assert [stream.stream_id for stream in Adopter(pools, "http://there").look()] == ["s1"]


def test_one_for_any_endpoint_takes_all(pools: Pools) -> None:
    for stream_id, endpoint in (("s1", "http://here"), ("s2", "http://there")):
        left_by_the_dead(pools, stream_id, endpoint=endpoint)
    assert [stream.header.endpoint for stream in Adopter(pools, None).look()] == ["http://here", "http://there"]


def test_the_first_header_that_can_be_read_says_where_a_stream_is_to_go(pools: Pools) -> None:
    folder = left_by_the_dead(pools, endpoint="http://there")
    (folder / SegmentName(0, 1).format()).write_bytes(b"damaged")
    assert Adopter(pools).look() == []
    (other,) = Adopter(pools, "http://there").look()
    other.let_go()
    for _, path in segments(folder):
        path.write_bytes(b"damaged")
    (anybodys,) = Adopter(pools).look()
    assert anybodys.header.endpoint == ""


def test_no_spool_no_streams(tmp_path: Path) -> None:
    assert Adopter(Pools(tmp_path / "nowhere", Disk(), 0, 0)).look() == []


# --- what is no stream, or hardly one ---


def test_an_empty_folder_may_be_about_to_be_owned_and_goes_when_it_is_old(pools: Pools) -> None:
    folder = pools.root / STREAMS / "s1"
    folder.mkdir()
    assert Adopter(pools).look() == []
    assert streams(pools) == ["s1"]
    os.utime(folder, (time.time() - 3700,) * 2)
    assert Adopter(pools).look() == []
    assert streams(pools) == []


def test_a_stream_that_never_held_a_record_has_nothing_to_tell(pools: Pools) -> None:
    killed(lambda: own_stream(pools.root))
    (stream,) = Adopter(pools).look()
    assert not stream.has_begun
    assert delivered(stream) == []
    assert streams(pools) == []


def test_a_file_that_was_not_finished_when_its_process_died_held_no_record(pools: Pools) -> None:
    folder = left_by_the_dead(pools)
    (folder / f"{SegmentName(2, 2).format()}.tmp").write_bytes(b"half a head")
    adopter = Adopter(pools)
    (stream,) = adopter.look()
    assert delivered(stream) == [b"a#1"]
    assert (adopter.told, streams(pools)) == ([], [])


@pytest.mark.parametrize("left", [OWNER, DELIVERED, "00000001-0000000000000001.spool.tmp"])
def test_a_removal_that_a_crash_cut_short_is_ended(pools: Pools, left: str) -> None:
    """After a power loss the names that are left may be any of them."""
    folder = pools.root / STREAMS / "s1"
    folder.mkdir()
    (folder / left).touch()
    (stream,) = Adopter(pools).look()
    assert not stream.has_begun
    stream.remove()
    assert streams(pools) == []


def test_a_stream_that_was_delivered_and_not_removed_is_known_to_have_begun(pools: Pools) -> None:
    folder = pools.root / STREAMS / "s1"
    folder.mkdir()
    DeliveredMark(folder).write(3, 100, 17)
    (stream,) = Adopter(pools).look()
    assert stream.has_begun and stream.reader.last == 17


def test_what_does_not_belong_in_a_streams_folder_is_set_aside_and_told(pools: Pools) -> None:
    folder = left_by_the_dead(pools)
    (folder / "notes.txt").write_text("mine")
    (folder / "folder").mkdir()
    (folder / "folder" / "file").write_text("mine too")
    adopter = Adopter(pools)
    (stream,) = adopter.look()
    assert delivered(stream) == [b"a#1"]
    assert streams(pools) == []
    assert sorted(name for name, _ in adopter.told) == ["folder", "notes.txt"]
    assert (pools.root / ASIDE / "s1.notes.txt").read_text() == "mine"
    assert (pools.root / ASIDE / "s1.folder" / "file").read_text() == "mine too"


def test_what_is_no_streams_folder_stays_and_is_in_nobodys_way(pools: Pools) -> None:
    left_by_the_dead(pools, "s2")
    (pools.root / STREAMS / "s1").write_text("a file")
    (pools.root / STREAMS / "lost+found").mkdir()
    adopter = Adopter(pools)
    assert [stream.stream_id for stream in adopter.look()] == ["s2"]
    assert [name for name, _ in adopter.told] == ["s1"]
    assert streams(pools) == ["lost+found", "s1", "s2"]


def test_one_stream_that_cannot_be_looked_at_leaves_the_others_free(
    pools: Pools, monkeypatch: pytest.MonkeyPatch
) -> None:
    for stream_id in ("s1", "s2", "s3"):
        left_by_the_dead(pools, stream_id)
    real = DeliveredMark.read

    def read(self: DeliveredMark) -> tuple[int, int, int]:
        if self._path.parent.name == "s2":
            raise OSError("input/output error")
        return real(self)

    monkeypatch.setattr(DeliveredMark, "read", read)
    adopter = Adopter(pools)
    assert [stream.stream_id for stream in adopter.look()] == ["s1", "s3"]
    assert adopter.told == [("s2", "it cannot be looked at: input/output error")]
    assert not is_owned(pools.root / STREAMS / "s2")


# --- races ---


def test_a_folder_that_another_process_looks_into_as_it_is_removed_is_removed_by_that_one(pools: Pools) -> None:
    folder = left_by_the_dead(pools)
    (stream,) = Adopter(pools).look()
    late: list[OwnerLock | None] = []

    class Late(Disk):
        def unlink(self, path: Path) -> None:
            super().unlink(path)
            if path.name == OWNER:
                late.append(OwnerLock.take_over(folder))

    while (batch := stream.reader.next_batch(None, 10, 1 << 20)) is not None:
        stream.reader.delivered(batch)
    remove_stream(folder, Late())
    stream.let_go()
    (other,) = late
    assert other is not None and streams(pools) == ["s1"]
    other.release()
    (again,) = Adopter(pools).look()
    assert not again.has_begun
    again.remove()
    assert streams(pools) == []


def adopt_all(pools: Pools, log: Path) -> None:
    """Deliver into a file what can be had, until nothing is left for a while."""
    idle = 0
    with log.open("ab", buffering=0) as out:
        while idle < 20:
            found = Adopter(pools).look()
            for stream in found:
                for record in delivered(stream):
                    out.write(stream.stream_id.encode() + b" " + record + b"\n")
            idle = 0 if found else idle + 1
            time.sleep(0.005)


def test_many_adopters_at_once_share_the_streams(pools: Pools, tmp_path: Path) -> None:
    for at in range(30):
        own_stream(pools.root, f"s{at}").write([b"a", b"b"])
    names = [f"s{at}" for at in range(30)]
    in_this_process = [OwnerLock.take_over(pools.root / STREAMS / name) for name in names]
    assert in_this_process == [None] * 30, "they are alive"
    logs = [tmp_path / f"log-{at}" for at in range(4)]
    for lock in tuple(owner._held):
        lock.release()
    children = [in_fork(lambda log=log: adopt_all(pools, log)) for log in logs]  # type: ignore[misc]
    assert [end_of(pid) for pid in children] == [0] * 4
    found = Counter(line for log in logs for line in log.read_bytes().splitlines())
    assert found == Counter(f"{name} {record}".encode() for name in names for record in ("a#1", "b#2"))
    assert streams(pools) == []


def be_born_and_die(pools: Pools, rounds: int, log: Path) -> None:
    with log.open("ab", buffering=0) as out:
        for _ in range(rounds):
            stream = own_stream(pools.root, lambda: str(uuid4()), synced=False)
            for record in (b"a", b"b"):
                number = stream.write([record])
                out.write(f"{stream.stream_id} {record.decode()}#{number}\n".encode())
            stream.mark(Kind.CLOSED, b"end")
            assert len(segments(stream.folder)) == 1, "somebody took a living stream"
            stream.close()


def test_adopters_beside_streams_that_are_being_born_take_none_that_lives(pools: Pools, tmp_path: Path) -> None:
    born, adopted = ([tmp_path / f"{what}-{at}" for at in range(3)] for what in ("born", "adopted"))
    for log in adopted:
        log.touch()
    children = [in_fork(lambda log=log: be_born_and_die(pools, 40, log)) for log in born]  # type: ignore[misc]
    children += [in_fork(lambda log=log: adopt_all(pools, log)) for log in adopted]  # type: ignore[misc]
    assert [end_of(pid) for pid in children] == [0] * 6
    written = Counter(line for log in born for line in log.read_bytes().splitlines())
    found = Counter(line for log in adopted for line in log.read_bytes().splitlines())
    ends = [line for line in found if line.endswith(b" end")]
    assert len(written) == 240
    assert found - Counter(ends) == written
    assert len(ends) == 120
    assert streams(pools) == []


def test_a_stream_whose_folder_is_taken_before_it_is_owned_gets_another_one(
    pools: Pools, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Someone took the folder for a dead process's, in the moment between its making and its locking."""
    takers: list[OwnerLock | None] = []
    real = OwnerLock.create

    def create(folder: Path, facts: dict[str, object]) -> OwnerLock | None:
        if not takers:
            (folder / OWNER).touch()
            takers.append(OwnerLock.take_over(folder))
        return real(folder, facts)

    monkeypatch.setattr(OwnerLock, "create", create)
    ids = iter(["s1", "s2"])
    stream = own_stream(pools.root, lambda: next(ids), synced=False)
    assert takers[0] is not None
    assert (stream.stream_id, is_owned(stream.folder)) == ("s2", True)


def test_a_stream_that_cannot_be_removed_says_so_and_is_still_held(pools: Pools) -> None:
    left_by_the_dead(pools)
    (stream,) = Adopter(pools).look()

    class Stubborn(Disk):
        def unlink(self, path: Path) -> None:
            raise UnwritableError("cannot remove: read-only file system")

    stream._disk = Stubborn()
    while (batch := stream.reader.next_batch(None, 10, 1 << 20)) is not None:
        stream.reader.delivered(batch)
    with pytest.raises(UnwritableError):
        stream.remove()
    assert is_owned(stream.folder)
