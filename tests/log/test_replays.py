"""The same requests again, however late: no new row, whatever kind of id, wherever the index has it by then."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch
from uuid import UUID, uuid4

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_audit.archive.names import Stage
from otel_audit.config import load_settings
from otel_audit.disk import Disk
from otel_audit.log import lookup
from otel_audit.log.compact import compact
from otel_audit.log.lookup import FileLookup
from otel_audit.log.runs import format_run, ids_of, make_run
from otel_audit.log.store import Store
from otel_audit.otlp.content import DIGESTED, keys_and_digests
from otel_audit.otlp.decode import Decoded
from tests.faults.world import Ledger, World, check
from tests.log.model import Clock
from tests.log.requests import record, request
from tests.log.rows import incoming
from tests.log.test_store import open_store

WINDOW_S = 60.0
SETTINGS = load_settings(
    {},
    min_free_bytes=0,
    merge_fan_in=4,
    input_keep_s=0.0,
    index_run_rows=150,
    dedupe_window_s=WINDOW_S,
    seal_rows=400,
)
PER_REQUEST = 50


def timed(ms: int) -> UUID:
    """A UUIDv7 of a given time."""
    return UUID(int=ms << 80 | 7 << 76 | 2 << 62 | uuid4().int & (1 << 62) - 1)


KINDS: dict[str, Callable[[int], Any]] = {
    "UUIDv7": timed,
    "UUIDv4": lambda ms: uuid4(),
    "text": lambda ms: f"order {uuid4().int}",
}


@dataclass
class Replays:
    """A log, and some requests that are sent to it again and again."""

    root: Path
    make_id: Callable[[int], Any]
    clock: Clock = field(default_factory=Clock)
    ledger: Ledger = field(default_factory=Ledger)
    old: list[Decoded] = field(default_factory=list)

    def open(self) -> None:
        """Begin, or begin again."""
        self.world = World(self.root, Disk(), self.ledger, SETTINGS, self.clock)

    def send_new(self, count: int) -> list[Decoded]:
        """Send records that nobody has sent before, with all that runs behind commits."""
        sent = []
        for _ in range(0, count, PER_REQUEST):
            self.clock.now_ns += 1_000_000_000
            ids = [self.make_id(self.clock.now_ns // 1_000_000) for _ in range(PER_REQUEST)]
            sent.append(request(*map(record, ids)))
            self.world.send(sent[-1])
            self.world.maintain()
        return sent

    def send_again(self) -> None:
        """Send the old requests; nothing may come of it."""
        rows = self.world._stores.activity.next_index
        for one in self.old:
            (answer,) = self.world.send(one)
            assert (answer.committed, answer.duplicates, answer.conflicts) == (0, PER_REQUEST, 0)
        assert self.world._stores.activity.next_index == rows

    def leave_window(self) -> None:
        """Let time pass, and new records come, until the index has let go of what is old."""
        self.clock.now_ns += int(10 * WINDOW_S * 1e9)
        self.send_new(300)
        self.clock.now_ns += int(10 * WINDOW_S * 1e9)
        self.send_new(300)


def replay_everywhere(replays: Replays, others: int) -> None:
    """Send old requests again in every state that an id goes through."""
    replays.open()
    replays.old = replays.send_new(300)
    replays.send_again()
    replays.send_new(others)
    replays.send_again()
    replays.world.seal()
    assert {name.stage for name, _ in replays.world._stores.activity.maximal()} == {Stage.SEALED}
    replays.send_again()
    replays.open()
    replays.send_again()
    replays.leave_window()
    replays.send_again()
    replays.world.close()
    replays.open()
    replays.send_again()
    check(replays.root, replays.ledger)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_comes_of_a_replay_in_any_state(tmp_path: Path, kind: str) -> None:
    replays = Replays(tmp_path / "data", KINDS[kind])
    replay_everywhere(replays, 1_000)
    index = replays.world._stores.index
    assert bool(index._runs["kept"]) == (kind != "UUIDv7")
    if kind == "UUIDv7":
        newest = max(one.table["id_key"][-1].as_py() for one in replays.old)
        assert int.from_bytes(newest[:6]) < index.horizon_ms, "the index still has the old ids: this tested nothing"


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_comes_of_a_replay_after_very_many_records(tmp_path: Path, kind: str) -> None:
    replay_everywhere(Replays(tmp_path / "data", KINDS[kind]), 20_000)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_ids_from_many_sealed_files_are_known_in_one_request_and_contradictions_too(tmp_path: Path, kind: str) -> None:
    replays = Replays(tmp_path / "data", KINDS[kind])
    replays.open()
    replays.old = replays.send_new(1_000)
    replays.leave_window()
    replays.world.seal()
    ids = [one.table["record_id"][at].as_py() for at, one in enumerate(replays.old)]
    files = replays.world._stores.activity.maximal()
    assert len(files) > 3
    (answer,) = replays.world.send(request(*map(record, reversed(ids))))
    assert (answer.committed, answer.duplicates) == (0, len(ids))
    (answer,) = replays.world.send(request(*(record(id_, action="other") for id_ in ids)))
    assert (answer.committed, answer.conflicts) == (0, len(ids))


def test_an_old_id_that_was_never_sent_is_new(tmp_path: Path) -> None:
    replays = Replays(tmp_path / "data", timed)
    replays.open()
    begin_ms = replays.clock.now_ns // 1_000_000
    replays.send_new(300)
    replays.leave_window()
    replays.old = [request(*(record(timed(begin_ms + at)) for at in range(PER_REQUEST)))]
    (answer,) = replays.world.send(replays.old[0])
    assert answer.committed == PER_REQUEST
    replays.send_again()


def test_no_text_looks_like_an_id_that_carries_its_time(tmp_path: Path) -> None:
    """It would leave the index by a time that is not its own, or hold a whole run in it by one in the far future."""
    replays = Replays(tmp_path / "data", KINDS["text"])
    replays.open()
    replays.old = replays.send_new(1_000)
    replays.leave_window()
    index = replays.world._stores.index
    assert index._runs["kept"]
    assert not index._runs["timed"]
    assert not index.horizon_ms


def test_an_index_of_keys_made_in_another_way_is_made_anew(tmp_path: Path) -> None:
    replays = Replays(tmp_path / "data", KINDS["text"])
    replays.open()
    replays.old = replays.send_new(300)
    replays.world.close()
    manifest = tmp_path / "data" / "log" / "ids" / "manifest.json"
    facts = json.loads(manifest.read_bytes())
    assert facts["covered"] >= 150
    foreign = format_run(make_run(ids_of(bytes(range(16))), np.array([7], dtype=np.uint64)))
    contents = dict.fromkeys(facts["kept"], foreign) | {manifest.name: json.dumps(facts | {"keys": 1}).encode()}
    for name, content in contents.items():
        manifest.with_name(name).unlink()
        manifest.with_name(name).write_bytes(content)
    replays.open()
    replays.send_again()


# --- the look-up in files ---


def stored(root: Path, files: list[list[int]]) -> Store:
    """A store with a file per list of numbers, each a record id."""
    store = open_store(root)
    for numbers in files:
        rows = incoming(0, len(numbers))
        at = rows.schema.get_field_index("record_id")
        store.commit(rows.set_column(at, rows.schema.field(at), [[f"{number:03}" for number in numbers]]))
    return store


@settings(max_examples=20)
@given(
    st.permutations(range(60)),
    st.lists(st.integers(1, 12), min_size=1, max_size=5),
    st.lists(st.integers(0, 70), max_size=20),
    st.sampled_from([1, 3, 4_096]),
)
def test_files_are_asked_for_exactly_what_they_hold(
    tmp_path_factory: pytest.TempPathFactory, order: list[int], sizes: list[int], asked: list[int], batch: int
) -> None:
    """Also where the spans of files overlap, and an id is asked for twice."""
    numbers = iter(order)
    files = [[next(numbers) for _ in range(size)] for size in sizes]
    store = stored(tmp_path_factory.mktemp("files") / "data", files)
    there = {f"{number:03}" for file in files for number in file}
    expected = dict(_keyed(store))
    wanted = [f"{number:03}" for number in asked]
    with patch.object(lookup, "_BATCH_ROWS", batch):
        find = FileLookup(store, keys_and_digests)
        for _ in range(2):  # the second time from the spans in memory
            assert find.digests(wanted) == {id_: expected[id_] for id_ in wanted if id_ in there}


def _keyed(store: Store) -> Iterator[tuple[str, int]]:
    for rows, _ in lookup.rows_from(store, 0, DIGESTED):
        yield from zip(rows["record_id"].to_pylist(), keys_and_digests(rows)[1], strict=True)


def test_neighbours_cost_the_files_they_stand_in_and_no_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = stored(tmp_path / "data", [list(range(at, at + 10)) for at in range(0, 100, 10)])
    find = FileLookup(store, keys_and_digests)
    assert find.digests([]) == {}  # from here on the spans are in memory
    opened: list[Path] = []
    real = lookup.open_checked

    def opening(path: Path, *args: Any, **named: Any) -> Any:
        opened.append(path)
        return real(path, *args, **named)

    monkeypatch.setattr(lookup, "open_checked", opening)
    assert len(find.digests([f"{number:03}" for number in range(25, 35)])) == 10
    assert [path.name.split("-")[1] for path in opened] == [f"{first:016}" for first in (20, 30)]


def test_an_id_among_ids_of_other_kinds_costs_no_file_that_lacks_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The span of random ids covers every other one, so only the filters tell."""
    if not hasattr(lookup.pq.ColumnChunkMetaData, "bloom_filter_offset"):
        pytest.xfail("the oldest PyArrow does not tell where filters are")
    store = open_store(tmp_path / "data")
    mixed = [str(uuid4() if at % 2 else UUID(int=(at << 80) | 7 << 76 | 2 << 62)) for at in range(300)]
    for first in range(0, 300, 30):
        rows = incoming(0, 30)
        at = rows.schema.get_field_index("record_id")
        store.commit(rows.set_column(at, rows.schema.field(at), [mixed[first : first + 30]]))
    for name, _ in store.maximal():
        compact(store, (name,), Stage.MERGED)
    expected = dict(_keyed(store))
    find = FileLookup(store, keys_and_digests)
    assert find.digests(mixed) == expected
    opened: list[Path] = []
    real = lookup.pq.ParquetFile

    def opening(path: Path, *args: Any, **named: Any) -> Any:
        opened.append(path)
        return real(path, *args, **named)

    monkeypatch.setattr(lookup.pq, "ParquetFile", opening)
    assert find.digests([mixed[100]]) == {mixed[100]: expected[mixed[100]]}
    assert find.digests([str(uuid4())]) == {}
    assert len(opened) <= 2  # a filter lets one of a thousand pass
