"""The check for what has gone is worth what it finds: each of these bugs must be found by it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from otel_audit.archive.listing import list_log
from otel_audit.config import Settings
from otel_audit.disk import Disk
from otel_audit.errors import ArchiveFaultError
from otel_audit.log import folder, stores
from otel_audit.log.high_water import HighWater
from otel_audit.log.index import IdIndex
from otel_audit.log.store import Store
from tests.faults.world import SETTINGS, Ledger, Violation, World, check, demand
from tests.log.requests import record, request


def must_be_missed(root: Path, lose: Callable[[], None]) -> None:
    """Whoever opens a folder that has lost something is told, and it is not made anew."""
    lose()
    left = sorted(root.rglob("*.parquet"))
    try:
        World(root, Disk(), Ledger())
    except ArchiveFaultError as error:
        demand("are missing" in str(error), f"the fault is another one: {error}")
    else:
        raise Violation("opened as if nothing were missing")
    demand(sorted(root.rglob("*.parquet")) == left, "files were changed")


def a_killed_log(root: Path) -> None:
    world = World(root, Disk(), Ledger())
    for at in range(3):
        world.send(request(record(f"r-{at}"), broken=1, stream=("s", 2 * at + 1)))
        world.maintain()


def lost_ends(base: Path) -> None:
    """Each log of a folder loses its newest file, all files, and its folder."""
    for log in ("", "quarantine", "streams"):
        for number, lose in enumerate((newest, every_file, *([whole] if log else []))):
            root = base / f"{log or 'activity'}-{number}"
            a_killed_log(root)
            must_be_missed(root, lambda lose=lose, at=root / log: lose(at))  # type: ignore[misc]


def newest(root: Path) -> None:
    end = list_log(root).next_index
    for path in root.glob(f"hot/*-{end - 1:016d}.*"):
        path.unlink()


def every_file(root: Path) -> None:
    for path in [*root.glob("hot/*.parquet"), *root.glob("archive/*/*.parquet")]:
        path.unlink()


def whole(root: Path) -> None:
    shutil.rmtree(root)


def another_copys_files(base: Path) -> None:
    """Files of a copy that went on by itself come beside an index that knows other rows."""
    spilling = Settings({**SETTINGS, "index_run_rows": 1})
    one, other = base / "one", base / "other"
    World(one, Disk(), Ledger(), spilling).send(request(record("a")))
    shutil.copytree(one, other)
    for root, names in ((one, "bcd"), (other, "xyzuvw")):
        world = World(root, Disk(), Ledger(), spilling)
        for name in names:
            world.send(request(record(name)))
            world.maintain()
    for part in ("hot", "archive"):
        shutil.rmtree(one / part)
        shutil.copytree(other / part, one / part)
    ledger = Ledger()
    world = World(one, Disk(), ledger, Settings({**SETTINGS, "index_run_rows": 1_000}))
    for name in "bcdxyz":
        world.send(request(record(name)))
    check(one, ledger)


SCENARIOS = [lost_ends, another_copys_files]


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_what_has_gone_is_missed(tmp_path: Path, scenario: Callable[[Path], None]) -> None:
    scenario(tmp_path)


def the_mark_is_not_written(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(HighWater, "write", lambda _: None)


def the_mark_is_written_at_the_start_alone(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(HighWater, "write_if_due", lambda _: None)


def a_side_log_is_made_anew(patch: pytest.MonkeyPatch) -> None:
    def anew(root: Path, kind: str, _: Any, disk: Disk, clock: Callable[[], int]) -> folder.Identity:
        return folder.open_identity(root, kind, disk, clock)

    patch.setattr(stores, "open_side_log", anew)


def a_stale_index_is_believed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Store, "holds", lambda *_: True)


@pytest.mark.parametrize(
    ("plant", "scenario", "what"),
    [
        (the_mark_is_not_written, lost_ends, "as if nothing were missing"),
        (the_mark_is_written_at_the_start_alone, lost_ends, "as if nothing were missing"),
        (a_side_log_is_made_anew, lost_ends, "as if nothing were missing"),
        (a_stale_index_is_believed, another_copys_files, "lost|doubled"),
    ],
)
def test_a_planted_bug_is_found(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    plant: Callable[[pytest.MonkeyPatch], None],
    scenario: Callable[[Path], None],
    what: str,
) -> None:
    plant(monkeypatch)
    monkeypatch.setattr(
        IdIndex, "claimed_end", lambda _: 0
    )  # it knows durable rows too, and would stand in for the mark
    with pytest.raises(Violation, match=what):
        scenario(tmp_path)
