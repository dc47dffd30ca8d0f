"""The bed would notice if notes about streams were lost, or told of records that are nowhere."""

from __future__ import annotations

import shutil
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from otel_audit.disk import Disk
from otel_audit.errors import UnwritableError
from otel_audit.log import window as window_module
from otel_audit.log import writer
from otel_audit.log.streams import FOLDER as STREAMS
from tests.faults import bed
from tests.faults.disk import Died, Fault, FaultyDisk
from tests.faults.world import Ledger, World, check_after, persist
from tests.log.requests import record, request


def found(base: Path, kind: str, fault: Fault) -> str:
    """The first promise broken in runs where that goes wrong at operations of one kind."""
    trace = bed.operations(base)
    cases = [{at: fault} for at, of_kind in enumerate(trace) if of_kind == kind]
    (first,) = bed.violations(base, cases, lambda found: found >= 1)
    return first


@pytest.mark.slow
def test_a_note_that_is_durable_before_its_record_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A number that reads as a repeat, of a record that is nowhere, would hide a loss."""
    write = writer.Writer.write

    def hasty(self: Any, requests: list[Any]) -> Any:
        window = window_module.sort_out([one.table for one in requests], self._index, self._lookup.digests)
        starts = np.cumsum([0, *(one.table.num_rows for one in requests)])
        self._note(requests, window, starts, set())
        return write(self, requests)

    monkeypatch.setattr(writer.Writer, "write", hasty)
    what = found(tmp_path, "unlink", Fault("die", "after"))
    assert "nowhere" in what or "not there" in what


@pytest.mark.slow
def test_an_answer_before_its_notes_are_durable_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    note = writer.Writer._note

    def careless(self: Any, *window: Any) -> None:
        with suppress(UnwritableError):
            note(self, *window)

    monkeypatch.setattr(writer.Writer, "_note", careless)
    what = found(tmp_path, "write_new", Fault("fail", "before"))
    assert "neither archived nor noted" in what or "fewer repeats" in what


@pytest.mark.slow
def test_whatever_goes_wrong_while_an_older_folder_gets_its_streams_log_it_opens(tmp_path: Path) -> None:
    """A folder of the release before this one has a log of activities and a quarantine, and no more."""
    sent = request(record("a"), stream=("s", 1))
    older, ledger = tmp_path / "older", Ledger()
    World(older, Disk(), ledger).send(sent)
    shutil.rmtree(older / STREAMS)

    def open_it(base: Path, faults: bed.Faults) -> tuple[FaultyDisk, Path]:
        disk, root = FaultyDisk(faults), base / "data"
        shutil.copytree(older, root)
        disk.know(root)
        try:
            persist(lambda: World(root, disk, deepcopy(ledger)))
        except Died:
            loss = faults[len(disk.trace) - 1].loss
            if loss is not None:
                disk.after_power_loss(root, loss, base / "left")
                root = base / "left"
        return disk, root

    trace = open_it(tmp_path / "rehearsal", {})[0].trace
    assert trace.count("make_folder") == 4
    for at, faults in enumerate(bed.matrix(trace)):
        _, root = open_it(tmp_path / str(at), faults)
        check_after(root, deepcopy(ledger), [sent], frozenset("a"))
