"""How long copies are kept, and that one process sees to it for all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from otel_audit.disk import Disk
from otel_audit.spool.places import EXPIRED, SENT, STREAMS, SegmentName
from otel_audit.spool.pools import Pools
from otel_audit.spool.retention import Retention
from tests.spool.plain import new_spool

KEEP_S = 30_000.0
EVERY_S = 300.0


class Clock:
    """Seconds since 1970; files are dated by the real clock, so it begins there."""

    def __init__(self, now_s: float) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return new_spool(tmp_path / "spool").root


def deliver(pools: Pools, at: int, size: int = 10) -> Path:
    name = SegmentName(at, at)
    folder = pools.root / STREAMS / "s"
    folder.mkdir(exist_ok=True)
    (folder / name.format()).write_bytes(bytes(size))
    pools.take_in(folder / name.format(), "s", name, SENT)
    return pools.root / SENT / f"s.{name.format()}"


def looks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows whenever somebody looks at the delivered files."""
    found: list[int] = []
    real = Retention.expire
    monkeypatch.setattr(Retention, "expire", lambda self, keep=None: found.append(1) or real(self, keep))
    return found


def test_of_several_processes_one_expires_and_seldom(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = looks(monkeypatch)
    copy = deliver(Pools(root, Disk(), KEEP_S, 1 << 30), 1)
    clock = Clock(copy.stat().st_ctime + 10 * KEEP_S)
    processes = [Pools(root, Disk(), KEEP_S, 1 << 30, wall_s=clock) for _ in range(5)]
    for pools in processes:
        pools.expire_in_turn()
    assert (len(seen), copy.exists()) == (1, False)
    for _ in range(7):
        clock.now_s += EVERY_S / 5
        for pools in processes:
            pools.expire_in_turn()
    assert len(seen) == 2


def test_a_short_time_of_keeping_is_kept_to(root: Path) -> None:
    clock = Clock(0.0)
    pools = Pools(root, Disk(), 10.0, 1 << 30, wall_s=clock)
    copy = deliver(pools, 1)
    clock.now_s = copy.stat().st_ctime
    pools.expire_in_turn()
    clock.now_s += 10.2
    pools.expire_in_turn()
    assert not copy.exists()


def test_much_that_is_delivered_at_once_does_not_wait_for_a_turn(root: Path) -> None:
    pools = Pools(root, Disk(), KEEP_S, 160)
    pools.expire_in_turn()
    copies = [deliver(pools, at, 100) for at in range(1, 4)]
    pools.expire_in_turn()
    assert [copy.exists() for copy in copies] == [False, False, True]


def test_a_clock_that_was_set_back_does_not_end_it(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(2e9)
    pools = Pools(root, Disk(), KEEP_S, 1 << 30, wall_s=clock)
    pools.expire_in_turn()
    clock.now_s = 1e9
    seen = looks(monkeypatch)
    pools.expire_in_turn()
    assert seen


def test_where_the_turn_cannot_be_noted_each_process_looks_for_itself_and_seldom(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*args: object, **named: object) -> None:
        raise PermissionError(1, "not yours")

    (root / EXPIRED).touch()
    os.utime(root / EXPIRED, (0, 0))
    monkeypatch.setattr("otel_audit.spool.retention.os.utime", refused)
    seen = looks(monkeypatch)
    for pools in (Pools(root, Disk(), KEEP_S, 1 << 30) for _ in range(2)):
        for _ in range(3):
            pools.expire_in_turn()
    assert len(seen) == 2
