"""What it costs to write one record down, in the spool's segments and in SQLite, by one thread and by sixteen.

SQLite stands in three ways: a connection for each thread, as it is mostly used; one connection behind a lock; and
behind the same group commit that the segments have. Rounds take turns, so that a noisy minute hits all alike. Every
record is answered for one by one, and counted again at the end.
"""

from __future__ import annotations

import argparse
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.machine import fsync_us
from bench.records import BenchRecords
from bench.report import percentile, publish, ratio
from otel_audit.disk import Disk
from otel_audit.otlp.encode import encode_record
from otel_audit.otlp.stamp import stream_stamp
from otel_audit.spool.format import Kind
from otel_audit.spool.group import GroupCommit
from otel_audit.spool.places import POOLS, STREAMS
from otel_audit.spool.pools import read_file
from otel_audit.spool.stream import OwnStream, open_spool

_THREADS = (1, 16)
_ROUNDS = 2
_BUSY_S = 60.0
_SCHEMA = "CREATE TABLE IF NOT EXISTS spool (number INTEGER PRIMARY KEY, record BLOB NOT NULL)"
_INSERT = "INSERT INTO spool (record) VALUES (?)"
Append = Callable[[bytes], object]


@dataclass
class _Contender:
    """One way to write: `opened` gives what a thread calls, `counted` how many records are there afterwards."""

    name: str
    opened: Callable[[], Append]
    counted: Callable[[], int]
    call_us: dict[int, list[float]] = field(default_factory=lambda: {threads: [] for threads in _THREADS})
    rates: dict[int, list[float]] = field(default_factory=lambda: {threads: [] for threads in _THREADS})
    written: int = 0

    def run(self, threads: int, record: bytes, seconds: float) -> None:
        """One round."""
        spent: list[list[float]] = [[] for _ in range(threads)]
        start = threading.Barrier(threads + 1)

        def work(mine: list[float]) -> None:
            append, clock = self.opened(), time.perf_counter_ns
            append(record)  # connections and files are opened
            start.wait()
            begin, end = clock(), clock() + seconds * 1e9
            while begin < end:
                append(record)
                done = clock()
                mine.append((done - begin) / 1_000)
                begin = done

        workers = [threading.Thread(target=work, args=(mine,)) for mine in spent]
        for worker in workers:
            worker.start()
        start.wait()
        begin = time.monotonic()
        for worker in workers:
            worker.join()
        calls = [us for mine in spent for us in mine]
        self.written += len(calls) + threads
        self.rates[threads].append(len(calls) / (time.monotonic() - begin))
        self.call_us[threads] += calls


def _segments(root: Path, synced: bool) -> _Contender:
    open_spool(root, POOLS, Disk())
    stream = OwnStream(
        root,
        Disk(),
        new_stream_id=lambda: "bench",
        endpoint="",
        resource=lambda: _NO_RESOURCE,
        stamp=stream_stamp,
        synced=synced,
        segment_bytes=8 << 20,
    )
    commit = GroupCommit(stream)

    def counted() -> int:
        files = (root / STREAMS / "bench").glob("*.spool")
        return sum(entry.kind == Kind.RECORD for path in files for entry in read_file(path)[1])

    return _Contender("segments, group commit", lambda: lambda record: commit.submit((record,)), counted)


_NO_RESOURCE = (b"", "")


class _Database:
    """A SQLite spool in write-ahead mode."""

    def __init__(self, path: Path, synced: bool) -> None:
        self.path, self._synchronous = path, "FULL" if synced else "OFF"
        self._open: list[sqlite3.Connection] = []
        with closing(self.connect()) as connection:
            connection.execute(_SCHEMA)

    def connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(f"PRAGMA synchronous={self._synchronous}")
        return connection

    def counted(self) -> int:
        with closing(self.connect()) as connection:
            (found,) = connection.execute("SELECT count(*) FROM spool").fetchone()
        return int(found)


def _per_thread(path: Path, synced: bool) -> _Contender:
    database = _Database(path, synced)

    def opened() -> Append:
        connection = database.connect()
        return lambda record: connection.execute(_INSERT, (record,))

    return _Contender("SQLite, a connection each", opened, database.counted)


def _behind_lock(path: Path, synced: bool) -> _Contender:
    database = _Database(path, synced)
    connection, lock = database.connect(), threading.Lock()

    def append(record: bytes) -> None:
        with lock:
            connection.execute(_INSERT, (record,))

    return _Contender("SQLite, one connection", lambda: append, database.counted)


class _Numbered:
    """SQLite as what a group commit writes to."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.last = 0

    def write(self, items: Sequence[bytes]) -> int:
        first = self.last + 1
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.executemany(_INSERT, [(item,) for item in items])
        self._connection.execute("COMMIT")
        self.last += len(items)
        return first


def _grouped(path: Path, synced: bool) -> _Contender:
    database = _Database(path, synced)
    commit = GroupCommit(_Numbered(database.connect()))
    return _Contender("SQLite, group commit", lambda: lambda record: commit.submit((record,)), database.counted)


def _contenders(folder: Path, synced: bool) -> Iterator[_Contender]:
    number = count()
    yield _segments(folder / "segments", synced)
    for make in (_grouped, _behind_lock, _per_thread):
        yield make(folder / f"{next(number)}.db", synced)


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=2.0, help="for each contender and number of threads")
    parser.add_argument("--folder", type=Path, help="where to write; default a temporary folder")
    options = parser.parse_args()
    record = encode_record(BenchRecords(seed=1).records(1)[0], time.time_ns())
    rows, facts = [], {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(dir=options.folder)))
        fsync = fsync_us(folder)
        for durability in ("disk", "process"):
            (folder / durability).mkdir()
            contenders = list(_contenders(folder / durability, durability == "disk"))
            for threads in _THREADS:
                for _ in range(_ROUNDS):
                    for contender in contenders:
                        contender.run(threads, record, options.seconds / _ROUNDS)
            for contender in contenders:
                found = contender.counted()
                if found != contender.written:
                    raise SystemExit(f"{contender.name}: {contender.written} answered for, {found} there")
                row, fact = _told(contender, contenders[0])
                rows.append([f"{durability}: {contender.name}", *row])
                facts[f"{durability}, {contender.name}"] = fact
    publish(
        "spool",
        [
            "write one record",
            *(head for n in _THREADS for head in (f"{n} thr. p50 µs", "p99 µs", "records/s", "ratio")),
        ],
        rows,
        [
            f"a record of {len(record)} bytes; SQLite {sqlite3.sqlite_version}, WAL, synchronous FULL or OFF",
            f"one fsync takes {fsync:.0f} µs here; {options.seconds:g} s each in {_ROUNDS} rounds that took turns",
            "ratio: records/s against those of the segments; all records were found again",
        ],
        {"contenders": facts, "fsync_us": fsync},
    )


def _told(contender: _Contender, ours: _Contender) -> tuple[list[str], dict[str, list[float]]]:
    row, fact = [], {}
    for threads in _THREADS:
        calls, rate = contender.call_us[threads], max(contender.rates[threads])
        marks = [percentile(calls, share) for share in (0.5, 0.99)]
        row += [f"{marks[0]:,.0f}", f"{marks[1]:,.0f}", f"{rate:,.0f}"]
        row.append(ratio(rate, max(ours.rates[threads]), more_is_better=True))
        fact[str(threads)] = [*marks, rate]
    return row, fact


if __name__ == "__main__":
    main()
