"""A clock that is stepped either way: order, repeats and days stay right, because none of them is taken from it."""

from __future__ import annotations

import json
import secrets
import time
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from otel_audit.archive.listing import list_log
from otel_audit.log.status import folder_status
from tests.fire.served import serving
from tests.fire.traffic import Peer, until

START_NS = int(datetime(2026, 3, 10, 12, tzinfo=UTC).timestamp()) * 10**9
DAY_NS = 86_400 * 10**9
QUICK = {"index_run_rows": 4, "merge_fan_in": 3, "input_keep_s": 0.05}


class Clock:
    """Goes with the real one, from wherever it is put."""

    def __init__(self, at_ns: int) -> None:
        self.put(at_ns)

    def put(self, at_ns: int) -> None:
        self._offset = at_ns - time.monotonic_ns()

    def step(self, by_ns: int) -> None:
        self._offset += by_ns

    def __call__(self) -> int:
        return time.monotonic_ns() + self._offset


def ids_at(clock: Clock, count: int = 3) -> list[str]:
    """Ids of every kind: with the producer's time, without one, and text."""
    version = 7 << 76 | 2 << 62
    timed = [str(uuid.UUID(int=clock() // 10**6 << 80 | version | secrets.randbits(62))) for _ in range(count)]
    return [
        *timed,
        *(str(uuid.uuid4()) for _ in range(count)),
        *(f"order-{uuid.uuid4().hex[:8]}" for _ in range(count)),
    ]


def rows_of(data: Path) -> list[tuple[int, str]]:
    columns = ["log_index", "record_id"]
    tables = [pq.read_table(file.path, columns=columns, partitioning=None) for file in list_log(data).files]
    return [(row["log_index"], row["record_id"]) for table in tables for row in table.to_pylist()]


@pytest.mark.slow
@pytest.mark.parametrize("steps", [(-DAY_NS, 31 * DAY_NS), (31 * DAY_NS, -32 * DAY_NS), (-365 * DAY_NS, 366 * DAY_NS)])
def test_a_stepped_clock_changes_no_order_and_forgets_no_id(tmp_path: Path, steps: Sequence[int]) -> None:
    data, clock = tmp_path / "data", Clock(START_NS)
    sent: list[list[str]] = []

    def send_more(peer: Peer, requests: int = 4) -> None:
        for _ in range(requests):
            sent.append(ids_at(clock))
            assert peer.send(sent[-1]) == 200

    def nothing_new(peer: Peer) -> None:
        rows = peer.metric("otel_audit_rows")
        assert rows == sum(map(len, sent))
        for ids in sent:
            assert peer.send(ids) == 200
        assert peer.metric("otel_audit_rows") == rows

    for _restart in range(2):
        with serving(data, clock, **QUICK) as collector:
            peer = Peer(collector.port)
            for step in steps:
                send_more(peer)
                until(lambda peer=peer: peer.metric("otel_audit_merges_total") > 0)
                clock.step(step)
                send_more(peer)
                nothing_new(peer)
                assert peer.ready() == ""
            status, _, body = peer.ask("POST", "/admin/seal")
            assert (status, json.loads(body)["sealed_files"] > 0) == (200, True)
            nothing_new(peer)
            peer.close()
    manifest = json.loads((data / "log" / "ids" / "manifest.json").read_bytes())
    assert manifest["horizon_ms"] > START_NS // 10**6 - 366 * 86_400_000, "some ids left the index for the files"
    in_order = [one for ids in sent for one in ids]
    assert rows_of(data) == list(enumerate(in_order))
    assert folder_status(data, check=True).faults == []


def test_a_sealed_file_holds_one_day_whichever_way_the_days_go(tmp_path: Path) -> None:
    data, clock = tmp_path / "data", Clock(START_NS)
    with serving(data, clock, **QUICK) as collector:
        peer = Peer(collector.port)
        for step in (0, -DAY_NS, 2 * DAY_NS, -40 * DAY_NS, 80 * DAY_NS):
            clock.step(step)
            for _ in range(3):
                assert peer.send(ids_at(clock, 1)) == 200
        assert peer.ask("POST", "/admin/seal")[0] == 200
        peer.close()
    days = []
    for file in list_log(data).files:
        recorded = pq.read_table(file.path, columns=["recorded_at"], partitioning=None)["recorded_at"].to_pylist()
        days += {f"date={one.date().isoformat()}" for one in recorded}
        assert file.path.parent.name == days[-1]
    assert days == [f"date=2026-{day}" for day in ("03-10", "03-09", "03-11", "01-30", "04-20")]
