"""Whatever senders, operators, clocks and disks do in whichever order, the log is what the plain model says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from otel_audit.archive.names import FileName, Stage
from otel_audit.errors import ArchiveFaultError
from otel_audit.log import compact, maintenance
from otel_audit.log.index import IdIndex, Verdict
from otel_audit.log.store import Store
from tests.faults.world import Violation
from tests.log.machine import LogMachine

PHASES = (Phase.reuse, Phase.generate, Phase.shrink)
"""All but the explaining one, which takes as long again."""


@pytest.mark.timeout(600)  # a failure is shrunk before it is told
def test_the_log_and_the_model_agree() -> None:
    run_state_machine_as_test(LogMachine, settings=settings(max_examples=8, stateful_step_count=20, phases=PHASES))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_log_and_the_model_agree_for_long() -> None:
    run_state_machine_as_test(LogMachine, settings=settings(max_examples=150, stateful_step_count=40, phases=PHASES))


# --- the test is worth what it finds: each of these bugs must be found ---

Plant = Callable[[pytest.MonkeyPatch], None]


def after_a_spill(forget: Callable[[IdIndex], None]) -> Plant:
    """The index as it is, but for what it forgets whenever ids have gone to disk."""

    def plant(patch: pytest.MonkeyPatch) -> None:
        spill = IdIndex.spill

        def forgetful(self: IdIndex) -> None:
            spill(self)
            forget(self)

        patch.setattr(IdIndex, "spill", forgetful)

    return plant


def ids_without_a_time_are_forgotten(of: IdIndex) -> None:
    of._runs["kept"].clear()


def old_ids_are_taken_for_new(of: IdIndex) -> None:
    of.horizon_ms = 0


def a_merge_drops_a_row(patch: pytest.MonkeyPatch) -> None:
    """The proof is made from the same rows, and so sees nothing."""
    rows = compact._rows

    def fewer(*of: Any, **how: Any) -> Iterator[pa.Table]:
        tables = list(rows(*of, **how))
        yield from tables[:-1]
        yield tables[-1].slice(0, tables[-1].num_rows - 1) if len(tables) > 1 else tables[-1]

    patch.setattr(compact, "_rows", fewer)


def a_merge_swaps_two_rows(patch: pytest.MonkeyPatch) -> None:
    rows = compact._rows

    def swapped(*of: Any, **how: Any) -> Iterator[pa.Table]:
        for table in rows(*of, **how):
            if "log_index" not in table.column_names or table.num_rows < 2:
                yield table
            else:
                order = [1, 0, *range(2, table.num_rows)]
                yield table.take(order).set_column(0, table.schema.field(0), table["log_index"])

    patch.setattr(compact, "_rows", swapped)


def a_seal_gives_its_range_away(patch: pytest.MonkeyPatch) -> None:
    real = maintenance.compact

    def generous(store: Store, inputs: tuple[FileName, ...], stage: Stage) -> FileName:
        name = real(store, inputs, stage)
        if stage is Stage.SEALED:
            store.next_index = name.last
        return name

    patch.setattr(maintenance, "compact", generous)


def a_conflict_counts_as_a_repeat(patch: pytest.MonkeyPatch) -> None:
    look_up = IdIndex.look_up

    def blind(self: IdIndex, ids: list[bytes], digests: list[int]) -> Any:
        verdicts = look_up(self, ids, digests)
        verdicts[verdicts == Verdict.CONFLICT] = Verdict.DUPLICATE
        return verdicts

    patch.setattr(IdIndex, "look_up", blind)


TAKEN_FOR_SOMETHING_ELSE = "^answered"
OTHER_ROWS = "its range has|not contiguous|other indexes|was published there|instead of"
RANGES_IN_DISORDER = "was published there|rows came|overlap|not contiguous"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("plant", "what"),
    [
        (after_a_spill(ids_without_a_time_are_forgotten), TAKEN_FOR_SOMETHING_ELSE),
        (after_a_spill(old_ids_are_taken_for_new), TAKEN_FOR_SOMETHING_ELSE),
        (a_conflict_counts_as_a_repeat, TAKEN_FOR_SOMETHING_ELSE),
        (a_merge_drops_a_row, OTHER_ROWS),
        (a_merge_swaps_two_rows, OTHER_ROWS),
        (a_seal_gives_its_range_away, RANGES_IN_DISORDER),
    ],
    ids=[
        "v4 ids forgotten",
        "v7 ids forgotten",
        "a conflict lost",
        "a row dropped",
        "rows swapped",
        "a range used again",
    ],
)
def test_a_planted_bug_is_found(monkeypatch: pytest.MonkeyPatch, plant: Plant, what: str) -> None:
    plant(monkeypatch)
    enough = settings(max_examples=60, stateful_step_count=30, phases=[Phase.generate], database=None)
    with pytest.raises((Violation, ArchiveFaultError), match=what):
        run_state_machine_as_test(seed(1)(lambda: LogMachine()), settings=enough)
