"""A survey says what every stream has emitted, what waits and what is parked, beside processes that write, and changes
nothing."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_audit.errors import SpoolUnreadableError
from otel_audit.spool.format import Header, Kind, format_entry, format_header
from otel_audit.spool.holdings import holdings, read_held
from otel_audit.spool.owner import OwnerLock
from otel_audit.spool.places import POOLS
from otel_audit.spool.survey import StreamSurvey, parked_files, parked_records, survey
from tests.spool.filled import APPENDED_NS, ENDPOINT, FilledSpool

SMALL = 600
"""A file of this size holds two records."""


@pytest.fixture
def spool(tmp_path: Path) -> FilledSpool:
    return FilledSpool(tmp_path / "spool")


def the_only(root: Path) -> StreamSurvey:
    (stream,) = survey(root).streams
    return stream


def test_a_living_stream_shows_how_far_it_is_and_since_when_the_rest_waits(spool: FilledSpool) -> None:
    spool.stream("s1").write(9).deliver(4)
    stream = the_only(spool.root)
    assert (stream.stream_id, stream.service_name, stream.endpoint) == ("s1", "shop", ENDPOINT)
    assert (stream.state, stream.pid, stream.closed) == ("living", os.getpid(), False)
    assert (stream.last_number, stream.delivered, stream.waiting_records) == (9, 4, 5)
    assert stream.oldest_ns == APPENDED_NS + 5_000_000_000
    assert 5 * 200 < stream.waiting_bytes < 5 * 500


def test_a_stream_counts_over_all_of_its_files(spool: FilledSpool) -> None:
    spool.stream("s1", segment_bytes=SMALL).write(9).deliver(4)
    found = survey(spool.root)
    assert found.sent.files >= 1
    assert (found.streams[0].last_number, found.streams[0].delivered, found.streams[0].waiting_records) == (9, 4, 5)


def test_a_stream_of_a_dead_process_is_left(spool: FilledSpool) -> None:
    spool.stream("s1").write(3).leave()
    stream = the_only(spool.root)
    assert (stream.state, stream.last_number, stream.delivered, stream.closed) == ("left", 3, 0, False)


def test_a_stream_that_is_gone_is_known_by_its_kept_copies(spool: FilledSpool) -> None:
    spool.stream("s1", segment_bytes=SMALL).write(5).end().finish()
    spool.stream("s2").write(2).finish()
    ended, died = survey(spool.root).streams
    assert (ended.state, ended.last_number, ended.delivered, ended.waiting_records) == ("delivered", 5, 5, 0)
    assert (ended.closed, died.closed) == (True, False)
    assert (ended.oldest_ns, ended.pid) == (None, None)


def test_the_highest_number_is_known_as_long_as_any_file_tells_it(spool: FilledSpool) -> None:
    """Copies expire, the oldest first; then only the note of what was delivered is left."""
    stream = spool.stream("s1", segment_bytes=SMALL).write(5).deliver(5)
    for _, path in spool.pools.files("sent"):
        path.unlink()
    assert the_only(spool.root).last_number == 5
    for path in stream.folder.glob("*.spool"):
        path.unlink()
    stream.leave()
    found = the_only(spool.root)
    assert (found.state, found.last_number, found.delivered) == ("left", 5, 5)


def test_a_stream_without_records_emitted_none_and_a_stillborn_one_is_no_stream(spool: FilledSpool) -> None:
    spool.stream("s1")
    (spool.root / "streams" / "s2").mkdir()
    assert the_only(spool.root).last_number == 0


def test_numbers_that_were_given_again_are_not_counted_twice(spool: FilledSpool) -> None:
    """The first file's end was not promised to anybody: the file after it says so."""
    folder = spool.root / "streams" / "s1"
    folder.mkdir()
    for sequence, first, numbers in ((1, 1, (1, 2, 3, 4, 5)), (2, 4, (4,))):
        content = format_header(Header("s1", first, ENDPOINT, b"")) + b"".join(
            format_entry(Kind.RECORD, number, b"") for number in numbers
        )
        (folder / f"{sequence:08d}-{first:016d}.spool").write_bytes(content)
    stream = the_only(spool.root)
    assert (stream.last_number, stream.waiting_records) == (4, 4)


def test_parked_records_are_counted_and_listed_with_the_answer(spool: FilledSpool) -> None:
    stream = spool.stream("s1").write(9).deliver(2)
    path = stream.park(3, "HTTP 413 (too much)")
    stream.park(2, "partial success, 1 rejected", rejected=1)
    found = survey(spool.root)
    assert (found.streams[0].parked, found.streams[0].waiting_records, found.parked.files) == (5, 2, 2)
    assert parked_records(spool.root) == 5
    first, second = parked_files(spool.root)
    assert (first.path, first.stream_id, first.service_name, first.endpoint) == (path, "s1", "shop", ENDPOINT)
    assert (first.first, first.last, first.records, first.rejected) == (3, 5, 3, 3)
    assert (first.reason, second.reason, second.rejected) == ("HTTP 413 (too much)", "partial success, 1 rejected", 1)
    assert first.since_s == pytest.approx(path.stat().st_mtime)
    spool.pools.unpark(path)
    assert (the_only(spool.root).parked, parked_records(spool.root)) == (2, 2)


def test_numbers_of_which_only_a_parked_copy_is_left_count_as_emitted(spool: FilledSpool) -> None:
    stream = spool.stream("s1").write(4).deliver(1)
    stream.park(3, "HTTP 403")
    stream.finish()
    spool.pools.expire(keep_bytes=0)
    found = the_only(spool.root)
    assert (found.last_number, found.parked, found.state) == (4, 3, "delivered")


def test_a_file_that_moves_on_after_it_was_listed_is_read_where_it_went(spool: FilledSpool) -> None:
    stream = spool.stream("s1").write(3)
    (held,) = holdings(spool.root).files["s1"]
    stream.finish()
    content = read_held(held, spool.root)
    assert content is not None
    assert [entry.number for entry in content.records] == [1, 2, 3]
    spool.pools.expire(keep_bytes=0)
    assert read_held(held, spool.root) is None


def test_a_stream_that_is_only_parked_is_shown_with_those_that_need_something(spool: FilledSpool) -> None:
    stream = spool.stream("z").write(2)
    stream.park(2, "HTTP 403")
    stream.finish()
    spool.stream("a").write(1).finish()
    assert [(one.stream_id, one.parked, one.last_number) for one in survey(spool.root).streams] == [
        ("z", 2, 2),
        ("a", 0, 1),
    ]


def test_damage_among_what_waits_is_said_and_what_is_sound_is_counted(spool: FilledSpool) -> None:
    stream = spool.stream("s1").write(6)
    (path,) = stream.folder.glob("*.spool")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    found = the_only(spool.root)
    assert (found.damaged, found.last_number, found.waiting_records) == (True, 6, 5)


def test_a_write_that_was_cut_short_is_no_damage(spool: FilledSpool) -> None:
    stream = spool.stream("s1").write(3)
    (path,) = stream.folder.glob("*.spool")
    path.write_bytes(path.read_bytes()[:-7])
    found = the_only(spool.root)
    assert (found.damaged, found.last_number) == (False, 2)


def test_what_is_set_aside_and_what_nobody_knows_is_said(spool: FilledSpool) -> None:
    spool.stream("s1").write(1)
    (spool.root / "aside" / "s9.whatever").write_text("x")
    strange = [spool.root / "streams" / "note.txt", spool.root / "streams" / "s1" / "core", spool.root / "sent" / "x"]
    for path in strange:
        path.write_text("x")
    found = survey(spool.root)
    assert found.aside.files == 1
    assert set(found.strangers) == set(strange)


def test_a_file_without_a_header_belongs_to_the_service_of_its_stream(spool: FilledSpool) -> None:
    stream = spool.stream("s1", segment_bytes=SMALL).write(4)
    first = min(stream.folder.glob("*.spool"))
    content = bytearray(first.read_bytes())
    content[30] ^= 0xFF
    first.write_bytes(content)
    files = holdings(spool.root).files["s1"]
    assert [held.header.resource for held in files] == [files[-1].header.resource] * len(files)
    content_of_first = read_held(files[0], spool.root)
    assert content_of_first is not None
    assert [entry.number for entry in content_of_first.records] == [1, 2]


def test_no_spool_is_an_error_and_not_an_empty_one(tmp_path: Path) -> None:
    with pytest.raises(SpoolUnreadableError, match="there is no spool at"):
        survey(tmp_path / "absent")


def snapshot(root: Path) -> dict[str, tuple[int, int, bytes]]:
    return {
        str(path.relative_to(root)): (path.stat().st_mtime_ns, path.stat().st_mode, path.read_bytes())
        for path in root.rglob("*")
        if path.is_file()
    }


def test_looking_changes_nothing_and_holds_nothing(spool: FilledSpool) -> None:
    stream = spool.stream("s1", segment_bytes=SMALL).write(7).deliver(3)
    stream.park(1, "HTTP 400")
    stream.leave()
    before = snapshot(spool.root)
    survey(spool.root)
    parked_files(spool.root)
    assert snapshot(spool.root) == before
    lock = OwnerLock.take_over(stream.folder)
    assert lock is not None
    lock.release()


def test_a_survey_beside_a_process_that_writes_and_delivers_is_never_ahead_or_behind(spool: FilledSpool) -> None:
    """Files grow, are moved and removed while they are looked at."""
    stream = spool.stream("s1", segment_bytes=SMALL).write(1)
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            stream.write(2).deliver(2)

    worker = threading.Thread(target=work)
    worker.start()
    try:
        for _ in range(40):
            before = stream.own.last
            found = the_only(spool.root)
            after = stream.own.last
            assert before <= found.last_number <= after + 1  # one may be on the disk that nobody has been told of yet
            assert (found.state, found.damaged) == ("living", False)
            spool.pools.expire(keep_bytes=5 * SMALL)
    finally:
        stop.set()
        worker.join()


@given(st.sampled_from(POOLS), st.binary(max_size=200), st.booleans())
def test_any_bytes_in_a_spool_are_looked_at_without_a_fault(
    tmp_path_factory: pytest.TempPathFactory, pool: str, content: bytes, with_header: bool
) -> None:
    spool = FilledSpool(tmp_path_factory.mktemp("spool"))
    folder = spool.root / pool / ("s1" if pool == "streams" else "")
    folder.mkdir(exist_ok=True)
    refused = ".refused" if pool == "parked" else ""
    name = f"{'' if pool == 'streams' else 's1.'}00000001-0000000000000001{refused}.spool"
    header = format_header(Header("s1", 1, ENDPOINT, content, reason="x" if refused else ""))
    (folder / name).write_bytes((header if with_header else b"") + content)
    assert [stream.stream_id for stream in survey(spool.root).streams] == ["s1"]
    assert len(parked_files(spool.root)) == (pool == "parked")
