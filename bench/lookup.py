"""How long a question takes over many sealed files, against DuckDB reading a plain glob of the same files.

Each question is asked with several keys; both sides answer the same ones in turn, after one warm-up, and must give the
same records. The peer is what one writes without this package: `read_parquet('archive/**/*.parquet') where ... order by
... limit 10` on a connection with as many threads.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any
from uuid import uuid4

import duckdb

from bench.report import percentile, publish, ratio
from bench.sealed import build_sealed
from otel_audit import EntityRef
from otel_audit.config import load_settings
from otel_audit.query.reader import DuckDBReader

_LIMIT = 10


@dataclass
class _Question:
    """One kind of question. `ours` gives record ids newest first, or counts; `theirs` is the peer's SQL."""

    name: str
    keys: list[Any]
    ours: Callable[[Any], list[Any]]
    theirs: str
    ours_ms: list[float] = field(default_factory=list)
    theirs_ms: list[float] = field(default_factory=list)


class _Peer:
    """DuckDB over a plain glob."""

    def __init__(self, root: Path, threads: int) -> None:
        self.connection = duckdb.connect()
        self.connection.execute(f"set threads = {threads}; set timezone = 'UTC'")
        self.files = f"read_parquet('{root}/archive/**/*.parquet')"

    def ask(self, sql: str, key: Any) -> list[Any]:
        parameters = list(key) if isinstance(key, tuple) else [] if key is None else [key]
        rows: list[Any] = self.connection.execute(sql.replace("FILES", self.files), parameters).fetchall()
        return rows


def _questions(reader: DuckDBReader, peer: _Peer, keys: int) -> list[_Question]:
    newest = f"order by occurred_at desc, record_id desc limit {_LIMIT}"

    def by(condition: str) -> str:
        return f"select * from FILES where {condition} {newest}"

    def ids(records: list[Any]) -> list[str]:
        return [str(record.record_id) for record in records]

    def history(key: tuple[str, str]) -> list[str]:
        return ids(reader.get_by_entity(EntityRef(*key), limit=_LIMIT, order="desc"))

    def owner(key: str) -> list[str]:
        return ids(reader.get_by_owner(key, limit=_LIMIT, order="desc"))

    def actor(key: str) -> list[str]:
        return ids(reader.get_by_actor(key, limit=_LIMIT, order="desc"))

    def one(key: str) -> list[str]:
        found = reader.get_by_id(key)
        return [] if found is None else [str(found.record_id)]

    def counts(_key: None) -> list[Any]:
        return sorted((str(action), count) for action, count in reader.count_by("action").items())

    def picked(what: str, having: str, order: str) -> list[Any]:
        rows = peer.ask(
            f"select {what} from FILES where entity_id is not null group by {what} having {having} "
            f"order by {order}, hash({what.split(', ')[-1]}) limit {keys}",
            None,
        )
        return [row[0] if len(row) == 1 else tuple(row) for row in rows]

    entity = "entity_type, entity_id"
    in_entity = by("entity_type = ? and entity_id = ?")
    quiet = "count(*) between 1 and 20"
    busiest = "count(*) desc"
    by_owner, by_actor = by("owner_id = ?"), by("actor_id = ?")
    ids_there = [row[0] for row in peer.ask(f"select record_id from FILES order by hash(record_id) limit {keys}", None)]
    absent = [("Task", str(uuid4())) for _ in range(keys)]
    counted = "select action, count(*) from FILES group by action order by action"
    return [
        _Question("latest 10 of an entity, the busiest", picked(entity, "true", busiest), history, in_entity),
        _Question("latest 10 of an entity with one record", picked(entity, "count(*) = 1", "1"), history, in_entity),
        _Question("latest 10 of an entity that is absent", absent, history, in_entity),
        _Question("latest 10 of an owner, the busiest", picked("owner_id", "true", busiest), owner, by_owner),
        _Question("latest 10 of an owner, a quiet one", picked("owner_id", quiet, busiest), owner, by_owner),
        _Question("latest 10 of an actor, a quiet one", picked("actor_id", quiet, busiest), actor, by_actor),
        _Question("one record by its id", ids_there, one, "select * from FILES where record_id = ?"),
        _Question("count by action, all records", [None], counts, counted),
    ]


def _ask(question: _Question, peer: _Peer, columns: int, keep: bool) -> None:
    for key in question.keys:
        begin = time.perf_counter()
        ours = question.ours(key)
        between = time.perf_counter()
        found = peer.ask(question.theirs, key)
        end = time.perf_counter()
        theirs = sorted(found) if len(found) and len(found[0]) == 2 else [row[columns] for row in found]
        if ours != theirs:
            raise SystemExit(f"{question.name} {key}: the answers differ:\n{ours}\n{theirs}")
        if keep:
            question.ours_ms.append((between - begin) * 1e3)
            question.theirs_ms.append((end - between) * 1e3)


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rows-per-file", type=int, default=1_000_000)
    parser.add_argument("--keys", type=int, default=5, help="keys for each kind of question")
    parser.add_argument("--rounds", type=int, default=5, help="how often each key is asked for, after the warm-up")
    parser.add_argument("--folder", type=Path, help="build here and keep it; used again when it is there")
    options = parser.parse_args()
    kept = options.folder is not None
    root = options.folder or Path(tempfile.mkdtemp(prefix="otel-audit-bench-"))
    try:
        if not (root / "archive").is_dir():
            build_sealed(root, options.rows, options.rows_per_file)
        _run(root, options)
    finally:
        if not kept:
            shutil.rmtree(root, ignore_errors=True)


def _run(root: Path, options: argparse.Namespace) -> None:
    settings = load_settings({})
    peer = _Peer(root, settings.query_threads)
    files = list((root / "archive").rglob("*.parquet"))
    ((rows_there,),) = peer.ask("select count(*) from FILES", None)
    described = [row[0] for row in peer.ask("describe select * from FILES", None)]
    with DuckDBReader(root, settings) as reader:
        questions = _questions(reader, peer, options.keys)
        for question in questions:
            _ask(question, peer, described.index("record_id"), keep=False)
        for _ in range(options.rounds):
            for question in questions:
                _ask(question, peer, described.index("record_id"), keep=True)
    rows, facts = [], {}
    for question in questions:
        ours, theirs = median(question.ours_ms), median(question.theirs_ms)
        ours_most, theirs_most = percentile(question.ours_ms, 0.99), percentile(question.theirs_ms, 0.99)
        rows.append(
            [
                question.name,
                f"{ours:.1f}",
                f"{ours_most:.1f}",
                f"{theirs:.1f}",
                f"{theirs_most:.1f}",
                ratio(ours, theirs),
            ]
        )
        facts[question.name] = {"ours_ms": ours, "theirs_ms": theirs, "asked": len(question.ours_ms)}
    size = sum(path.stat().st_size for path in files)
    publish(
        "lookup",
        ["warm, ms", "otel-audit p50", "p99", "DuckDB over a glob p50", "p99", "ratio"],
        rows,
        [
            f"{rows_there:,} records in {len(files)} sealed files, {size / rows_there:.1f} bytes a record",
            f"{options.keys} keys a question, each asked {options.rounds} times by turns; "
            f"{settings.query_threads} threads; whole records as ActivityRecord on our side, as tuples on the peer's; "
            "answers compared",
        ],
        {"rows": rows_there, "files": len(files), "bytes": size, "questions": facts},
    )


if __name__ == "__main__":
    main()
