"""Tables fit a terminal of 80 columns; what they leave out is in the other formats."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from otel_audit import ActivityRecord, EntityRef, LocalActivityLogRepo, new_record_id
from otel_audit.cli.demo.child import CollectorProcess
from otel_audit.cli.output import Format
from otel_audit.cli.record_rows import write_records
from tests.cli.conftest import Invoke
from tests.log.test_budget import invalid
from tests.log.test_engine import open_log
from tests.spool.filled import FilledSpool

ROOMY = ActivityRecord.create(
    actor_id=new_record_id(), owner_id=new_record_id(), action="reassign_ownership_of_a_shared_task",
    entity_ref=EntityRef("SharedTaskOfATeam", new_record_id()), outcome="failure", reason="not allowed",
    changes={"status": ["open", "closed"], "priority": [1, None]}, metadata={"title": "x" * 200, "n": 5},
)  # fmt: skip
PLAIN = ActivityRecord.create(
    actor_id="ann", owner_id="bob", action="close_task", entity_ref=EntityRef("Task", 42),
    changes={"status": ["open", "closed"]}, metadata={"title": "Milk"},
)  # fmt: skip


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], Any], int], list[str]]:
    """What something writes to a terminal of so many columns, without its colours."""

    def show(write: Callable[[], Any], columns: int = 80) -> list[str]:
        stream = Terminal()
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setattr("sys.stdout", stream)
        write()
        return re.sub("\x1b\\[[0-9;]*m", "", stream.getvalue()).splitlines()

    return show


def test_a_table_of_records_has_a_line_of_80_columns_for_each(shown: Any) -> None:
    lines = shown(lambda: write_records([ROOMY, PLAIN], Format.TABLE))
    assert len(lines) == 3
    assert max(map(len, lines)) <= 80
    assert "close_task" in lines[2]
    assert "Task 42" in lines[2]


def test_a_change_is_shown_as_from_what_to_what(shown: Any) -> None:
    assert (
        shown(lambda: write_records([PLAIN], Format.TABLE), 100)[1]
        .rstrip()
        .endswith("  status: open → closed · title=Milk")
    )
    line = shown(lambda: write_records([ROOMY], Format.TABLE), 400)[1]
    assert "failure: not allowed · status: open → closed · priority: 1 → null · " in line


def test_ids_are_whole_where_there_is_room_and_short_at_both_ends_where_there_is_none(shown: Any) -> None:
    actor = str(ROOMY.actor_id)
    assert actor in shown(lambda: write_records([ROOMY], Format.TABLE), 400)[1]
    line = shown(lambda: write_records([ROOMY], Format.TABLE))[1]
    assert actor not in line
    short = re.search(r"\s([0-9a-f-]+)…([0-9a-f]+)\s", line)
    assert short is not None
    assert actor.startswith(short[1])
    assert actor.endswith(short[2])


@pytest.mark.parametrize("format", [Format.JSON, Format.JSONL, Format.CSV])
def test_the_other_formats_have_everything(format: Format, capsys: pytest.CaptureFixture[str]) -> None:
    write_records([ROOMY], format)
    text = capsys.readouterr().out
    for value in (ROOMY.actor_id, ROOMY.owner_id, ROOMY.action, "x" * 200):
        assert str(value) in text


def test_the_tables_of_a_folder_fit_80_columns(invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with LocalActivityLogRepo(tmp_path) as log:
        log.append_many([ROOMY, PLAIN])
    monkeypatch.setattr("otel_audit.cli.output.PIPE_WIDTH", 80)
    data = ["--data", str(tmp_path), "--format", "table"]
    for line in ("search", "get owner bob", "count --by actor_id", "gaps --all", "status"):
        done = invoke(*line.split(), *data)
        assert done.code == 0
        assert max(map(len, done.out.splitlines())) <= 80, done.out
    for line in ("settings", "settings --side collector"):
        done = invoke(*line.split(), "--format", "table")
        assert max(map(len, done.out.splitlines())) <= 80, done.out


def test_the_tables_of_a_spool_fit_80_columns_and_a_line_each(
    invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the ids, names and addresses of real ones."""
    spool, streams = FilledSpool(tmp_path), [f"019ab4f2-3{at}00-7000-8000-00000000000a" for at in "bc"]
    for stream_id in streams:
        stream = spool.stream(
            stream_id, endpoint="https://collector.audit.example.com:4318/v1/logs", service="inventory-reconciliation"
        )
        stream.write(1_200, at_once=100).park(300, "HTTP 403 Forbidden: this tenant may not write here, ask its owner")
    monkeypatch.setattr("otel_audit.cli.output.PIPE_WIDTH", 80)
    for words in ("status", "list"):
        done = invoke("spool", words, "--spool-dir", str(tmp_path), "--format", "table")
        assert done.code == 0, done.err
        lines = [line for line in done.out.splitlines() if not line.startswith(str(tmp_path))]
        assert max(map(len, lines)) <= 80, done.out
        for stream_id in streams:
            (line,) = (line for line in lines if line.startswith(stream_id[:13]))
            assert stream_id.startswith(line.split()[0])
            assert "300" in line
        assert len([line for line in lines if line and not line.startswith("parked: ")]) == 3, done.out


def test_the_tables_of_the_quarantine_fit_80_columns_and_a_line_each(
    invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_log(tmp_path) as log:
        log.submit(invalid("inventory-reconciliation", "r" * 60)).result()
    monkeypatch.setattr("otel_audit.cli.output.PIPE_WIDTH", 80)
    done = invoke("quarantine", "list", "--data", str(tmp_path), "--format", "table")
    lines = done.out.splitlines()
    assert len(lines) == 2, done.out
    assert max(map(len, lines)) <= 80
    assert "audit.actor.id" in lines[1]


@pytest.mark.slow
def test_the_table_of_a_ping_fits_80_columns_and_a_line_each(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("otel_audit.cli.output.PIPE_WIDTH", 80)
    with CollectorProcess(tmp_path) as collector:
        for words in ([], ["--record"]):
            done = invoke("ping", "--endpoint", collector.url, "--format", "table", *words)
            assert done.code == 0, done.err
            lines = done.out.splitlines()
            assert max(map(len, lines)) <= 80
            assert [line.split()[0] for line in lines[2:]][:1] == ["open"]
            assert all(re.search(r"\s\d+\.\d\s", line) for line in lines[2:]), done.out
