"""Start and restart: find what the disk holds, adopt what is whole, refuse what contradicts itself.

It runs at every start and after every publish whose outcome is unknown; there is no other repair. It publishes through
the same code as a commit. Nothing is deleted but incomplete temporary files, and complete ones whose rows stand
elsewhere or were never acknowledged.
"""

from __future__ import annotations

import os
from pathlib import Path

from otel_audit.archive.chain import BEGINNING, breaks, contradicts
from otel_audit.archive.footer import read_footer
from otel_audit.archive.listing import ARCHIVE, HOT, LOG, scan_files
from otel_audit.archive.names import Coverage, FileName, Stage, parse_name, resolve
from otel_audit.archive.verify import check_file
from otel_audit.disk import TMP_SUFFIX
from otel_audit.errors import ArchiveFaultError, StorageError
from otel_audit.log.compact import prove
from otel_audit.log.store import Known, Store

__all__ = ["recover"]


def recover(store: Store, mark: int = 0) -> None:
    """Settle a store.

    Args:
        mark: the index that follows the highest one known to be durable.

    Raises:
        ArchiveFaultError: a hole, an overlap, a foreign log, a damaged file, rows gone from the end. Nothing was
            changed, and the store stays unsettled.
        StorageError, UnwritableError: the disk refuses; try again later.
    """
    store.settled = False
    temporaries = _temporaries(store.root)
    found = _adopt(store, temporaries, mark)
    for name, tmp in temporaries:
        if name.log == store.log:
            _settle_temporary(store, found, name, tmp)
    coverage = resolve(found, lost=store.lost)
    if coverage.next_index < mark:
        raise ArchiveFaultError(f"{store.root}: rows {coverage.next_index}-{mark - 1} are missing")
    if problems := _mixed(found, coverage):
        raise ArchiveFaultError(f"{store.root}: " + "; ".join(problems))
    store.adopt(found)
    for name in coverage.files:
        hidden = tuple(other for other in coverage.hidden if name.covers(other))
        inputs = resolve(hidden, start=name.first).files
        whole = inputs and (inputs[0].first, inputs[-1].last) == (name.first, name.last)
        if whole and resolve(inputs, start=name.first).faultless:
            # A crash between publishing an output and removing its inputs: prove it again before they may go.
            prove(store, name, inputs)
    store.next_index = coverage.next_index
    whole_end = coverage.files and coverage.files[-1].last + 1 == coverage.next_index
    store.chain = (found[coverage.files[-1]].footer.chain if whole_end else None) or BEGINNING
    store.settled = True


def _adopt(store: Store, temporaries: list[tuple[FileName, Path]], mark: int) -> dict[FileName, Known]:
    """Every published file, read, checked against its name and fsynced: this process vouches for it from now on."""
    everything = scan_files(store.root)
    found = {name: path for name, path in everything.items() if name.log == store.log}
    strangers = sorted({name.log for name in (*everything, *dict(temporaries))} - {store.log, *store.previous})
    if strangers:
        raise ArchiveFaultError(f"{store.root}: files of another log ({', '.join(strangers)})")
    coverage = resolve(found, lost=store.lost)
    problems = [f"rows {first}-{last} are missing" for first, last in coverage.holes]
    problems += [f"{found[one].name} and {found[two].name} overlap" for one, two in coverage.overlaps]
    if coverage.next_index < mark and not any(name.first == coverage.next_index for name, _ in temporaries):
        problems.append(f"rows {coverage.next_index}-{mark - 1} are missing")
    if problems:
        raise ArchiveFaultError(f"{store.root}: " + "; ".join(problems))
    known = {}
    for name, path in found.items():
        try:
            known[name] = Known(path, read_footer(path))
        except FileNotFoundError as error:
            raise StorageError(f"{path}: has gone since the folder was listed") from error
        if name.stage is not Stage.SEALED:
            # As for all of recovery's fsyncs: a crash here changes nothing, and the next start does it again.
            store.disk.fsync_file(path)
    for part in (HOT, ARCHIVE, LOG):
        store.disk.fsync_folder(store.root / part)
    for folder in {path.parent for name, path in found.items() if name.stage is Stage.SEALED}:
        store.disk.fsync_folder(folder)
    return known


def _mixed(found: dict[FileName, Known], coverage: Coverage) -> list[str]:
    """What shows that files of two copies of the log stand together."""
    problems = breaks(found[name].footer for name in coverage.files)
    for name, hidden in coverage.hiding():
        if contradicts(found[name].footer, found[hidden].footer):
            problems.append(f"{found[name].path.name} and {found[hidden].path.name} hold different rows")
    return problems


def _temporaries(root: Path) -> list[tuple[FileName, Path]]:
    """Every temporary file of ours with the name it is to have, in log order."""
    try:
        # Not by `glob`, which passes over a folder that cannot be read now as if there were nothing in it.
        days = [root / ARCHIVE / day for day in os.listdir(root / ARCHIVE) if day.startswith("date=")]
        paths = [folder / entry for folder in (root / HOT, *days) for entry in os.listdir(folder)]
    except OSError as error:
        raise StorageError(f"cannot list {root}: {error.strerror}") from error
    named = [(parse_name(path.name.removesuffix(TMP_SUFFIX)), path) for path in paths if path.suffix == TMP_SUFFIX]
    return sorted((name, path) for name, path in named if name is not None)


def _settle_temporary(store: Store, found: dict[FileName, Known], name: FileName, tmp: Path) -> None:
    folder = tmp.parent
    final = tmp.with_name(tmp.name.removesuffix(TMP_SUFFIX))
    try:
        footer = check_file(tmp)
    except ArchiveFaultError:
        # The write did not finish, so nobody was answered for these rows. A crash here, or power loss that brings the
        # file back, leaves it for the next recovery.
        store.disk.unlink(tmp)
        return
    before = resolve(found, lost=store.lost)
    expected = name.first == before.next_index if name.stage is Stage.COMMITTED else True
    after = resolve([*found, name], lost=store.lost)
    if name in found or not after.faultless or not expected or name in after.hidden:
        # Published already, or abandoned by a commit that failed and was followed by another: the published rows win.
        # Removed durably: were it to come back after the files that contradict it are merged, it could look wanted.
        store.disk.unlink(tmp)
        store.disk.fsync_folder(folder)
        return
    # Complete, and its entry may have been made durable: its range was promised to these rows and is never given away.
    # The steps of `Store.publish`, and a crash between them means what it means there.
    store.disk.fsync_file(tmp)
    store.disk.fsync_folder(folder)
    store.disk.publish(tmp, final)
    store.disk.fsync_folder(folder)
    store.disk.unlink(tmp)
    found[name] = Known(final, footer)
