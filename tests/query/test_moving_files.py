"""Reading beside a log that commits, merges and seals: never an error, never a short or a doubled answer."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from otel_audit import Filter
from otel_audit.config import load_settings
from otel_audit.log.engine import ActivityLog
from otel_audit.query.reader import DuckDBReader
from otel_audit.query.session import SqlSession
from tests.log.requests import record, request


@pytest.mark.slow
@pytest.mark.parametrize("input_keep_s", [0.0, 60.0])
def test_every_answer_is_whole_while_files_move(tmp_path: Path, input_keep_s: float) -> None:
    """Inputs that go at once make reads start again; with the usual minute nothing goes away under them. Either way a
    read sees all that was acknowledged before it began."""
    settings = load_settings(
        {}, min_free_bytes=0, merge_fan_in=2, merge_big_rows=64, seal_rows=100, hot_max_files=4,
        input_keep_s=input_keep_s,
    )  # fmt: skip
    with ActivityLog.open(tmp_path, settings) as log, DuckDBReader(tmp_path) as reader, SqlSession(tmp_path) as session:
        acknowledged, done, failures = [0], threading.Event(), []

        def write() -> None:
            for at in range(120):
                log.submit(request(record(f"r-{at}"))).result()
                acknowledged[0] = at + 1
            done.set()

        def read(ask) -> None:
            try:
                while not done.is_set():
                    before = acknowledged[0]
                    found = ask()
                    if not before <= found <= acknowledged[0] + 1:
                        failures.append((before, found, acknowledged[0]))
            except Exception as error:
                failures.append(error)

        def listed() -> int:
            ids = [r.record_id for r in reader.iter_records(Filter(actor_id="ann"))]
            assert len(ids) == len(set(ids))
            return len(ids)

        threads = [
            threading.Thread(target=work)
            for work in (
                write,
                lambda: read(lambda: reader.count(Filter(actor_id="ann"))),
                lambda: read(listed),
                lambda: read(lambda: next(session.run("SELECT count(*) FROM activity")[1])[0]),
            )
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        assert reader.count() == 120
        assert log.stats().merges + log.stats().seals > 0
