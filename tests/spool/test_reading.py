"""Reading a stream back: in order, each record once, and damage stops nothing."""

from __future__ import annotations

import os
from pathlib import Path
from struct import pack
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_audit.errors import SpoolFileError
from otel_audit.spool.format import HEAD_BYTES, Entry, Header, Kind, format_entry, format_header, scan
from otel_audit.spool.places import ASIDE, DELIVERED, SENT, STREAMS, SegmentName, segments
from otel_audit.spool.pools import Pools
from otel_audit.spool.reading import DeliveredMark, read_header
from tests.spool.plain import Reading, new_spool, numbered, own_stream, records_in


@pytest.fixture
def pools(tmp_path: Path) -> Pools:
    return new_spool(tmp_path / "spool")


def left_stream(pools: Pools, *groups: list[bytes], segment_bytes: int = 1 << 20, stream_id: str = "s1") -> Path:
    """The folder of a stream whose process is gone."""
    stream = own_stream(pools.root, stream_id, segment_bytes=segment_bytes)
    for group in groups:
        stream.write(group)
    stream.close()
    return stream.folder


def paths(folder: Path) -> list[Path]:
    return [path for _, path in segments(folder)]


def entries(path: Path) -> list[Entry]:
    return [entry for entry in scan(path.read_bytes()) if isinstance(entry, Entry)]


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def in_pool(pools: Pools, pool: str) -> list[str]:
    return sorted(path.name for path in (pools.root / pool).iterdir())


# --- how far it is delivered ---

MARKS = st.tuples(st.integers(1, 2**32 - 1), st.integers(0, 2**63), st.integers(0, 2**63))


@given(st.lists(MARKS, max_size=5).map(sorted))
def test_the_mark_that_was_written_last_is_read(
    tmp_path_factory: pytest.TempPathFactory, marks: list[tuple[int, int, int]]
) -> None:
    folder = tmp_path_factory.mktemp("stream")
    mark = DeliveredMark(folder)
    assert mark.read() == (0, 0, 0)
    for each in marks:
        mark.write(*each)
        assert mark.read() == DeliveredMark(folder).read() == each


@given(st.lists(MARKS, min_size=2, max_size=4, unique=True).map(sorted), st.integers(0, 23), st.booleans())
def test_a_mark_that_was_cut_short_as_it_was_written_leaves_the_one_before(
    tmp_path_factory: pytest.TempPathFactory, marks: list[tuple[int, int, int]], length: int, zeros: bool
) -> None:
    folder = tmp_path_factory.mktemp("stream")
    mark = DeliveredMark(folder)
    for each in marks[:-1]:
        mark.write(*each)
    before = (folder / DELIVERED).read_bytes()
    mark.write(*marks[-1])
    whole = (folder / DELIVERED).read_bytes()
    slot = 24 * ((len(marks) - 1) % 2)
    part = whole[slot : slot + length] + (bytes(24 - length) if zeros else before[slot + length : slot + 24])
    (folder / DELIVERED).write_bytes(whole[:slot] + part + whole[slot + 24 :])
    assert DeliveredMark(folder).read() in (marks[-2], marks[-1])


@given(st.binary(max_size=100))
def test_any_bytes_are_no_mark(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    folder = tmp_path_factory.mktemp("stream")
    (folder / DELIVERED).write_bytes(content)
    assert DeliveredMark(folder).read() == (0, 0, 0)


# --- a stream that grows ---


def test_only_what_is_promised_is_read_of_a_stream_that_grows(pools: Pools) -> None:
    stream = own_stream(pools.root)
    stream.write([b"a"])
    before = stream.written
    stream.write([b"b"])
    reading = Reading(stream.folder, pools)
    assert reading.take_all(before) == [b"a#1"]
    assert reading.take_all(stream.written) == [b"b#2"]
    assert reading.take(stream.written) is None
    stream.write([b"c"])
    assert reading.take_all(stream.written) == [b"c#3"]
    assert reading.moved == [] and len(paths(stream.folder)) == 1


def test_a_file_is_kept_in_sent_when_it_is_delivered_and_another_one_grows(pools: Pools) -> None:
    stream = own_stream(pools.root, segment_bytes=150)
    reading = Reading(stream.folder, pools)
    for record in (b"a", b"b", b"c"):
        stream.write([record + bytes(100)])
        assert len(reading.take_all(stream.written)) == 1
    assert [pool for _, pool in reading.moved] == [SENT, SENT]
    assert in_pool(pools, SENT) == ["s1." + name for name, _ in reading.moved]
    reading.reader.finish()
    assert paths(stream.folder) == []


def test_a_file_that_appears_while_it_is_being_made_is_not_read_yet(pools: Pools) -> None:
    """It has its name before a record in it is promised, and may lose it again."""
    stream = own_stream(pools.root)
    stream.write([b"a"])
    (stream.folder / SegmentName(2, 2).format()).write_bytes(
        format_header(Header("s1", 2, "", b"")) + format_entry(Kind.RECORD, 2, b"not promised")
    )
    reading = Reading(stream.folder, pools)
    assert reading.take_all(stream.written) == [b"a#1"]


# --- batches ---


@given(
    st.lists(st.binary(max_size=30), max_size=20),
    st.integers(1, 6),
    st.integers(1, 80),
    st.integers(1, 300),
)
def test_batches_keep_order_and_limits_and_their_numbers_have_no_gap(
    tmp_path_factory: pytest.TempPathFactory, records: list[bytes], most: int, most_bytes: int, segment_bytes: int
) -> None:
    pools = new_spool(tmp_path_factory.mktemp("spool"))
    folder = left_stream(pools, *([record] for record in records), segment_bytes=segment_bytes)
    reading = Reading(folder, pools)
    found: list[bytes] = []
    numbers: list[int] = []
    while (batch := reading.take(None, most, most_bytes)) is not None:
        assert len(batch.records) <= most
        assert sum(map(len, batch.records)) <= most_bytes or len(batch.records) == 1
        assert list(batch.numbers) == list(range(batch.numbers[0], batch.numbers[0] + len(batch.records)))
        found += batch.records
        numbers += batch.numbers
    assert found == numbered(*records)
    assert numbers == list(range(1, len(records) + 1))
    assert reading.damage == []
    assert paths(folder) == []


def test_a_batch_is_of_one_resource(pools: Pools) -> None:
    described = (b"one", "")
    stream = own_stream(pools.root, resource=lambda: described)
    stream.write([b"a"])
    described = (b"two", "")
    stream.write([b"b"])
    stream.close()
    reading = Reading(stream.folder, pools)
    batches = [reading.take(), reading.take()]
    assert [(batch.header.resource, batch.records) for batch in batches if batch] == [
        (b"one", (b"a#1",)),
        (b"two", (b"b#2",)),
    ]


def test_markers_travel_alone_and_in_their_place(pools: Pools) -> None:
    stream = own_stream(pools.root)
    stream.write([b"a"])
    stream.mark(Kind.MARKER, b"word")
    stream.mark(Kind.MARKER, b"another")
    stream.write([b"b"])
    stream.mark(Kind.CLOSED, b"end")
    stream.close()
    reading = Reading(stream.folder, pools)
    batches = [batch for _ in range(4) if (batch := reading.take())]
    assert [(batch.is_marker, batch.records, batch.numbers) for batch in batches] == [
        (False, (b"a#1",), (1,)),
        (True, (b"word", b"another"), (1, 1)),
        (False, (b"b#2",), (2,)),
        (True, (b"end",), (2,)),
    ]
    assert reading.reader.closed


def test_a_stream_is_closed_only_if_its_end_says_so(pools: Pools) -> None:
    reading = Reading(left_stream(pools, [b"a"]), pools)
    reading.take_all()
    assert not reading.reader.closed
    assert reading.reader.last == 1


@pytest.mark.parametrize("size", [(1 << 20) - 30, 1 << 20, 3 << 20, 9 << 20])
def test_an_entry_longer_than_what_is_read_at_once_is_read_whole(pools: Pools, size: int) -> None:
    folder = left_stream(pools, [b"before", bytes(size), b"after"])
    reading = Reading(folder, pools)
    found = reading.take_all(None, 1000, 1 << 30)
    assert [len(record) for record in found] == [8, size + 2, 7]
    assert reading.damage == []


def test_more_than_is_read_at_once_is_read_bit_by_bit(pools: Pools) -> None:
    records = [bytes(300_000)] * 10
    reading = Reading(left_stream(pools, records), pools)
    assert reading.take_all(None, 1000, 1 << 30) == numbered(*records)


# --- a process that goes on where another one ended ---


@given(st.integers(0, 11), st.integers(1, 4), st.integers(1, 300))
def test_the_next_process_goes_on_where_the_last_one_noted_it_was(
    tmp_path_factory: pytest.TempPathFactory, delivered: int, most: int, segment_bytes: int
) -> None:
    pools = new_spool(tmp_path_factory.mktemp("spool"))
    records = [b"%d" % at for at in range(11)]
    folder = left_stream(pools, *([record] for record in records), segment_bytes=segment_bytes)
    first = Reading(folder, pools)
    given_first: list[bytes] = []
    while len(given_first) < delivered and (batch := first.take(None, most)) is not None:
        given_first += batch.records
    first.reader.next_batch(None, most, 1000)  # and this one nobody answered
    second = Reading(folder, pools)
    assert given_first + second.take_all() == numbered(*records)
    assert second.damage == []
    assert in_pool(pools, ASIDE) == []


def test_without_its_mark_a_stream_is_delivered_from_its_beginning(pools: Pools) -> None:
    folder = left_stream(pools, [b"a", b"b"])
    Reading(folder, pools).take(None, 1)
    (folder / DELIVERED).unlink()
    assert Reading(folder, pools).take_all() == numbered(b"a", b"b")


def test_where_the_mark_cannot_be_written_it_goes_on_and_says_so_once(
    pools: Pools, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is full must not have the same records sent for ever."""
    folder = left_stream(pools, [b"a", b"b", b"c"])
    reading = Reading(folder, pools)

    def full(self: DeliveredMark, *mark: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(DeliveredMark, "write", full)
    with pytest.raises(OSError, match="no space"):
        reading.take(None, 1)
    assert reading.take_all(None, 1) == [b"b#2", b"c#3"]


# --- what was never promised ---


@pytest.mark.parametrize("missing", [1, 5, HEAD_BYTES + 1, HEAD_BYTES + 3])
def test_a_write_that_was_cut_off_at_the_end_is_passed_over_in_silence(pools: Pools, missing: int) -> None:
    folder = left_stream(pools, [b"a"], [b"b"])
    (path,) = paths(folder)
    path.write_bytes(path.read_bytes()[:-missing])
    reading = Reading(folder, pools)
    assert reading.take_all() == [b"a#1"]
    assert (reading.damage, [pool for _, pool in reading.moved]) == ([], [SENT])
    again = Reading(folder, pools)
    assert again.take() is None and again.damage == []


def test_zeros_at_the_end_of_a_file_are_passed_over_in_silence(pools: Pools) -> None:
    """As a power loss leaves a write whose size was noted and whose content was not."""
    folder = left_stream(pools, [b"a"])
    (path,) = paths(folder)
    path.write_bytes(path.read_bytes() + bytes(5000))
    reading = Reading(folder, pools)
    assert reading.take_all() == [b"a#1"]
    assert reading.damage == []


def spoilt_stream(pools: Pools, tail: bytes) -> Path:
    """A file with a tail whose append raised, and the file after it, whose records have those numbers."""
    folder = left_stream(pools, [b"a"])
    (path,) = paths(folder)
    path.write_bytes(path.read_bytes() + tail)
    (folder / SegmentName(2, 2).format()).write_bytes(
        format_header(Header("s1", 2, "", b"")) + format_entry(Kind.RECORD, 2, b"b#2")
    )
    return folder


@pytest.mark.parametrize(
    "tail",
    [
        format_entry(Kind.RECORD, 2, b"void") + format_entry(Kind.RECORD, 3, b"void"),
        format_entry(Kind.RECORD, 2, b"void") + format_entry(Kind.RECORD, 3, b"void")[:-1],
        b"",
    ],
)
def test_records_whose_append_raised_are_void_when_the_next_file_says_so(pools: Pools, tail: bytes) -> None:
    folder = spoilt_stream(pools, tail)
    reading = Reading(folder, pools)
    assert reading.take_all() == [b"a#1", b"b#2"]
    assert (reading.damage, [pool for _, pool in reading.moved]) == ([], [SENT, SENT])


def test_records_whose_append_raised_are_void_also_when_they_are_read_one_by_one(pools: Pools) -> None:
    tail = format_entry(Kind.RECORD, 2, b"void") + format_entry(Kind.RECORD, 3, b"void")
    reading = Reading(spoilt_stream(pools, tail), pools)
    assert reading.take_all(None, 1) == [b"a#1", b"b#2"]


def test_a_number_is_void_in_every_earlier_file(pools: Pools) -> None:
    """Two appends in a row raised, each with a file of its own."""
    folder = left_stream(pools, [b"a"])
    (path,) = paths(folder)
    path.write_bytes(path.read_bytes() + format_entry(Kind.RECORD, 2, b"void"))
    header = format_header(Header("s1", 2, "", b""))
    (folder / SegmentName(2, 2).format()).write_bytes(header + format_entry(Kind.RECORD, 2, b"void too"))
    (folder / SegmentName(3, 2).format()).write_bytes(header + format_entry(Kind.RECORD, 2, b"b#2"))
    assert Reading(folder, pools).take_all() == [b"a#1", b"b#2"]


# --- damage ---


def test_a_damaged_entry_costs_itself_and_its_file_is_set_aside_whole(pools: Pools) -> None:
    folder = left_stream(pools, [b"a", b"b", b"c"])
    (path,) = paths(folder)
    hurt = entries(path)[2]
    flip(path, hurt.start + HEAD_BYTES)
    content = path.read_bytes()
    reading = Reading(folder, pools)
    assert reading.take_all() == [b"a#1", b"c#3"]
    assert reading.damage == [(path.name, f"{hurt.end - hurt.start} bytes at {hurt.start} are damaged")]
    assert reading.moved == [(path.name, ASIDE)]
    assert (pools.root / ASIDE / f"s1.{path.name}").read_bytes() == content
    assert in_pool(pools, SENT) == []


def test_a_batch_ends_where_a_number_is_missing(pools: Pools) -> None:
    """Whoever asks about a record goes by its place in the request."""
    folder = left_stream(pools, [b"a", b"b", b"c"])
    (path,) = paths(folder)
    flip(path, entries(path)[2].start + HEAD_BYTES)
    reading = Reading(folder, pools)
    batches = [batch for _ in range(2) if (batch := reading.take())]
    assert [batch.numbers for batch in batches] == [(1,), (3,)]


def test_damage_is_told_once_a_file(pools: Pools) -> None:
    folder = left_stream(pools, [b"a", b"b", b"c", b"d", b"e"])
    (path,) = paths(folder)
    for at in (2, 4):
        flip(path, entries(path)[at].start)
        entries_left = len(entries(path))
    assert entries_left == 4
    reading = Reading(folder, pools)
    reading.take_all(None, 1)
    assert len(reading.damage) == 1


def test_damage_that_was_passed_before_a_crash_is_still_known_after_it(pools: Pools) -> None:
    """Else the file would go with the sound ones, and expire with them."""
    folder = left_stream(pools, [b"a", b"b", b"c"])
    (path,) = paths(folder)
    flip(path, entries(path)[1].start + HEAD_BYTES)
    first = Reading(folder, pools)
    assert first.take(None, 10) is not None
    second = Reading(folder, pools)
    second.take_all()
    assert second.moved == [(path.name, ASIDE)]


@pytest.mark.parametrize("at", [0, 30, 70])
def test_without_a_header_records_are_delivered_without_their_service(pools: Pools, at: int) -> None:
    folder = left_stream(pools, [b"a", b"b"])
    (path,) = paths(folder)
    flip(path, at)
    reading = Reading(folder, pools)
    batch = reading.take()
    assert batch is not None
    assert batch.records == (b"a#1", b"b#2")
    assert (batch.header.stream_id, batch.header.resource) == ("s1", b"")
    assert reading.take() is None
    assert len(reading.damage) == 1 and reading.moved == [(path.name, ASIDE)]


def test_a_file_without_a_header_takes_the_service_of_the_one_before(pools: Pools) -> None:
    folder = left_stream(pools, [b"a"], [b"b"], segment_bytes=1)
    flip(paths(folder)[1], 0)
    reading = Reading(folder, pools)
    batches = [batch for _ in range(2) if (batch := reading.take())]
    assert [(batch.records, batch.header.resource) for batch in batches] == [
        ((b"a#1",), b"service"),
        ((b"b#2",), b"service"),
    ]


def test_a_file_of_a_later_format_is_read_as_far_as_it_can_be_and_set_aside(pools: Pools) -> None:
    folder = left_stream(pools, [b"a"])
    (path,) = paths(folder)
    content = path.read_bytes()
    header, rest = content[HEAD_BYTES : entries(path)[0].end], content[entries(path)[0].end :]
    path.write_bytes(format_entry(Kind.HEADER, 0, header.replace(b'version":1', b'version":7')) + rest)
    reading = Reading(folder, pools)
    assert reading.take_all() == [b"a#1"]
    assert "format 7" in reading.damage[0][1]
    assert reading.moved == [(path.name, ASIDE)]


def test_a_foreign_file_under_a_spool_files_name_is_set_aside(pools: Pools) -> None:
    folder = left_stream(pools, [b"a"])
    (folder / SegmentName(2, 2).format()).write_bytes(os.urandom(5000))
    reading = Reading(folder, pools)
    assert reading.take_all() == [b"a#1"]
    assert [pool for _, pool in reading.moved] == [SENT, ASIDE]


def test_an_empty_file_is_set_aside(pools: Pools) -> None:
    folder = left_stream(pools, [b"a"])
    (folder / SegmentName(2, 2).format()).touch()
    reading = Reading(folder, pools)
    assert reading.take_all() == [b"a#1"]
    assert [pool for _, pool in reading.moved] == [SENT, ASIDE]


def test_a_file_missing_in_the_middle_is_told(pools: Pools) -> None:
    folder = left_stream(pools, [b"a"], [b"b", b"c"], [b"d"], segment_bytes=1)
    paths(folder)[1].unlink()
    reading = Reading(folder, pools)
    assert reading.take_all() == [b"a#1", b"d#4"]
    assert [what for _, what in reading.damage] == ["records 2-3 are not in it"]


def test_the_end_of_a_file_that_was_cut_off_after_it_was_promised_is_told(pools: Pools) -> None:
    """The next file says that there was more."""
    folder = left_stream(pools, [b"a", b"b", b"c"], [b"d"], segment_bytes=1)
    path = paths(folder)[0]
    path.write_bytes(path.read_bytes()[: entries(path)[1].end + 4])
    reading = Reading(folder, pools)
    assert reading.take_all() == [b"a#1", b"d#4"]
    assert [what for _, what in reading.damage] == ["records 2-3 are not in it"]
    assert reading.moved[0] == (path.name, ASIDE)


def test_a_file_that_goes_while_it_is_read_is_told_and_the_rest_is_delivered(pools: Pools) -> None:
    folder = left_stream(pools, [b"a", b"b"], [b"c"], segment_bytes=1)
    reading = Reading(folder, pools)
    assert reading.take(None, 1) is not None
    path = paths(folder)[0]
    path.unlink()
    assert reading.take_all() == [b"c#3"]
    assert reading.damage == [(path.name, "it is gone, and nobody of us removed it")]


def test_kinds_of_a_later_release_are_passed_over(pools: Pools) -> None:
    folder = left_stream(pools, [b"a"])
    (path,) = paths(folder)
    path.write_bytes(path.read_bytes() + format_entry(9, 1, b"?") + format_entry(Kind.RECORD, 2, b"b#2"))
    reading = Reading(folder, pools)
    assert reading.take_all() == [b"a#1", b"b#2"]
    assert reading.damage == []


@given(st.integers(0, 700), st.sampled_from(["flip", "cut", "hole", "junk"]), st.integers(1, 60), st.integers(1, 4))
def test_after_any_damage_every_sound_record_is_delivered_once_and_nothing_else_is(
    tmp_path_factory: pytest.TempPathFactory, at: int, how: str, length: int, most: int
) -> None:
    pools = new_spool(tmp_path_factory.mktemp("spool"))
    records = [b"record-%d" % number for number in range(9)]
    folder = left_stream(pools, *([record] for record in records), segment_bytes=250)
    path = paths(folder)[1]
    content = path.read_bytes()
    at = at % len(content)
    path.write_bytes(
        {
            "flip": content[:at] + bytes((content[at] ^ 0x40,)) + content[at + 1 :],
            "cut": content[:at],
            "hole": content[:at] + bytes(min(length, len(content) - at)) + content[at + length :],
            "junk": content[:at] + b"\xf5\xf9sp" * length + content[at:],
        }[how]
    )
    sound = [record for each in paths(folder) for record in records_in(each)]
    reading = Reading(folder, pools)
    assert reading.take_all(None, most) == sound
    assert paths(folder) == []
    kept = [path for pool in (SENT, ASIDE) for path in (pools.root / pool).iterdir()]
    assert sorted(record for path in kept for record in records_in(path)) == sorted(sound)
    if len(sound) < len(records) - 1:
        assert reading.damage and in_pool(pools, ASIDE)


# --- headers ---


def test_a_header_is_read_from_a_file(pools: Pools) -> None:
    (path,) = paths(left_stream(pools, [b"a"]))
    header, begin = read_header(path)
    assert (header.stream_id, header.first, begin) == ("s1", 1, entries(path)[0].end)


def test_a_file_that_promises_a_header_it_does_not_have_is_no_spool_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    summed = pack("<BIQ", 0, 1000, 0)
    path.write_bytes(b"\xf5\xf9sp" + summed + pack("<I", crc32(summed)))
    with pytest.raises(SpoolFileError):
        read_header(path)


def test_nothing_is_left_of_a_stream_but_what_no_reader_moves(pools: Pools) -> None:
    folder = left_stream(pools, [b"a"])
    Reading(folder, pools).take_all()
    assert sorted(path.name for path in folder.iterdir()) == ["delivered", "owner"]
    assert folder.parent == pools.root / STREAMS


# --- many files ---


def test_a_folder_of_many_files_is_listed_a_few_times_and_not_once_for_each(
    pools: Pools, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = [b"%d" % number for number in range(60)]
    folder = left_stream(pools, *([record] for record in records), segment_bytes=1)
    assert len(paths(folder)) == 60
    listed = []
    monkeypatch.setattr("otel_audit.spool.reading.segments", lambda of: listed.append(of) or segments(of))
    assert Reading(folder, pools).take_all() == numbered(*records)
    assert len(listed) < 6
    assert paths(folder) == []


def test_a_file_that_somebody_removes_after_it_was_listed_is_passed_over(pools: Pools) -> None:
    folder = left_stream(pools, [b"a"], [b"b"], [b"c"], [b"d"], segment_bytes=1)
    reading = Reading(folder, pools)
    batch = reading.take()
    assert batch is not None and batch.records == (b"a#1",)
    paths(folder)[1].unlink()
    assert reading.take_all() == [b"c#3", b"d#4"]


def test_a_file_that_is_begun_while_the_one_before_it_is_read_is_found(pools: Pools) -> None:
    stream = own_stream(pools.root, segment_bytes=1)
    reading = Reading(stream.folder, pools)
    for number, record in enumerate((b"a", b"b", b"c"), start=1):
        stream.write([record])
        assert reading.take_all(stream.written) == [b"%s#%d" % (record, number)]
    stream.close()
