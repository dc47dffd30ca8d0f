"""`otel-audit backup` tells what it did, and exits non-zero when the copy is not whole."""

from __future__ import annotations

import json
from pathlib import Path

from otel_audit.archive.listing import list_log
from otel_audit.config import load_settings
from otel_audit.log.engine import ActivityLog
from tests.cli.conftest import Invoke
from tests.log.requests import record, request


def test_the_command_tells_what_it_did_and_exits_non_zero_on_a_fault(tmp_path: Path, invoke: Invoke) -> None:
    data, copy = tmp_path / "data", tmp_path / "copy"
    with ActivityLog.open(data, load_settings({}, min_free_bytes=0)) as log:
        for at in range(4):
            log.submit(request(record(f"r-{at}"))).result(60)
    done = invoke("backup", "--data", str(data), str(copy))
    assert (done.code, done.err) == (0, "")
    assert json.loads(done.out) | {"copied_bytes": 0, "log": ""} == {
        "log": "", "rows": 4, "copied": 4, "linked": 0, "kept": 0, "removed": 0, "copied_bytes": 0
    }  # fmt: skip
    done = invoke("backup", "--data", str(data), str(copy), "--link", "--format", "table")
    assert "4 rows of log" in done.out
    assert "4 there already" in done.out
    list_log(data).files[1].path.unlink()
    done = invoke("backup", "--data", str(data), str(copy))
    assert done.code == 74
    assert "rows 1-1 are missing" in done.err
