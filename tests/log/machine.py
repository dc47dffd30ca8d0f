"""A log driven at random, step by step, beside a model that never fails; whatever happens, the two must agree."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from otel_audit.archive.listing import list_log
from otel_audit.archive.names import FileName, Stage
from otel_audit.config import load_settings
from otel_audit.errors import UnwritableError
from otel_audit.log.held import held_records
from otel_audit.log.quarantine import FOLDER, decision_rows
from otel_audit.log.status import folder_status
from otel_audit.otlp.names import STREAM_STATES, StreamState
from otel_audit.query.reader import DuckDBReader
from tests.faults.disk import A_WRITE, ANY_OPERATION, LOSSES, Died, Fault, FaultyDisk, Loss
from tests.faults.world import Ledger, World, check, demand
from tests.log.checks import check_held, check_rows, check_sealed
from tests.log.model import RECORDS, Answer, Clock, Item, Model, Outcome, Request, decode
from tests.log.questions import ALWAYS_ASKED, Question, everything, questions

SETTINGS = load_settings(
    {}, min_free_bytes=0, merge_fan_in=2, input_keep_s=0.0, index_run_rows=4, dedupe_window_s=4.0, seal_rows=16
)
_TRIES = 6
_ITEMS = st.builds(
    Item,
    st.integers(0, len(RECORDS) - 1),
    st.sampled_from(["true", "true", "true", "other", "broken", "early", "early"]),
    st.one_of(st.none(), st.tuples(st.sampled_from(["s1", "s2"]), st.integers(1, 9))),
)
_WINDOWS = st.lists(st.lists(_ITEMS, max_size=4), min_size=1, max_size=2)


class Driven(World):
    """A world that also says how far it is, and takes any decision."""

    @property
    def next_indexes(self) -> tuple[int, int]:
        """Of activities and quarantine, once the folder is settled."""
        self._settle()
        return self._stores.activity.next_index, self._stores.quarantine.next_index

    @property
    def unsealed(self) -> list[FileName]:
        """The hot files that hold rows no sealed file has."""
        return [
            name for store in self._stores.every for name in store.coverage().files if name.stage is not Stage.SEALED
        ]

    def decide(self, digest: str, decision: str) -> None:
        """Decide about a held record."""
        self._settle()
        self._stores.quarantine.commit(decision_rows([digest], decision, "by an operator"))
        self._stores.held_index.add([], [], self._stores.quarantine.next_index)


class LogMachine(RuleBasedStateMachine):
    """Every rule is something that may happen to a log."""

    def __init__(self) -> None:
        super().__init__()
        self.base = Path(tempfile.mkdtemp(prefix="otel-audit-model-"))
        self.root = self.base / "data-0"
        self.clock, self.model, self.ledger = Clock(), Model(), Ledger()
        self.sealed: dict[str, bytes] = {}
        self.disk = FaultyDisk({}, self._see)
        self.world: Driven | None = None
        self.reader: DuckDBReader | None = None
        self.sent: list[list[Request]] = []
        self.pending = Outcome()

    def _see(self, path: Path) -> None:
        """What a reader that is there at once does: look, and remember."""
        self.ledger.see(path)
        if "archive" in path.parts:
            self.sealed[path.name] = path.read_bytes()

    # --- one step, whatever goes wrong in it ---

    def _do(self, step: Callable[[Driven], None]) -> None:
        """Take a step, again after an error and after the end of the process, as senders and maintenance do.

        After a failure the model learns from the folder how far `pending` came: all of it, or nothing.
        """
        for _ in range(_TRIES):
            try:
                if self.world is None:
                    self.world = Driven(self.root, self.disk, self.ledger, SETTINGS, self.clock)
                self._learn(self.world)
                step(self.world)
                if self.world is not None:
                    self._learn(self.world, all_of_it=True)
                return
            except Died:
                self._end(self.disk.faults[len(self.disk.trace) - 1].loss)
            except UnwritableError:
                continue
        demand(False, "it does not heal")

    def _learn(self, world: Driven, *, all_of_it: bool = False) -> None:
        activities, held = world.next_indexes
        new, quarantine = self.pending.new, self.pending.quarantine
        stored = activities - self.model.rows, held - len(self.model.quarantine)
        for came, wanted in zip(stored, (len(new), len(quarantine)), strict=True):
            demand(came == wanted or (came == 0 and not all_of_it), f"{came} rows came of {wanted}")
        if stored[0]:
            self.model.store(new)
        if stored[1]:
            self.model.hold(self.pending)
        self.pending = Outcome()

    def _end(self, loss: Loss | None) -> None:
        """The process is gone, and with power lost all that was not durable."""
        self.world = None
        if loss is not None:
            left = self.base / f"data-{int(self.root.name.partition('-')[2]) + 1}"
            self.disk.after_power_loss(self.root, loss, left)
            self.root, self.disk = left, FaultyDisk({}, self._see)
            self.disk.know(left)
            self._close_reader()

    def _send(self, window: list[Request]) -> None:
        def step(world: Driven) -> None:
            outcome = self.pending = self.model.judge(window)
            answers = [Answer.given(answer) for answer in world.send(*(request.decoded for request in window))]
            demand(answers == outcome.answers, f"answered {answers} instead of {outcome.answers}")

        self._do(step)

    def _decide(self, digest: str, decision: str) -> None:
        def step(world: Driven) -> None:
            if digest in self.model.held:  # else a try that failed afterwards has decided it
                self.pending = Outcome(quarantine=[(digest, decision)])
                world.decide(digest, decision)

        self._do(step)

    # --- what may happen ---

    @initialize()
    def open(self) -> None:
        self._do(lambda _: None)

    @rule(windows=st.lists(st.one_of(_WINDOWS, st.integers(0, 15)), min_size=1, max_size=4))
    def send(self, windows: list[list[list[Item]] | int]) -> None:
        """A number: what was sent that many windows ago, once more."""
        for window in windows:
            if not isinstance(window, int):
                self.sent.append([Request.of(items) for items in window])
                self._send(self.sent[-1])
            elif self.sent:
                self._send(self.sent[-1 - window % len(self.sent)])

    @rule(counts=st.lists(st.integers(1, 5), min_size=1, max_size=5), stream=st.sampled_from([None, "s3"]))
    def send_unsent(self, counts: list[int], stream: str | None) -> None:
        unsent = [at for at, known in enumerate(RECORDS) if self.model.repo.get_by_id(known.record_id) is None]
        for number, count in enumerate(counts, 1):
            chosen, unsent = unsent[:count], unsent[count:]
            self.sent.append([Request.of([Item(at, stream=stream and (stream, number)) for at in chosen])])
            self._send(self.sent[-1])

    @rule(stream=st.sampled_from(["s1", "s4"]), state=st.sampled_from(STREAM_STATES), last=st.integers(0, 9))
    def mark(self, stream: str, state: StreamState, last: int) -> None:
        self._send([Request.marking(stream, state, last)])

    @rule()
    def maintain(self) -> None:
        self._do(lambda world: world.maintain())

    @rule()
    def seal(self) -> None:
        def step(world: Driven) -> None:
            world.seal()
            demand(not world.unsealed, f"not sealed: {world.unsealed}")

        self._do(step)

    @rule(which=st.integers(0, 5))
    def drop(self, which: int) -> None:
        if held := self.model.held:
            self._decide(held[which % len(held)], "dropped")

    @rule(which=st.integers(0, 5))
    def release(self, which: int) -> None:
        if not (held := self.model.held):
            return
        digest = held[which % len(held)]
        (kept,) = held_records(self.root, digest)
        decoded, record = decode(kept.request), self.model.held_records[digest]
        demand((record is None) == bool(decoded.rejected), "a held record is not what was sent")
        if record is None:
            return  # still no activity
        request = Request(decoded, (record,))
        (answer,) = self.model.judge([request]).answers
        self._send([request])
        if answer.fates != "c":
            self._decide(digest, "released")

    @rule(seconds=st.sampled_from([-86_400, -3_600, -30, -1, 0, 1, 15, 30, 3_600, 8 * 86_400]))
    def step_the_clock(self, seconds: int) -> None:
        """To midnight, where no number of seconds is given."""
        self.clock.now_ns += seconds * 1_000_000_000 or self.clock.until_midnight_ns

    @rule(how=st.sampled_from(["closed", "killed", *LOSSES]))
    def end(self, how: str | Loss) -> None:
        def step(world: Driven) -> None:
            world.close()
            self.world = None

        if how == "closed":
            self._do(step)
        else:
            self._end(how if isinstance(how, Loss) else None)

    @rule(after=st.integers(0, 12), fault=st.sampled_from([*ANY_OPERATION, *A_WRITE]))
    def let_an_operation_fail(self, after: int, fault: Fault) -> None:
        self.disk.faults[len(self.disk.trace) + after] = fault

    @rule(question=questions())
    def ask(self, question: Question) -> None:
        self._compare(question)

    # --- what must hold ---

    @invariant()
    def the_files_hold_as_many_rows_as_the_model(self) -> None:
        for log, rows in (("", self.model.rows), (FOLDER, len(self.model.quarantine))):
            there = list_log(self.root / log).next_index
            demand(there == rows, f"log {log!r} has {there} rows instead of {rows}")

    def _check_everything(self) -> None:
        check(self.root, self.ledger)
        records = self.model.repo.records
        check_rows(self.root, [str(record.record_id) for record in records])
        check_rows(self.root / FOLDER, [digest for digest, _ in self.model.quarantine])
        check_held(self.root, self.model)
        check_sealed(self.root, self.sealed)
        demand(not (faults := folder_status(self.root, check=True).faults), f"faults: {faults}")
        demand(everything(self._reader()) == list(records), "read in log order, the log holds something else")
        for question in ALWAYS_ASKED:
            self._compare(question)

    def _compare(self, question: Question) -> None:
        ours, wanted = question.ask(self._reader()), question.ask(self.model.repo)
        demand(ours == wanted, f"{question}: {ours} instead of {wanted}")

    def _reader(self) -> DuckDBReader:
        if self.reader is None:
            self.reader = DuckDBReader(self.root, SETTINGS)
        return self.reader

    def _close_reader(self) -> None:
        if self.reader is not None:
            self.reader.close()
            self.reader = None

    def teardown(self) -> None:
        """Come to rest and look at everything, unless a step has failed already."""
        try:
            if sys.exception() is None:
                self.disk.faults.clear()
                self._do(lambda world: world.maintain())
                self._check_everything()
        finally:
            self._close_reader()
            shutil.rmtree(self.base)
