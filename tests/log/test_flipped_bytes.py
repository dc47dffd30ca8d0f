"""A byte that is not what was written is told, and never becomes an answer or another file's rows."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from otel_audit.archive import verify
from otel_audit.archive.listing import list_log, scan_files
from otel_audit.archive.names import Stage
from otel_audit.config import Settings, load_settings
from otel_audit.disk import Disk
from otel_audit.errors import ArchiveFaultError, OtelAuditError
from otel_audit.log import compact as compaction
from otel_audit.log import engine, maintenance
from otel_audit.log.engine import ActivityLog
from otel_audit.log.held import held_records
from otel_audit.log.quarantine import FOLDER as QUARANTINE
from otel_audit.log.scrub import read_scrubbed
from otel_audit.log.status import folder_status
from otel_audit.log.streams import FOLDER as STREAMS
from otel_audit.query.reader import DuckDBReader
from tests.faults.world import SETTINGS, Ledger, World
from tests.log.flips import flipped, places
from tests.log.requests import record, request

_IDS = [f"id-{at}" for at in range(40)]


def opened(root: Path) -> World:
    """Ids leave memory at once, so that a start reads no rows to know them; and the day does not end."""
    settings = Settings({**SETTINGS, "index_run_rows": 1, "seal_rows": 10_000, "merge_fan_in": 100})
    return World(root, Disk(), Ledger(), settings, now=lambda: 1_764_000_000_000_000_000)


def filled(root: Path, sealed: bool) -> None:
    """Some requests, with what goes to quarantine and a stream, in a file for each log or in several hot ones."""
    world, words = opened(root), random.Random(7)
    for first in (0, 20):
        some = [record(one, metadata={"text": words.randbytes(400).hex()}) for one in _IDS[first : first + 20]]
        world.send(request(*some, broken=2, stream=("s", first + 1), markers=[("s", "open", first + 20)]))
        world.maintain()
    if sealed:
        world.seal()
        for name, path in scan_files(root).items():
            if name.stage is not Stage.SEALED:
                path.unlink()


@pytest.fixture(scope="module")
def hot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("hot")
    filled(root, sealed=False)
    return root


@pytest.fixture(scope="module")
def cold(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("cold")
    filled(root, sealed=True)
    return root


@pytest.fixture
def by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """No maintenance but what the test asks for."""
    monkeypatch.setattr(engine, "_IDLE_S", 3_600.0)


def rows(root: Path) -> list[dict[str, Any]]:
    """Every value of every row, read by a reader that checks nothing."""
    return [row for file in list_log(root).files for row in pq.read_table(file.path, partitioning=None).to_pylist()]


def deep(root: Path) -> list[str]:
    return folder_status(root, check=True, deep=lambda *_: None).faults


@pytest.mark.parametrize("stage", ["hot", "cold"])
@pytest.mark.parametrize("log", ["", QUARANTINE, STREAMS])
def test_a_flipped_byte_anywhere_in_a_file_is_found(stage: str, log: str, hot: Path, cold: Path) -> None:
    """By `status --check --deep`; in the footer by whoever opens the file."""
    root = hot if stage == "hot" else cold
    assert deep(root) == []
    path = next(iter(scan_files(root / log).values()))
    silent = []
    for at in places(path.stat().st_size, 60 if not log else 15):
        with flipped(path, at, 0x10 if at % 2 else 0x01):
            if not any(path.name in fault for fault in deep(root)):
                silent.append(at)
    assert silent == []


def test_a_file_that_is_cut_short_or_has_a_hole_is_found(cold: Path) -> None:
    (path,) = scan_files(cold).values()
    content = path.read_bytes()
    for spoilt in (content[:-1], content[: len(content) // 2], content[:100] + bytes(500) + content[600:], b""):
        path.chmod(0o640)
        path.write_bytes(spoilt)
        assert deep(cold)
    path.write_bytes(content)
    assert deep(cold) == []


def sealed_after(hot: Path, base: Path, at: int, which: int) -> list[dict[str, Any]]:
    """The rows of sealed files after a byte of a hot one was flipped, the log opened, and everything sealed."""
    root = base / "data"
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(hot, root)
    path = sorted(scan_files(root).values())[which]
    with flipped(path, at):
        try:
            world = opened(root)
            world.maintain()
            world.seal()
        except OtelAuditError:
            pass  # told, and nothing of it sealed
        return [row for file in list_log(root).files if file.name.stage is Stage.SEALED for row in _read(file.path)]


def _read(path: Path) -> list[dict[str, Any]]:
    table: list[dict[str, Any]] = pq.read_table(path, partitioning=None).to_pylist()
    return table


def wrongly_sealed(hot: Path, base: Path, count: int) -> Iterator[int]:
    truth = {row["log_index"]: row for row in rows(hot)}
    size = min(path.stat().st_size for path in scan_files(hot).values())
    for number, at in enumerate(places(size, count)):
        sealed = sealed_after(hot, base, at, number % 2)
        if any(row != truth[row["log_index"]] for row in sealed):
            yield at


@pytest.mark.slow
def test_no_flipped_byte_of_a_hot_file_is_sealed(hot: Path, tmp_path: Path) -> None:
    """And the files beside a damaged one are sealed all the same."""
    assert list(wrongly_sealed(hot, tmp_path, 60)) == []
    assert sealed_after(hot, tmp_path, 2_000, 0) == [row for row in rows(hot) if row["log_index"] >= 20]


@pytest.mark.slow
def test_a_checksum_that_is_not_verified_is_found(hot: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A planted bug: merges and seals read what is there, whatever it is."""
    monkeypatch.setattr(maintenance, "check_file", lambda _: None)
    monkeypatch.setattr(compaction, "open_checked", pq.ParquetFile)
    assert next(wrongly_sealed(hot, tmp_path, 60), None) is not None


def test_no_flipped_byte_of_a_hot_file_is_an_answer(hot: Path) -> None:
    """A reader opened afterwards says which file is damaged."""
    with DuckDBReader(hot) as reader:
        truth = list(reader.iter_records())
    path = sorted(scan_files(hot).values())[0]
    for at in places(path.stat().st_size, 20):
        with flipped(path, at), DuckDBReader(hot) as reader:
            try:
                assert list(reader.iter_records()) == truth
            except ArchiveFaultError as error:
                assert path.name in str(error)


@pytest.mark.parametrize("log", ["", QUARANTINE])
def test_a_flipped_byte_is_no_answer_of_a_look_up_or_of_the_quarantine(hot: Path, log: str) -> None:
    """What is read of a file for itself is checked against its pages' sums."""
    path = next(iter(scan_files(hot / log).values()))
    store = opened(hot)._stores
    looked: Callable[[], Any] = (lambda: held_records(hot)) if log else (lambda: store.lookup.digests(_IDS))
    truth = looked()
    for at in places(path.stat().st_size, 30):
        with flipped(path, at):
            try:
                assert looked() == truth
            except ArchiveFaultError as error:
                assert path.name in str(error)


# --- the slow check ---


@pytest.mark.usefixtures("by_hand")
def test_the_slow_check_reads_every_file_in_turn_and_tells_of_a_damaged_one_until_it_is_whole(
    cold: Path, tmp_path: Path
) -> None:
    root = tmp_path / "data"
    shutil.copytree(cold, root)
    (path,) = scan_files(root).values()
    settings = load_settings({}, data_dir=str(root), min_free_bytes=0, scrub_interval_s=1, scrub_bytes_per_s=4096)
    now, passed = [2_000_000_000_000_000_000], [0.0]

    with ActivityLog.open(root, settings, clock=lambda: now[0]) as log:
        scrub = log._maintenance.scrub
        scrub._monotonic_s = lambda: passed[0]

        def a_round() -> int:
            steps, done = 0, scrub.state.completed_us
            now[0] += 2_000_000_000
            while scrub.state.completed_us == done:
                passed[0] += 0.5
                scrub.step()
                steps += 1
            return steps

        size = sum(one.stat().st_size for part in ("", QUARANTINE, STREAMS) for one in scan_files(root / part).values())
        assert a_round() >= size / 4096 / 2, "the rate is bounded"
        assert log.stats().damaged_files == 0
        with flipped(path, 2_000):
            a_round()
            assert log.stats().damaged_files == 1
            assert log.ready
            (fault,) = folder_status(root).faults
            assert path.name in fault
        a_round()
        assert log.stats().damaged_files == 0
        assert folder_status(root).faults == []
        assert folder_status(root).scrub_completed_us == now[0] // 1_000


@pytest.mark.usefixtures("by_hand")
def test_the_slow_check_goes_on_after_a_restart(cold: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "data"
    shutil.copytree(cold, root)
    settings = load_settings({}, data_dir=str(root), min_free_bytes=0, scrub_interval_s=1)
    checked: list[Path] = []
    real = verify.checking
    monkeypatch.setattr("otel_audit.log.scrub.checking", lambda path, **how: checked.append(path) or real(path, **how))
    for _ in range(2):
        with ActivityLog.open(root, settings, clock=lambda: 2_000_000_000_000_000_000) as log:
            scrub = log._maintenance.scrub
            assert scrub.state.began_us or scrub._due()
            assert scrub._next_file()
            while scrub._under_way is not None:
                scrub._read_on()
            scrub._save()
    assert len(set(checked)) == 2
    assert read_scrubbed(root).completed_us == 0
