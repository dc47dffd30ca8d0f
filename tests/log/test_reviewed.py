"""Where two threads meet: an operator and a commit, a spill and a look-up, maintenance and an error of ours."""

from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any
from uuid import UUID

import pytest

from otel_audit.archive.listing import list_log
from otel_audit.archive.names import Stage
from otel_audit.config import load_settings
from otel_audit.disk import Disk
from otel_audit.errors import ArchiveFaultError, UnwritableError
from otel_audit.log import engine
from otel_audit.log.engine import ActivityLog
from otel_audit.log.held import held_records
from otel_audit.log.index import IdIndex, Verdict
from otel_audit.log.quarantine import FOLDER
from otel_audit.log.status import folder_status
from tests.faults.world import SETTINGS, Ledger, World, check
from tests.log.model import Clock
from tests.log.requests import record, request
from tests.log.test_engine import open_log, wait_until
from tests.log.watched import Watched, failing


@pytest.fixture
def by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """No maintenance but what the test asks for."""
    monkeypatch.setattr(engine, "_IDLE_S", 3_600.0)


# --- an operator's seal ---


@pytest.mark.usefixtures("by_hand")
def test_a_seal_after_a_failed_write_recovers_first_and_stops_at_a_fault(tmp_path: Path) -> None:
    """It would otherwise write the archive from what it remembers, and hide that the disk holds something else."""
    disk = Watched()
    with ActivityLog.open(tmp_path, SETTINGS, disk=disk) as log:
        for name in "abc":
            log.submit(request(record(name))).result()
        calls = 0

        def last_fsync_fails(call: str, path: Path) -> None:
            nonlocal calls
            calls += call == "fsync_folder"
            if calls == 2:
                raise UnwritableError("fsync failed")

        disk.before = last_fsync_fails
        with pytest.raises(UnwritableError):
            log.submit(request(record("d"))).result()
        disk.before = lambda call, path: None
        sorted((tmp_path / "hot").iterdir())[1].unlink()
        for _ in range(2):
            with pytest.raises(ArchiveFaultError, match="rows 1-1 are missing"):
                log.seal()
        assert not list((tmp_path / "archive").iterdir())


# --- an operator's decision ---


class Announced:
    """A lock that tells when somebody comes to it."""

    def __init__(self, real: Any) -> None:
        self._real = real
        self.asked = threading.Event()

    def __enter__(self) -> None:
        self.asked.set()
        self._real.acquire()

    def __exit__(self, *_: object) -> None:
        self._real.release()


@pytest.mark.usefixtures("by_hand")
def test_a_decision_waits_for_the_commit_under_way_and_takes_the_next_range(tmp_path: Path) -> None:
    disk = Watched()
    with ActivityLog.open(tmp_path, SETTINGS, disk=disk) as log:
        first, second = request(broken=1), request(record("a"), broken=2)
        log.submit(first).result()
        writing, go_on = threading.Event(), threading.Event()

        def wait_in_quarantine(call: str, path: Path) -> None:
            if call == "write_new" and FOLDER in path.parts and not writing.is_set():
                writing.set()
                assert go_on.wait(10)

        disk.before = wait_in_quarantine
        future = log.submit(second)
        assert writing.wait(10)
        lock = log._writer.exclusive = Announced(log._writer.exclusive)  # type: ignore[assignment]
        operator = threading.Thread(target=log.decisions.drop, args=(first.rejected[0].sha256,))
        operator.start()
        assert lock.asked.wait(10)
        go_on.set()
        operator.join(10)
        assert future.result(10).quarantined == 2
        assert [held.sha256 for held in held_records(tmp_path)] == [second.rejected[1].sha256]
        ranges = [(file.name.first, file.name.last) for file in list_log(tmp_path / FOLDER).files]
        assert ranges == [(0, 0), (1, 1), (2, 2)]
    with open_log(tmp_path):
        assert folder_status(tmp_path, check=True).faults == []


# --- a spill beside look-ups ---


class Spills:
    """An index whose ids are a little older than the clock, so that a run leaves a short window three spills later."""

    def __init__(self, folder: Path, window_s: float) -> None:
        self._clock = Clock()
        self._ids: list[bytes] = []
        self.index = IdIndex(folder / "ids", Disk(), self._clock, window_s, 4)

    def add_four(self) -> None:
        """Four ids more, two of them with a time, and they wait for the spill."""
        self._clock.now_ns += 2_000_000_000
        ms, first = self._clock.now_ns // 1_000_000 - 1_000, len(self._ids)
        timed = [UUID(int=ms << 80 | 7 << 76 | 2 << 62 | at).bytes for at in range(2)]
        self._ids += [*timed, *(f"text-{at:011}".encode() for at in range(first, first + 2))]
        self.index.add(self._ids[first:], [1] * 4, first + 4)
        self.index.begin_spill()

    def spill_at(self, place: int, line: int) -> None:
        """Spill, at one line only."""
        if line == place:
            self.index.spill()

    def look_up(self) -> None:
        """Nothing that was added may be taken for new, or for something else."""
        told = self.index.look_up(self._ids, [1] * len(self._ids))
        assert {Verdict.NEW, Verdict.CONFLICT}.isdisjoint(told.tolist())


def at_each_line(of: Callable[[], None], then: Callable[[int], None]) -> int:
    """Run something of the index's module, and something else before each of its lines, twice for those of a loop.

    Returns:
        How many times that was.
    """
    lines: Counter[int] = Counter()

    def look(frame: FrameType, event: str, _: Any) -> Any:
        if frame.f_code.co_filename != sys.modules[IdIndex.__module__].__file__:
            return None
        if event == "line" and lines[frame.f_lineno] < 2:
            sys.settrace(None)
            lines[frame.f_lineno] += 1
            then(lines.total())
            sys.settrace(look)
        return look

    sys.settrace(look)
    try:
        of()
    finally:
        sys.settrace(None)
    assert len(lines) > 20
    return lines.total()


@pytest.mark.parametrize("window_s", [6.0, 1e6], ids=["expiring", "kept"])
def test_at_no_line_of_a_spill_is_an_id_unknown(tmp_path: Path, window_s: float) -> None:
    """The committing thread looks ids up while the maintaining one is anywhere in it."""
    spills = Spills(tmp_path, window_s)
    for _ in range(9):
        spills.add_four()
        at_each_line(spills.index.spill, lambda _: spills.look_up())
    assert bool(spills.index.horizon_ms) == (window_s == 6.0)


def test_an_id_is_known_wherever_in_its_look_up_a_spill_goes_by(tmp_path: Path) -> None:
    spills, most = Spills(tmp_path, 6.0), 50
    for place in range(1, most):
        spills.add_four()
        lines = at_each_line(spills.look_up, partial(spills.spill_at, place))
        assert lines < most
        spills.index.spill()  # where that place is beyond the last line
    assert spills.index.horizon_ms


def test_a_spill_that_fails_keeps_no_hidden_file_from_being_removed(tmp_path: Path) -> None:
    """Removing makes the room that the spill lacks."""
    disk, ledger = Watched(), Ledger()
    world = World(tmp_path / "data", disk, ledger)
    for at in range(3):
        world.send(request(record(f"r{at}")))
    world.maintain()
    for at in range(3, 6):
        world.send(request(record(f"r{at}")))
    disk.before = failing("write_new", ".run")
    for _ in range(2):
        with pytest.raises(UnwritableError):
            world.maintain()
    assert [name.stage for name in world._stores.activity.files] == [Stage.MERGED, *[Stage.COMMITTED] * 3]
    disk.before = lambda call, path: None
    world.maintain()
    assert world._stores.index.covered == 6
    check(tmp_path / "data", ledger, frozenset(f"r{at}" for at in range(6)))


# --- the maintaining thread ---


def test_an_error_of_ours_in_maintenance_does_not_end_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_RETRY_S", 0.01)
    with open_log(tmp_path, merge_fan_in=2) as log:
        real, times = log._maintenance.run_one, 0

        def stumbling() -> None:
            nonlocal times
            times += 1
            if times <= 3:
                raise ZeroDivisionError("a mistake of ours")
            real()

        monkeypatch.setattr(log._maintenance, "run_one", stumbling)
        for at in range(4):
            log.submit(request(record(f"r{at}"))).result()
        wait_until(lambda: log.stats().merges == 1)
        assert log.ready
        assert times > 3


# --- the window ---


@pytest.mark.usefixtures("by_hand")
def test_a_window_takes_no_more_bytes_than_its_bound_and_always_one_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = [request(record(f"r{at}")) for at in range(7)]
    size = max(one.table.nbytes for one in requests)
    monkeypatch.setattr(engine, "_MAX_WINDOW_BYTES", 3 * size)
    disk, waiting, go_on = Watched(), threading.Event(), threading.Event()
    with ActivityLog.open(tmp_path, load_settings({}, min_free_bytes=0), disk=disk) as log:

        def wait(call: str, path: Path) -> None:
            if not waiting.is_set():
                waiting.set()
                assert go_on.wait(10)

        disk.before = wait
        futures = [log.submit(requests[0])]
        assert waiting.wait(10)
        futures += [log.submit(one) for one in requests[1:]]
        go_on.set()
        assert [future.result(10).committed for future in futures] == [1] * 7
        assert [file.name.rows for file in list_log(tmp_path).files] == [1, 3, 3]
        monkeypatch.setattr(engine, "_MAX_WINDOW_BYTES", 1)
        assert log.submit(request(record("big"))).result(10).committed == 1
