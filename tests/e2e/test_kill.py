"""Whatever moment the collector is killed at, every acknowledged record is in the archive, once."""

from __future__ import annotations

import os
import random
import threading
import time
from pathlib import Path

import pytest

from otel_audit import ActivityRecord, EntityRef, OTelActivityLogRepo
from otel_audit.config import load_settings
from otel_audit.log.status import folder_status
from tests.e2e.processes import CollectorProcess, archived_ids

KILLS = int(os.environ.get("OTEL_AUDIT_TEST_KILLS", "20"))


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_killed_at_random_moments_nothing_is_lost_and_nothing_doubled(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    sent: list[str] = []
    stop = threading.Event()
    small = {"seal_rows": 20_000, "merge_fan_in": 4, "input_keep_s": 0.2, "min_free_bytes": 0, "index_run_rows": 5_000}
    with CollectorProcess(tmp_path / "data", **small) as collector:
        log = OTelActivityLogRepo(collector.url, timeout_s=60.0, settings=load_settings({}, retry_max_s=1.0))

        def produce() -> None:
            at = 0
            while not stop.is_set():
                record = ActivityRecord.create(
                    actor_id=f"actor-{at % 50}",
                    owner_id=f"owner-{at % 20}",
                    action="edit",
                    entity_ref=EntityRef("Task", at % 1000),
                    metadata={"n": at},
                )
                log.append(record)
                sent.append(str(record.record_id))
                at += 1
                if at % 200 == 0:
                    time.sleep(0.01)

        producer = threading.Thread(target=produce)
        producer.start()
        for _ in range(KILLS):
            time.sleep(rng.uniform(0.05, 1.2))
            collector.kill()
            collector.start()
        stop.set()
        producer.join()
        log.flush(timeout_s=120)
        log.close()
        assert collector.stop() == 0
    archived = archived_ids(tmp_path / "data")
    assert set(archived) == set(sent)
    assert max(archived.values()) == 1
    assert len(sent) > 1_000
    status = folder_status(tmp_path / "data", check=True)
    assert status.faults == []
    assert status.rows == len(sent)
    assert status.quarantined == 0
    print(f"{KILLS} kills, {len(sent)} records, {status.duplicates_dropped} repeats dropped, 0 lost, 0 doubled")
