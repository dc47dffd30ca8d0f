"""`otel-audit quarantine release` and `drop` of many records at once, chosen as `list` chooses."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from otel_audit.cli.demo.child import CollectorProcess
from otel_audit.log import decisions, stores
from otel_audit.log.engine import ActivityLog
from otel_audit.log.held import held, held_records
from otel_audit.log.quarantine import digest_of, held_rows
from otel_audit.otlp.encode import encode_record, encode_resource, frame_request
from tests.cli.conftest import Done, Invoke
from tests.log.requests import ARRIVAL_NS, record, request
from tests.log.test_budget import invalid
from tests.log.test_engine import open_log, rows


def hold_valid(log: ActivityLog, *names: str, actor: str = "ann") -> None:
    """Hold records that a later release takes for valid activities."""
    items = []
    for name in names:
        encoded = encode_record(record(name, actor_id=actor), ARRIVAL_NS)
        body = frame_request(encode_resource({"service.name": "late"}), [encoded])
        items.append((digest_of(body), "127.0.0.1", "late", "was not valid once", body))
    log._stores.quarantine.commit(held_rows(items))


def quarantine(invoke: Invoke, root: Path, *words: str) -> Done:
    return invoke("quarantine", *words, "--data", str(root))


def test_what_is_held_is_listed_by_actor_and_by_when_it_came(invoke: Invoke, tmp_path: Path) -> None:
    with open_log(tmp_path) as log:
        hold_valid(log, "a", "b", actor="eve")
        hold_valid(log, "c")
        log.submit(invalid("shop", "d")).result()
    one = datetime.fromisoformat(held(tmp_path)[0].recorded_at)
    later = (datetime.now(UTC) + timedelta(days=1)).isoformat()

    def count(*words: str) -> int:
        done = quarantine(invoke, tmp_path, "list", "--format", "jsonl", *words)
        assert done.code == 0, done.err
        return len([json.loads(line) for line in done.out.splitlines()])

    assert [count("--actor", actor) for actor in ("eve", "ann", "nobody")] == [2, 1, 0]
    assert [count("--since", one.isoformat()), count("--until", one.isoformat())] == [4, 0]
    assert [count("--since", later), count("--until", later), count("--actor", "eve", "--since", later)] == [0, 4, 0]


def test_records_are_dropped_by_a_filter_and_the_others_stay(invoke: Invoke, tmp_path: Path) -> None:
    with open_log(tmp_path) as log:
        for at in range(3):
            log.submit(invalid("shop", f"r-{at}")).result()
        log.submit(invalid("other", "o")).result()
    assert quarantine(invoke, tmp_path, "drop").code == 2
    assert quarantine(invoke, tmp_path, "drop", "--all", "--service", "shop", "--yes").code == 2
    assert quarantine(invoke, tmp_path, "drop", "3fa9", "--service", "shop", "--yes").code == 2
    asked = quarantine(invoke, tmp_path, "drop", "--service", "shop")
    assert asked.code == 2
    assert "3 held records" in asked.err
    assert "--yes" in asked.err
    assert len(held(tmp_path)) == 4
    done = quarantine(invoke, tmp_path, "drop", "--service", "shop", "--yes")
    assert (done.code, done.out) == (0, "dropped 3 of 3\n")
    assert [one.service_name for one in held(tmp_path)] == ["other"]
    assert quarantine(invoke, tmp_path, "drop", "--all", "--yes").out == "dropped 1 of 1\n"
    assert quarantine(invoke, tmp_path, "drop", "--all", "--yes").out == "nothing is held\n"


def test_a_release_goes_on_after_records_that_stay_held_and_counts_them_by_cause(
    invoke: Invoke, tmp_path: Path
) -> None:
    with open_log(tmp_path) as log:
        log.submit(request(record("a"))).result()
        log.submit(request(record("a", action="other"))).result()
        for at in range(2):
            log.submit(invalid("shop", f"r-{at}")).result()
        hold_valid(log, "x", "y")
    done = quarantine(invoke, tmp_path, "release", "--all", "--yes")
    assert (done.code, done.out) == (65, "released 2 of 5\n")
    assert "2 for: it is no valid activity: audit.actor.id missing or empty" in done.err
    assert "1 for: another record with its id and other content is in the log" in done.err
    assert rows(tmp_path) == ["a", "x", "y"]
    assert len(held(tmp_path)) == 3


def test_a_failed_release_names_the_record_and_the_reason(invoke: Invoke, tmp_path: Path) -> None:
    with open_log(tmp_path) as log:
        log.submit(invalid("shop", "r")).result()
    (one,) = held(tmp_path)
    done = quarantine(invoke, tmp_path, "release", one.sha256[:8])
    assert (done.code, done.out) == (65, "")
    assert f"held record {one.sha256[:12]}: it is no valid activity: audit.actor.id missing or empty" in done.err
    assert "stays held" in done.err


@pytest.mark.parametrize("decision", ["release", "drop"])
def test_many_decisions_read_the_quarantine_a_few_times(
    decision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = []
    with open_log(tmp_path) as log:
        hold_valid(log, *(f"r-{at:03}" for at in range(300)))
        digests = [one.sha256 for one in held(tmp_path)]

        def counting(*given):  # type: ignore[no-untyped-def]
            reads.append(given)
            return held(*given)

        def counting_bytes(*given):  # type: ignore[no-untyped-def]
            reads.append(given)
            return held_records(*given)

        monkeypatch.setattr(stores, "held", counting)
        monkeypatch.setattr(decisions, "held_records", counting_bytes)
        assert log.decisions.decide_all(digests, decision) == {}  # type: ignore[arg-type]
        assert len(reads) == 2
        assert set(log.decisions.decide_all(digests[:2], decision)) == set(digests[:2])  # type: ignore[arg-type]
    assert held(tmp_path) == []
    assert len(rows(tmp_path)) == (300 if decision == "release" else 0)


@pytest.mark.slow
def test_a_running_collector_decides_about_many_records(invoke: Invoke, tmp_path: Path) -> None:
    root = tmp_path / "data"
    with open_log(root) as log:
        hold_valid(log, "x", "y")
        log.submit(invalid("shop", "r")).result()
    with CollectorProcess(root):
        done = quarantine(invoke, root, "release", "--all", "--yes")
        assert (done.code, done.out) == (65, "released 2 of 3\n")
        assert "no valid activity" in done.err
        short = held(root)[0].sha256[:8]
        failed = quarantine(invoke, root, "release", short)
        assert failed.code == 65
        assert "audit.actor.id missing or empty" in failed.err
        assert quarantine(invoke, root, "drop", "--service", "shop", "--yes").out == "dropped 1 of 1\n"
        assert rows(root) == ["x", "y"]
    assert held(root) == []
