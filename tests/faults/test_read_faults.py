"""Whichever read of the engine fails for a moment: nothing is lost, doubled, or taken for damaged."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import cycle
from pathlib import Path

import pytest

from otel_audit.archive import footer, verify
from otel_audit.disk import TMP_SUFFIX
from otel_audit.errors import ArchiveFaultError, OtelAuditError, StorageError
from otel_audit.log.recover import recover
from tests.faults import bed
from tests.faults.disk import FaultyDisk
from tests.faults.reads import CALLS, HOW, PARQUET, FailingReads
from tests.faults.world import Ledger, Violation, check_after
from tests.log.rows import incoming
from tests.log.test_store import open_store, record_ids

_TRIES = 4
_SAMPLE = 101


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> FailingReads:
    monkeypatch.setattr(bed, "persist", patient)
    return FailingReads(monkeypatch)


def patient(step: Callable[[], object]) -> None:
    """As `persist`, but a read that failed must be said to have, and not be taken for a fault of the files."""
    for _ in range(_TRIES):
        try:
            step()
            return
        except ArchiveFaultError as error:
            raise Violation(f"taken for damage: {error}") from error
        except StorageError:
            continue
        except OSError as error:
            raise Violation(f"it comes out as {type(error).__name__}: {error}") from error
    raise Violation("it does not heal")


def run(base: Path, reads: FailingReads, at: int | None, error: str) -> None:
    root, ledger = base / "data", Ledger()
    try:
        reads.begin(at, error)
        bed.scenario(root, FaultyDisk({}, ledger.see), ledger)
        trace = reads.trace
        reads.begin(None, error)
        check_after(root, ledger, bed.requests(), bed.IDS)
        reads.trace = trace
    finally:
        shutil.rmtree(base / "data", ignore_errors=True)


def violations(base: Path, reads: FailingReads, cases: Iterable[tuple[int, str]]) -> list[str]:
    found = []
    for at, error in cases:
        try:
            run(base, reads, at, error)
            assert len(reads.trace) > at, "the read that was to fail never came"
        except (Violation, OtelAuditError) as violation:
            found.append(f"{error} at read {at}: {violation}")
    return found


def table(base: Path, reads: FailingReads) -> list[tuple[int, str]]:
    """Every read of a run in which nothing goes wrong; the ways in which its kind can fail take turns."""
    run(base, reads, None, "")
    turns = {kind: cycle(errors) for kind, errors in HOW.items()}
    return [(at, next(turns[kind])) for at, kind in enumerate(reads.trace)]


def test_the_scenario_reads_in_every_way(tmp_path: Path, reads: FailingReads) -> None:
    table(tmp_path, reads)
    assert Counter(reads.trace).keys() == {*PARQUET, *CALLS}


def test_a_sample_of_failed_reads_breaks_no_promise(tmp_path: Path, reads: FailingReads) -> None:
    cases = table(tmp_path, reads)
    assert not (found := violations(tmp_path, reads, cases[::_SAMPLE])), "\n".join(found)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_no_failed_read_breaks_a_promise(
    tmp_path: Path, reads: FailingReads, capsys: pytest.CaptureFixture[str]
) -> None:
    cases = table(tmp_path, reads)
    found = violations(tmp_path, reads, cases)
    with capsys.disabled():
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(Counter(reads.trace).items()))
        print(f"\nfailed reads: {len(cases)} runs, one for each read ({kinds}), {len(found)} broken promises")
    assert not found, "\n".join(found)


# --- these find what they are for ---


def test_a_failed_read_that_is_taken_for_damage_is_found(
    tmp_path: Path, reads: FailingReads, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = [(at, error) for at, error in table(tmp_path, reads) if reads.trace[at] == "open"]
    for module in (footer, verify):
        monkeypatch.setattr(module, "unreadable", lambda path, error: ArchiveFaultError(f"{path}: {error}"))
    assert "taken for damage" in violations(tmp_path, reads, cases[:1])[0]


def test_a_temporary_file_in_a_folder_that_cannot_be_listed_now_is_not_overlooked(
    tmp_path: Path, reads: FailingReads
) -> None:
    """Power went after a reader had seen the file: its name is gone, and the temporary one brings the rows back."""
    store = open_store(tmp_path / "data")
    store.commit(incoming(0, 2))
    name = next((tmp_path / "data" / "hot").iterdir())
    name.rename(name.with_name(name.name + TMP_SUFFIX))
    reads.begin(None, "EIO")
    recover(store)
    listings = [at for at, kind in enumerate(reads.trace) if kind == "listing"]
    assert len(listings) > 3
    for at in listings:
        final = next((tmp_path / "data" / "hot").iterdir())
        final.rename(final.with_name(name.name + TMP_SUFFIX))
        reads.begin(at, "EIO")
        with pytest.raises(StorageError, match="cannot list"):
            recover(store)
        recover(store)
        assert record_ids(tmp_path / "data") == ["r-0", "r-1"]
