"""The catalog sees what a fresh listing would see, and opens each footer once."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_audit.archive.extent import Extent
from otel_audit.archive.listing import list_log, resolve_files, scan_files
from otel_audit.archive.names import FileName, Stage, format_name
from otel_audit.errors import ArchiveFaultError, OtelAuditError
from otel_audit.query import catalog as catalog_module
from otel_audit.query.catalog import Catalog
from otel_audit.query.listings import Listings
from tests.query.folder import LOG, record, write


def _touch(root: Path, name: FileName, day: str = "2026-01-01") -> None:
    folder = root / "hot" if name.stage is not Stage.SEALED else root / "archive" / f"date={day}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / format_name(name)).touch()


def _age(root: Path) -> None:
    """Make every folder look as if nothing had changed for a while, so that its listing may be trusted."""
    past = time.time() - 100
    for folder, _, _ in os.walk(root):
        os.utime(folder, (past, past))


_change = st.tuples(st.sampled_from(list(Stage)), st.integers(0, 12), st.integers(1, 6), st.booleans(), st.booleans())


@given(st.lists(_change, min_size=1, max_size=12))
@settings(max_examples=60, deadline=None)
def test_a_remembered_listing_equals_a_fresh_one_after_every_change(tmp_path_factory, changes):
    """Files of any stage and range come and go, in two logs; holes and overlaps are seen as well."""
    root = tmp_path_factory.mktemp("listing")
    listings = Listings(root)
    for stage, first, length, other, aged in changes:
        log = "z" * 20 if other else LOG
        name = FileName(log, first, first + length - 1, stage)
        path = scan_files(root).get(name)
        if path is None:
            _touch(root, name, f"2026-01-0{1 + first % 3}")
        else:
            path.unlink()
        if aged:
            _age(root)
        fresh = resolve_files(scan_files(root), Extent())
        if all(part.faultless for part in fresh.coverage.values()):
            seen = listings.current()
            assert seen.files == fresh.files
            assert {log: part.next_index for log, part in seen.coverage.items()} == {
                log: part.next_index for log, part in fresh.coverage.items()
            }


def test_a_quiet_folder_is_listed_once(tmp_path, monkeypatch):
    for number in range(3):
        write(tmp_path, number, [record(number)], Stage.SEALED)
    write(tmp_path, 3, [record(3)])
    _age(tmp_path)
    catalog = Catalog(tmp_path)
    first = catalog.snapshot()
    monkeypatch.setattr(os, "listdir", lambda path: pytest.fail(f"listed again: {path}"))
    assert catalog.snapshot() is first


def test_a_footer_is_opened_once_and_forgotten_with_its_file(tmp_path, monkeypatch):
    opened = []
    read = catalog_module._read_facts
    monkeypatch.setattr(catalog_module, "_read_facts", lambda path: opened.append(path.name) or read(path))
    catalog = Catalog(tmp_path)
    paths = []
    for number in range(5):
        paths.append(write(tmp_path, number, [record(number)]))
        assert len(catalog.snapshot().files) == number + 1
    assert opened == [path.name for path in paths]
    write(tmp_path, 0, [record(n) for n in range(5)], Stage.SEALED)
    assert [file.rows for file in catalog.snapshot().files] == [5]
    assert len(catalog._facts) == 1


def test_a_file_that_goes_away_before_its_footer_is_read_is_listed_again(tmp_path, monkeypatch):
    hot = [write(tmp_path, number, [record(number)]) for number in range(3)]
    catalog = Catalog(tmp_path)
    read, sealed = catalog_module._read_facts, []

    def seal_meanwhile(path):
        if not sealed:
            sealed.append(write(tmp_path, 0, [record(n) for n in range(3)], Stage.SEALED))
            for one in hot:
                one.unlink()
        return read(path)

    monkeypatch.setattr(catalog_module, "_read_facts", seal_meanwhile)
    (file,) = catalog.snapshot().files
    assert (file.first, file.last) == (0, 2)


def test_facts_are_what_the_rows_say(tmp_path):
    numbers = list(range(300))
    random.Random(1).shuffle(numbers)
    write(tmp_path, 0, [record(n) for n in numbers], Stage.SEALED, group_rows=100)
    (file,) = Catalog(tmp_path).snapshot().files
    times = [record(n).order_key[0] for n in numbers]
    assert (file.min_us, file.max_us) == (min(times), max(times))
    assert file.id_span == ("r-000000", "r-000299")
    groups = list(file.row_groups())
    assert len(groups) == 3
    assert groups[0].first == 0
    assert groups[-1].last == 299
    for group in groups:
        assert (group.min_us, group.max_us) == (
            min(times[group.first : group.last + 1]),
            max(times[group.first : group.last + 1]),
        )


def test_a_hole_that_stays_is_a_fault_and_ends_with_its_cause(tmp_path):
    write(tmp_path, 0, [record(0)])
    gap = write(tmp_path, 1, [record(1)])
    write(tmp_path, 2, [record(2)])
    content = gap.read_bytes()
    catalog = Catalog(tmp_path)
    assert len(catalog.snapshot().files) == 3
    gap.unlink()
    with pytest.raises(ArchiveFaultError, match="rows 1-1 are missing"):
        catalog.snapshot()
    gap.write_bytes(content)
    assert len(catalog.snapshot().files) == 3


@given(st.binary(max_size=200))
@settings(max_examples=50, deadline=None)
def test_any_bytes_under_a_name_of_ours_are_an_error_of_ours(tmp_path_factory, content):
    root = tmp_path_factory.mktemp("bytes")
    _touch(root, FileName(LOG, 0, 0, Stage.COMMITTED))
    (root / "hot" / format_name(FileName(LOG, 0, 0, Stage.COMMITTED))).write_bytes(content)
    assert len(list_log(root).files) == 1
    with pytest.raises(OtelAuditError):
        Catalog(root).snapshot()
