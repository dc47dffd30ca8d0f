"""`otel-audit quarantine list`: what is held, the part that matters, or how much of what."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.conftest import Invoke
from tests.log.requests import record, request
from tests.log.test_budget import invalid
from tests.log.test_engine import open_log


def test_what_is_held_is_listed_by_service_reason_and_cause(invoke: Invoke, tmp_path: Path) -> None:
    with open_log(tmp_path) as log:
        log.submit(request(record("a"), record("b"))).result()
        log.submit(request(record("a", action="x"), record("b", action="y"))).result()
        for at in range(3):
            log.submit(invalid("shop", f"r-{at}")).result()

    def listed(*words: str) -> list[dict[str, object]]:
        done = invoke("quarantine", "list", "--data", str(tmp_path), "--format", "jsonl", *words)
        assert done.code == 0, done.err
        return [json.loads(line) for line in done.out.splitlines()]

    assert [row["service_name"] for row in listed()] == ["test"] * 2 + ["shop"] * 3
    assert len(listed("--service", "shop", "--limit", "2")) == 2
    assert len(listed("--reason", "conflict")) == 2
    assert listed("--causes") == [
        {"service": "shop", "cause": "audit.actor.id missing or empty", "records": 3},
        {"service": "test", "cause": "conflict: a record with id … and other content is in the log", "records": 2},
    ]


def test_a_conflict_is_shown_with_the_fields_that_differ(invoke: Invoke, tmp_path: Path) -> None:
    with open_log(tmp_path) as log:
        log.submit(request(record("a"), record("b"))).result()
        log.submit(request(record("a", action="x", owner_id="other"))).result()
        log.submit(invalid("shop", "r")).result()

    def shown(reason: str) -> dict[str, object]:
        row = json.loads(
            invoke("quarantine", "list", "--data", str(tmp_path), "--format", "jsonl", "--reason", reason).out
        )
        done = invoke("quarantine", "show", row["sha256"], "--data", str(tmp_path))
        assert done.code == 0, done.err
        return json.loads(done.out)

    assert shown("conflict")["differs_in"] == ["owner_id", "action"]
    assert "differs_in" not in shown("missing")
