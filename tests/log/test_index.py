"""The index of ids: exact over memory, runs, restarts, and past its window."""

from __future__ import annotations

import time
import uuid
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_audit.disk import Disk
from otel_audit.errors import StorageError, UnwritableError
from otel_audit.log.index import IdIndex, Verdict
from otel_audit.log.runs import format_run, ids_of, load_run, make_run
from otel_audit.model.ids import new_record_id


def index_in(folder: Path, window_s: float = 7 * 86400.0, run_rows: int = 100) -> IdIndex:
    return IdIndex(folder / "ids", Disk(), time.time_ns, window_s, run_rows)


def fill(index: IdIndex, ids: list[bytes], digests: list[int]) -> None:
    for at in range(0, len(ids), 50):
        index.add(ids[at : at + 50], digests[at : at + 50], index.upto + len(ids[at : at + 50]))
        if index.spill_due:
            index.begin_spill()
            index.spill()


@pytest.mark.parametrize("make", [uuid.uuid4, new_record_id], ids=["v4", "v7"])
def test_known_ids_are_duplicates_or_conflicts_and_others_new(tmp_path: Path, make: type) -> None:
    index = index_in(tmp_path)
    ids = [make().bytes for _ in range(2_000)]
    digests = list(range(2_000))
    fill(index, ids, digests)
    assert set(index.look_up(ids, digests).tolist()) == {Verdict.DUPLICATE}
    assert set(index.look_up(ids, [digest + 1 for digest in digests]).tolist()) == {Verdict.CONFLICT}
    assert set(index.look_up([make().bytes for _ in range(500)], [0] * 500).tolist()) == {Verdict.NEW}


def test_a_restart_reads_the_runs_and_rebuilds_the_rest(tmp_path: Path) -> None:
    index = index_in(tmp_path)
    ids = [uuid.uuid4().bytes for _ in range(1_030)]
    fill(index, ids, [7] * 1_030)
    again = index_in(tmp_path)
    again.load(1_030)
    assert again.covered == again.upto == 1_000
    again.rebuild(iter([(ids[1_000:], [7] * 30, 1_030)]))
    assert set(again.look_up(ids, [7] * 1_030).tolist()) == {Verdict.DUPLICATE}


def test_ids_that_end_in_zero_bytes_are_not_confused(tmp_path: Path) -> None:
    index = index_in(tmp_path, run_rows=50)
    ids = [uuid.UUID(int=(at << 64)).bytes for at in range(1, 101)]
    fill(index, ids, list(range(100)))
    assert set(index.look_up(ids, list(range(100))).tolist()) == {Verdict.DUPLICATE}
    assert index.look_up([uuid.UUID(int=(101 << 64)).bytes], [0]).tolist() == [Verdict.NEW]


def test_timed_ids_leave_after_the_window_and_are_never_assumed_new(tmp_path: Path) -> None:
    index = index_in(tmp_path, window_s=0.0)
    old = [new_record_id().bytes for _ in range(200)]
    kept = [uuid.uuid4().bytes for _ in range(200)]
    fill(index, old, [1] * 200)
    fill(index, kept, [2] * 200)
    time.sleep(0.002)
    fill(index, [new_record_id().bytes for _ in range(200)], [3] * 200)
    assert set(index.look_up(old[:100], [1] * 100).tolist()) == {Verdict.ASK_FILES}
    assert set(index.look_up(kept, [2] * 200).tolist()) == {Verdict.DUPLICATE}


def test_a_damaged_run_makes_the_index_begin_from_nothing(tmp_path: Path) -> None:
    index = index_in(tmp_path)
    fill(index, [uuid.uuid4().bytes for _ in range(100)], [1] * 100)
    run = next((tmp_path / "ids").glob("*.run"))
    content = bytearray(run.read_bytes())
    content[-1] ^= 1
    run.unlink()
    run.write_bytes(content)
    again = index_in(tmp_path)
    again.load(100)
    assert again.upto == 0


@given(st.sets(st.binary(min_size=16, max_size=16), min_size=1, max_size=60))
def test_a_run_file_gives_back_the_run(tmp_path_factory: pytest.TempPathFactory, ids: set[bytes]) -> None:
    path = tmp_path_factory.mktemp("run") / "r"
    ordered = ids_of(b"".join(sorted(ids)))
    run = make_run(ordered, np.arange(len(ids), dtype=np.uint64))
    path.write_bytes(format_run(run))
    loaded = load_run(path)
    assert loaded.find(ordered).tolist() == list(range(len(ids)))
    assert format_run(loaded) == format_run(run)


@given(st.binary(max_size=300))
def test_any_bytes_as_a_run_raise_only_our_error(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("run") / "r"
    path.write_bytes(content)
    with pytest.raises(StorageError):
        load_run(path)


def test_a_disk_that_goes_on_refusing_the_manifest_is_not_filled_with_runs(tmp_path: Path) -> None:
    class Refusing(Disk):
        refuses = True

        def replace(self, tmp: Path, final: Path) -> None:
            if self.refuses:
                raise UnwritableError("refused")
            super().replace(tmp, final)

    disk = Refusing()
    index = IdIndex(tmp_path / "ids", disk, time.time_ns, 7 * 86400.0, 100)
    ids = [uuid.uuid4().bytes for _ in range(100)]
    index.add(ids, [7] * 100, 100)
    index.begin_spill()
    for _ in range(5):
        with pytest.raises(UnwritableError):
            index.spill()
        assert len(list((tmp_path / "ids").glob("*.run"))) == 1
        assert set(index.look_up(ids, [7] * 100).tolist()) == {Verdict.DUPLICATE}
    disk.refuses = False
    index.spill()
    assert len(list((tmp_path / "ids").glob("*.run"))) == 1
    assert set(index.look_up(ids, [7] * 100).tolist()) == {Verdict.DUPLICATE}


DAY_MS = 86_400_000


def timed_id(at_ms: int, number: int) -> bytes:
    """A UUIDv7 of a moment."""
    return (at_ms.to_bytes(6, "big") + b"\x70\x00\x80\x00" + number.to_bytes(6, "big"))[:16]


def test_ids_of_a_fast_clock_do_not_keep_others_in_the_index_for_good(tmp_path: Path) -> None:
    """One producer's clock is decades ahead, so that each run has an id which will not expire for as long."""
    now_ms, a_day, days = 1_764_000_000_000, 200, 60
    clock_ms = [now_ms]
    index = IdIndex(tmp_path / "ids", Disk(), lambda: clock_ms[0] * 1_000_000, 7 * 86400.0, 100)
    per_day: list[list[bytes]] = []
    ahead: list[bytes] = []
    for day in range(days):
        clock_ms[0] = now_ms + day * DAY_MS
        fast = timed_id(clock_ms[0] + 10_000 * DAY_MS, day)
        ids = [timed_id(clock_ms[0] + at * 1000, at) for at in range(a_day)] + [fast]
        per_day.append(ids[:-1])
        ahead.append(fast)
        fill(index, ids, [day] * len(ids))
    kept = sum(len(run) for run in index._runs["timed"].values()) + len(index._recent)
    assert kept < 3 * 7 * a_day
    assert set(index.look_up(ahead, list(range(days))).tolist()) == {Verdict.DUPLICATE}
    again = IdIndex(tmp_path / "ids", Disk(), lambda: clock_ms[0] * 1_000_000, 7 * 86400.0, 100)
    again.load(index.upto)
    for known in (index, again):
        for day, ids in enumerate(per_day):
            verdicts = set(known.look_up(ids, [day] * a_day).tolist())
            if known is again and day == days - 1:
                continue  # a part of the last day was in memory only
            assert verdicts <= {Verdict.DUPLICATE, Verdict.ASK_FILES}
            assert day < days - 7 or verdicts == {Verdict.DUPLICATE}
    assert set(index.look_up(per_day[0], [0] * a_day).tolist()) == {Verdict.ASK_FILES}


def test_letting_ids_go_writes_a_run_anew_only_when_half_of_it_has_gone(tmp_path: Path) -> None:
    now_ms = 1_764_000_000_000
    clock_ms = [now_ms]
    written: list[str] = []

    class Told(Disk):
        def write_new(self, path: Path, content: bytes | memoryview, mode: int = 0o440) -> None:
            written.append(path.name)
            super().write_new(path, content, mode)

    index = IdIndex(tmp_path / "ids", Told(), lambda: clock_ms[0] * 1_000_000, 7 * 86400.0, 100)
    index.add([timed_id(now_ms + at * 600_000, at) for at in range(1_000)], [1] * 1_000, 1_000)
    for hour in range(7 * 24 * 2 + 1):
        clock_ms[0] = now_ms + hour * 3_600_000
        index.begin_spill()
        index.spill()
        index.add([uuid.UUID(int=hour + 1).bytes], [1], 1_001 + hour)
    assert not index._runs["timed"]
    assert 1 < len([name for name in written if name.endswith("timed.run")]) <= 11  # 1,000 can be halved ten times


def test_a_run_of_a_clock_that_stands_still_has_a_name_of_its_own_after_a_restart(tmp_path: Path) -> None:
    for start in (0, 10, 20):
        index = IdIndex(tmp_path / "ids", Disk(), lambda: 1_764_000_000_000_000_000, 7 * 86400.0, 5)
        index.load(start)
        index.add([uuid.uuid4().bytes for _ in range(10)], [0] * 10, start + 10)
        index.begin_spill()
        index.spill()
