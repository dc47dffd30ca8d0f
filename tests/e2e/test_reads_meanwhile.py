"""Reads while the log commits, merges, seals and removes files: no error, no short answer, nothing twice."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from otel_audit.config import load_settings
from otel_audit.log.engine import ActivityLog
from otel_audit.model.filters import Filter, LogPosition
from otel_audit.model.record import EntityRef
from otel_audit.query.reader import DuckDBReader
from tests.log.requests import record, request

QUERIES = int(os.environ.get("OTEL_AUDIT_TEST_QUERIES", "1000"))
ENTITY = EntityRef("Task", "watched")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_reads_beside_merges_and_seals_are_complete_and_exact(tmp_path: Path) -> None:
    # Inputs stay one second here instead of sixty: a hundred times the churn of a real collector.
    settings = load_settings({}, merge_fan_in=3, seal_rows=400, input_keep_s=1.0, min_free_bytes=0)
    acknowledged = 0
    stop = threading.Event()
    with ActivityLog.open(tmp_path, settings) as log:

        def write() -> None:
            nonlocal acknowledged
            at = 0
            while not stop.is_set():
                log.submit(request(record(f"w{at:08d}", entity_ref=ENTITY), record(f"o{at:08d}"))).result()
                at += 1
                acknowledged = at

        writer = threading.Thread(target=write)
        writer.start()
        try:
            with DuckDBReader(tmp_path, settings) as reader:
                for number in range(QUERIES):
                    before = acknowledged
                    kind = number % 4
                    if kind == 0:
                        newest = [r.record_id for r in reader.get_by_entity(ENTITY, limit=10)]
                        last = int(str(newest[-1])[1:]) if newest else -1
                        assert last >= before - 1
                        assert newest == [f"w{at:08d}" for at in range(max(0, last - 9), last + 1)]
                    elif kind == 1:
                        count = reader.count(Filter(entity_ref=ENTITY))
                        assert before <= count <= acknowledged + 1
                    elif kind == 2:
                        after = LogPosition(log.name, max(-1, 2 * before - 41))
                        page = reader.search(after=after, limit=20)
                        first, pairs = (after.log_index + 1) // 2, page.records[::2]
                        assert [str(r.record_id)[1:] for r in pairs] == [
                            f"{first + at:08d}" for at in range(len(pairs))
                        ]
                        assert len(page.records) >= min(20, 2 * before - after.log_index - 1)
                    elif before:
                        assert reader.get_by_id(f"w{before - 1:08d}") is not None
        finally:
            stop.set()
            writer.join()
        stats = log.stats()
        print(f"{QUERIES} queries beside {stats.commits} commits, {stats.merges} merges, {stats.seals} seals")
        assert stats.merges > 5
        assert stats.seals > 2
