"""Pages of large records: shorter than asked for, whole when they are put together, and never much in memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from otel_audit import ActivityRecord, LogPosition
from otel_audit.archive.names import Stage
from otel_audit.config import load_settings
from otel_audit.query.reader import DuckDBReader
from tests.query.folder import record, write

RECORDS = [record(n, metadata={"text": "x" * (50_000 + n)}, actor_id="a") for n in range(40)]
SETTINGS = load_settings({}, read_answer_bytes=500_000)


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> DuckDBReader:
    root = tmp_path_factory.mktemp("large")
    write(root, 0, RECORDS[:20], Stage.SEALED)
    write(root, 20, RECORDS[20:])
    return DuckDBReader(root, SETTINGS)


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_a_page_holds_what_fits_and_the_pages_hold_everything(reader: DuckDBReader, order: str) -> None:
    found: list[ActivityRecord] = []
    page = reader.search(limit=10_000, order=order)  # type: ignore[arg-type]
    while True:
        assert 0 < sum(len(one.metadata["text"]) for one in page.records) <= SETTINGS.read_answer_bytes
        found += page.records
        if page.next_cursor is None:
            break
        page = reader.search(limit=10_000, cursor=page.next_cursor)
    assert found == (RECORDS if order == "asc" else RECORDS[::-1])


def test_a_page_in_log_order_holds_what_fits(reader: DuckDBReader) -> None:
    found: list[ActivityRecord] = []
    after = LogPosition()
    while (page := reader.search(after=after, limit=10_000)).records:
        assert sum(len(one.metadata["text"]) for one in page.records) <= SETTINGS.read_answer_bytes
        found += page.records
        after = page.position
    assert found == RECORDS


def test_lists_and_streams_are_whole_however_large_the_records_are(reader: DuckDBReader) -> None:
    assert reader.get_by_actor("a") == RECORDS
    assert reader.get_by_actor("a", limit=30) == RECORDS[10:]
    assert list(reader.iter_records()) == RECORDS
    assert list(reader.iter_records(after=LogPosition())) == RECORDS


def test_a_record_larger_than_a_page_is_a_page(tmp_path: Path) -> None:
    write(tmp_path, 0, RECORDS[:3])
    with DuckDBReader(tmp_path, load_settings({}, read_answer_bytes=1024)) as reader:
        first = reader.search(limit=3, order="asc")
        assert list(first.records) == RECORDS[:1]
        assert list(reader.search(limit=3, cursor=first.next_cursor).records) == RECORDS[1:2]


PEAK = """
import resource, sys
from otel_audit.config import load_settings
from otel_audit.query.reader import DuckDBReader
with DuckDBReader(sys.argv[1], load_settings({})) as reader:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    page = reader.search(limit=10_000)
    print(len(page.records), page.next_cursor is not None)
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10)
"""


@pytest.mark.slow
def test_a_page_of_a_thousand_megabytes_takes_a_bounded_part_of_them(tmp_path: Path) -> None:
    large = [record(n, metadata={"text": f"{n}" + "x" * 1_000_000}) for n in range(100)]
    for at in range(8):
        renumbered = [one.replace(record_id=f"r-{at}-{n}") for n, one in enumerate(large)]
        write(tmp_path, 100 * at, renumbered, Stage.MERGED)
    done = subprocess.run([sys.executable, "-c", PEAK, tmp_path], capture_output=True, text=True, check=True)
    count, more, mebibytes = done.stdout.split()
    assert (int(count) > 1, more) == (True, "True")
    assert int(mebibytes) < 1024
