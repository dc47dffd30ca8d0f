"""The spool's bed is worth what it finds: each planted bug must be found."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from otel_audit.delivery.backlog import Backlog
from otel_audit.delivery.own import Own
from otel_audit.delivery.parcel import Parcel
from otel_audit.disk import Disk
from otel_audit.errors import UnwritableError
from otel_audit.spool.adoption import AdoptedStream
from otel_audit.spool.places import PARKED, STREAMS
from otel_audit.spool.pools import Pools
from otel_audit.spool.reading import StreamReader
from otel_audit.spool.stream import OwnStream
from tests.faults import append_disk, spool_bed, spool_world
from tests.faults.append_disk import AppendDisk

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("quiet")]


@pytest.fixture
def trace(tmp_path: Path) -> list[str]:
    """The operations of the right code."""
    return spool_bed.operations(tmp_path)


def first_found(base: Path, cases: Sequence[spool_bed.Faults]) -> str:
    found = spool_bed.violations(base, cases, lambda found: found >= 1)
    assert found, "nothing was found"
    return found[0]


def after(trace: list[str], what: str, *kinds: str) -> list[spool_bed.Faults]:
    """The cells of the table where one thing happens at some kinds of operation."""
    cases = [case for case in spool_bed.matrix(trace) if next(iter(case.values())).what == what]
    return [case for case in cases if trace[next(iter(case))] in kinds]


def test_a_record_that_is_promised_before_the_fsync_of_its_file_is_found(
    tmp_path: Path, trace: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(append_disk._File, "sync", lambda self: self._disk.do("sync", lambda: None))
    assert "lost" in first_found(tmp_path, after(trace, "power", "append", "replace"))


@pytest.mark.parametrize("folder", [STREAMS, PARKED])
def test_a_file_that_is_relied_on_before_the_fsync_of_its_folder_is_found(
    tmp_path: Path, trace: list[str], monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    real = AppendDisk.fsync_folder

    def sync(self: AppendDisk, path: Path) -> None:
        if folder in (path.name, path.parent.name):
            self.do("fsync_folder", lambda: None)
        else:
            real(self, path)

    monkeypatch.setattr(AppendDisk, "fsync_folder", sync)
    assert "lost" in first_found(tmp_path, after(trace, "power", "sync", "fsync_folder"))


def test_a_record_whose_append_raised_and_that_is_delivered_under_anothers_number_is_found(
    tmp_path: Path, trace: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end of a spoilt file could not be cut off, and what the next file says of it is not heeded."""
    real = StreamReader._open_next

    def open_next(self: StreamReader, written: Any) -> bool:
        opened = real(self, written)
        self._void_from = None
        return opened

    monkeypatch.setattr(StreamReader, "_open_next", open_next)
    monkeypatch.setattr(StreamReader, "_next_first", lambda self: None)
    pairs = [
        failed | cut
        for failed in after(trace, "fail", "append", "sync")
        for cut in spool_bed.matrix(trace)
        if next(iter(cut)) == next(iter(failed)) + 1 and next(iter(cut.values())).what == "fail"
    ]
    found = first_found(tmp_path, pairs)
    assert "two records" in found or "promised to" in found


def test_a_number_that_goes_with_a_failed_append_is_found(
    tmp_path: Path, trace: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = OwnStream._append

    def append(self: OwnStream, content: bytes, count: int) -> None:
        try:
            real(self, content, count)
        except UnwritableError:
            state = self._state
            self._state = type(state)(state.last + count, state.name, state.size)
            raise

    monkeypatch.setattr(OwnStream, "_append", append)
    found = first_found(tmp_path, after(trace, "fail", "append", "sync"))
    assert "gaps" in found or "lost" in found


def test_records_that_count_as_delivered_before_they_are_parked_are_found(
    tmp_path: Path, trace: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Own.park

    def park(self: Own, parcel: Parcel, start: int, stop: int, reason: str, rejected: int) -> Path:
        self.end_part(parcel, stop)
        return real(self, parcel, start, stop, reason, rejected)

    monkeypatch.setattr(Own, "park", park)
    assert "lost" in first_found(tmp_path, after(trace, "die", "write_new", "replace"))


def test_records_that_count_as_delivered_before_the_peer_has_answered_are_found(
    tmp_path: Path, trace: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an exporter does that takes a batch out of its queue and then sends it."""
    real = Own.next_parcel

    def next_parcel(self: Own, max_records: int, max_bytes: int) -> Parcel | None:
        parcel = real(self, max_records, max_bytes)
        if parcel is not None:
            self.end_part(parcel, len(parcel.records))
        return parcel

    monkeypatch.setattr(Own, "next_parcel", next_parcel)
    assert "lost" in first_found(tmp_path, [{}])


def test_parked_records_that_expire_with_the_kept_copies_are_found(
    tmp_path: Path, trace: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Pools.expire

    def expire(self: Pools, keep_bytes: int | None = None) -> int:
        for _, path in self.files(PARKED):
            self._disk.unlink(path)
        return real(self, keep_bytes)

    monkeypatch.setattr(Pools, "expire", expire)
    assert "lost" in first_found(tmp_path, after(trace, "fail", "append", "sync"))


def test_a_stream_that_is_removed_before_it_is_told_where_it_ends_is_found(
    tmp_path: Path, trace: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A collector would wait for ever for numbers that were never given."""
    real = Backlog._parcel_of

    def parcel_of(self: Backlog, stream: AdoptedStream, max_records: int, max_bytes: int) -> Parcel | None:
        stream.has_begun = False
        return real(self, stream, max_records, max_bytes)

    monkeypatch.setattr(Backlog, "_parcel_of", parcel_of)
    assert "was told" in first_found(tmp_path, [{}])


def test_a_folder_taken_for_durable_because_it_is_there_is_found(
    tmp_path: Path, trace: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def trusting(root: Path, folders: Sequence[str], disk: Disk) -> None:
        for folder in (root, *(root / name for name in folders)):
            if not folder.exists():
                disk.make_folder(folder)

    monkeypatch.setattr(spool_world, "open_spool", trusting)
    drawn = spool_bed.pairs(trace, random.Random(1), 30_000)
    cases = [case for case in drawn if trace[min(case)] == "make_folder" and case[min(case)].what == "die"]
    assert "lost" in first_found(tmp_path, cases)
