"""`otel-audit views` is all that a DuckDB session needs."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from otel_audit import ActivityRecord, EntityRef, LocalActivityLogRepo
from tests.cli.conftest import Invoke


@pytest.mark.parametrize("name", ["data", "o'clock"])
def test_the_script_gives_a_plain_session_the_views_of_the_folder(invoke: Invoke, tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    with LocalActivityLogRepo(folder) as log:
        log.append(
            ActivityRecord.create(actor_id="ann", owner_id="bob", action="close", entity_ref=EntityRef("Task", 42))
        )
    done = invoke("views", "--data", str(folder))
    assert (done.code, done.err) == (0, "")
    with duckdb.connect() as session:
        session.execute(done.out)
        assert session.execute("SELECT actor_id, action FROM by_entity('Task', '42')").fetchall() == [("ann", "close")]
