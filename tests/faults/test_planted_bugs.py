"""The bed is worth what it finds: each planted bug must be found, and the same code without it must not be blamed."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from otel_audit.archive import footer as footer_module
from otel_audit.archive.footer import Footer
from otel_audit.archive.listing import scan_files
from otel_audit.archive.names import FileName, Stage, format_name
from otel_audit.config import Settings
from otel_audit.disk import TMP_SUFFIX, Disk
from otel_audit.errors import ArchiveFaultError, StorageError, UnwritableError
from otel_audit.log import compact as compaction
from otel_audit.log import maintenance, recover, store, stores
from otel_audit.log.compact import compact
from tests.faults import bed
from tests.faults.disk import Content, Fault, FaultyDisk, spoilt
from tests.faults.world import SETTINGS, Ledger, Violation, World, check, persist

pytestmark = pytest.mark.slow

RIGHT_STEPS = ("write", "sync", "name", "sync", "drop")


def publishing(*steps: str, forgets: bool = False) -> Callable[..., Path]:
    """`Store.publish` with other steps; `forgets`: a failure leaves the store as if nothing had happened."""

    def publish(self: store.Store, name: FileName, folder: Path, content: pa.Buffer, footer: Footer) -> Path:
        final = folder / format_name(name)
        tmp = final.with_name(final.name + TMP_SUFFIX)
        do: dict[str, Callable[[], None]] = {
            "write": lambda: self.disk.write_new(tmp, memoryview(content)),
            "sync": lambda: self.disk.fsync_folder(folder),
            "name": lambda: self.disk.publish(tmp, final),
            "drop": lambda: self.disk.unlink(tmp),
        }
        try:
            for step in steps:
                do[step]()
        except UnwritableError:
            self.settled = forgets
            raise
        with self.lock:
            self.files[name] = store.Known(final, replace(footer, size_bytes=content.size))
            self._coverage = None
        return final

    return publish


def by_name(path: Path) -> Footer:
    """A footer made of nothing but a file's name."""
    name = footer_module.parse_name(path.name.removesuffix(TMP_SUFFIX))
    assert name is not None
    return Footer(name.log, name.first, name.last, name.rows, 0, 0, format_version=1)


def find(base: Path, cases: list[bed.Faults]) -> list[str]:
    return bed.violations(base, cases, lambda found: found >= 1)


def around(trace: list[str], what: str, *kinds: str) -> list[bed.Faults]:
    """The cells of the table for some kinds of operation and one kind of fault, every third."""
    cells = [case for case in bed.matrix(trace) if trace[next(iter(case))] in kinds]
    return [case for case in cells if next(iter(case.values())).what == what][::3]


def test_the_right_steps_are_not_blamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the tests below would find the replacement and not the bug in it."""
    monkeypatch.setattr(store.Store, "publish", publishing(*RIGHT_STEPS))
    trace = bed.operations(tmp_path)
    cases = [case for what in ("fail", "die", "power") for case in around(trace, what, "publish", "fsync_folder")]
    assert find(tmp_path, cases[::25]) == []


@pytest.mark.parametrize(
    ("steps", "what"),
    [
        (("write", "name", "sync", "drop"), "a reader saw"),
        (("write", "sync", "name", "drop"), "is missing|lost|gone|a reader saw"),
        (("write", "sync", "name", "drop", "sync"), "missing|a reader saw"),
    ],
    ids=["no fsync before the name", "no fsync after the name", "the temporary name goes first"],
)
def test_a_missing_or_late_folder_fsync_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: tuple[str, ...], what: str
) -> None:
    monkeypatch.setattr(store.Store, "publish", publishing(*steps))
    (found,) = find(tmp_path, around(bed.operations(tmp_path), "power", "publish", "unlink"))
    assert any(part in found for part in what.split("|")), found


def test_an_answer_before_the_file_is_published_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = store.Store.commit

    def hasty(self: store.Store, table: pa.Table) -> tuple[int, int]:
        try:
            return commit(self, table)
        except UnwritableError:
            return self.next_index, self.next_index + table.num_rows - 1

    monkeypatch.setattr(store.Store, "commit", hasty)
    (found,) = find(tmp_path, around(bed.operations(tmp_path), "fail", "write_new"))
    assert "lost" in found


def test_a_range_used_again_after_a_failure_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store.Store, "publish", publishing(*RIGHT_STEPS, forgets=True))
    (found,) = find(tmp_path, around(bed.operations(tmp_path), "fail", "publish", "fsync_folder"))
    assert any(part in found for part in ("overlap", "does not heal", "was published there")), found


@pytest.mark.slow
def test_inputs_that_go_before_their_output_is_there_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def eager(of: store.Store, inputs: tuple[FileName, ...], stage: Stage) -> FileName:
        if all(of.recent(name) is not None for name in inputs):
            for known in of.known(inputs):
                of.disk.unlink(known.path)
        return compact(of, inputs, stage)

    monkeypatch.setattr(maintenance, "compact", eager)
    (found,) = find(tmp_path, around(bed.operations(tmp_path), "power", "unlink", "write_new"))
    assert any(part in found for part in ("missing", "lost", "a reader saw")), found


@pytest.mark.parametrize("trust", ["the name", "the footer"])
def test_a_temporary_file_that_is_not_whole_and_is_trusted_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trust: str
) -> None:
    """Its name says nothing of its content, and its end nothing of its middle."""

    trusted = by_name if trust == "the name" else footer_module.read_footer
    monkeypatch.setattr(recover, "check_file", trusted)
    monkeypatch.setattr(recover, "read_footer", trusted)
    trace = bed.operations(tmp_path)
    torn = [case for case in bed.matrix(trace) if next(iter(case.values())).when == "half"]
    (found,) = find(tmp_path, torn)
    assert any(part in found for part in ("cannot be read", "not a whole", "Error")), found


def of_two(trace: list[str], first: Callable[[int], bool]) -> list[bed.Faults]:
    drawn = bed.pairs(trace, random.Random(1), 3_000)
    return [case for case in drawn if first(min(case))][:400]


@pytest.mark.slow
def test_a_folder_taken_for_durable_because_it_is_there_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = FaultyDisk.make_folder

    def trusting(self: Disk, folder: Path) -> None:
        if not folder.exists():
            real(self, folder)  # type: ignore[arg-type]

    monkeypatch.setattr(FaultyDisk, "make_folder", trusting)
    trace = bed.operations(tmp_path)
    (found,) = find(tmp_path, of_two(trace, lambda at: "make_folder" in trace[max(0, at - 1) : at + 1]))
    assert any(part in found for part in ("gone", "lost", "missing", "a reader saw")), found


def interrupted_repair(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit fails after its file has its name, and then the files cannot be read for a moment."""
    sent, ledger = bed.requests(), Ledger()
    rehearsal = FaultyDisk({})
    World(base / "rehearsal", rehearsal, ledger).send(sent[0])
    named = len(rehearsal.trace) - 3  # then come the folder's fsync and the removal of the temporary name
    assert rehearsal.trace[named] == "publish"
    ledger = Ledger()
    world = World(base / "data", FaultyDisk({named: Fault("fail", "after")}, ledger.see), ledger)
    with pytest.raises(UnwritableError):
        world.send(sent[0])
    read, times = stores.rows_from, 0

    def unreadable_once(of: store.Store, first: int, columns: Sequence[str]) -> Any:
        nonlocal times
        times += 1
        if times == 1:
            raise StorageError("cannot be read now")
        return read(of, first, columns)

    monkeypatch.setattr(stores, "rows_from", unreadable_once)
    persist(lambda: world.send(sent[0]))
    assert times
    check(base / "data", ledger)


def test_an_index_left_behind_by_an_interrupted_repair_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The id of a commit that failed at an unknown point is the very one that is sent again."""
    interrupted_repair(tmp_path / "right", monkeypatch)

    def settled(self: Any) -> bool:
        return all(store.settled for store in self.every)

    monkeypatch.setattr(stores.Stores, "settled", property(settled))
    with pytest.raises(Violation, match="doubled"):
        interrupted_repair(tmp_path / "wrong", monkeypatch)


def merged_beside_its_inputs(root: Path, ledger: Ledger, how: Content, stage: Stage) -> Path:
    """A log that ended between publishing a wide file and removing its inputs, on a disk that then spoilt the file.

    Its index is complete, or a start would read the file's rows for that.
    """
    world = World(root, Disk(), ledger, Settings({**SETTINGS, "index_run_rows": 1}))
    for one in bed.requests()[:3]:
        world.send(one)
        world.maintain()
    if stage is Stage.SEALED:
        world.seal()
    (wide,) = (path for name, path in scan_files(root).items() if name.stage is stage)
    assert len(scan_files(root)) > 3
    content = wide.read_bytes()
    wide.unlink()
    wide.write_bytes(spoilt(content, how))
    return wide


@pytest.mark.parametrize("stage", [Stage.MERGED, Stage.SEALED], ids=lambda stage: stage.name)
@pytest.mark.parametrize("how", ["torn", "hole", "empty"])
def test_a_wide_file_that_is_not_whole_is_no_reason_to_remove_its_inputs(
    tmp_path: Path, how: Content, stage: Stage
) -> None:
    """Without it, which is what its owner has to decide, everything is there."""
    root, ledger = tmp_path / "data", Ledger()
    wide = merged_beside_its_inputs(root, ledger, how, stage)
    before = scan_files(root)
    with pytest.raises(ArchiveFaultError, match=wide.name):
        World(root, Disk(), ledger)
    assert scan_files(root) == before
    wide.unlink()
    World(root, Disk(), ledger).maintain()
    check(root, ledger)


@pytest.mark.parametrize("how", ["torn", "hole"])
def test_a_wide_file_that_is_not_whole_and_is_trusted_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: Content
) -> None:
    """Torn and trusted by its name, or with a hole and trusted by its footer: its inputs go, and the rows with them."""
    root, ledger = tmp_path / "data", Ledger()
    merged_beside_its_inputs(root, ledger, how, Stage.MERGED)
    monkeypatch.setattr(recover, "prove", lambda *_: None)
    if how == "torn":
        monkeypatch.setattr(recover, "read_footer", by_name)
        # A name has no chain for the index to be bound to: made again from the rows, it would find the damage.
        monkeypatch.setattr(store.Store, "holds", lambda *_: True)
    world = World(root, Disk(), ledger)
    with suppress(ArchiveFaultError):
        world.maintain()  # removes first; what it merges or seals after that may come upon the damage, too late
    assert not any(name.stage is Stage.COMMITTED for name in scan_files(root))
    with pytest.raises((Violation, OSError, pa.ArrowException)):
        check(root, ledger)


@pytest.mark.parametrize("proven", [True, False], ids=["proven", "not proven"])
def test_a_merge_that_leaves_rows_out_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, proven: bool) -> None:
    """The proof before publishing finds it and nothing is lost; without the proof, the check of the folder does."""
    real = compaction.regroup
    root, ledger = tmp_path / "data", Ledger()
    world = World(root, Disk(), ledger)
    for one in bed.requests()[:3]:
        world.send(one)
    monkeypatch.setattr(compaction, "regroup", lambda tables: [table.slice(1) for table in real(tables)])
    if proven:
        with pytest.raises(ArchiveFaultError, match="differ"):
            world.maintain()
        check(root, ledger)
        return
    monkeypatch.setattr(compaction, "_prove_bytes", lambda *_: None)
    world.maintain()
    with pytest.raises(Violation, match="not contiguous"):
        check(root, ledger)
