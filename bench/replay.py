"""What it costs to know an id again: old requests are sent once more in every state that an id goes through.

Real requests, decoded as the collector decodes them, go into the log engine in this process, with merging, sealing and
de-duplication on. Timed is what finds out whether ids are known (`sort_out`, a part of every commit), by itself and
while nothing else runs: it is what holds up the commits of others. Then the same requests are handed over as from a
sender, and a single new row ends the benchmark with an error.

The clock is the benchmark's own, so that weeks pass at once. The peer is a PostgreSQL table of ids and digests alone:
`insert ... on conflict do nothing` of the same thousand ids.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from bench.processes import running_postgres
from bench.replayed import KINDS, PER_REQUEST, Source
from bench.report import percentile, publish, ratio
from otel_audit.archive.names import Stage
from otel_audit.config import load_settings
from otel_audit.log.engine import ActivityLog
from otel_audit.log.index import Verdict
from otel_audit.log.window import sort_out
from otel_audit.otlp.decode import Decoded, decode_logs

_WEEKS_NS = 30 * 86_400 * 10**9
_UNDER_WAY = 4
_PATIENCE_S = 600.0
_ByKind = dict[str, list[Decoded]]


def _decoded(body: bytes) -> Decoded:
    return decode_logs(body, received_from="127.0.0.1", arrival_ns=1, max_records=PER_REQUEST)


class _Bench:
    """A log, the requests that are sent to it again, and what that cost."""

    def __init__(self, folder: Path, options: argparse.Namespace) -> None:
        self.source = Source()
        self.rows: list[list[str]] = []
        self.facts: dict[str, dict[str, Any]] = {}
        self._folder = folder
        self._settings = load_settings({}, seal_rows=options.seal_rows)
        self._rounds: int = options.rounds
        self.open()

    def open(self) -> None:
        """Begin, or begin again."""
        self.log = ActivityLog.open(self._folder, self._settings, self.source.clock)

    def send_fresh(self, records: int) -> dict[str, list[bytes]]:
        """Records that nobody has sent before, a third of each kind."""
        sent: dict[str, list[bytes]] = {kind: [] for kind in KINDS}
        under_way = []
        for at in range(records // PER_REQUEST):
            of_kind = sent[KINDS[at % len(KINDS)]]
            of_kind.append(self.source.fresh(KINDS[at % len(KINDS)]))
            under_way.append(self.log.submit(_decoded(of_kind[-1])))
            if len(under_way) > _UNDER_WAY:
                assert under_way.pop(0).result(_PATIENCE_S).committed == PER_REQUEST
        for future in under_way:
            assert future.result(_PATIENCE_S).committed == PER_REQUEST
        return sent

    def settle(self) -> None:
        """Wait until nothing runs behind the commits."""
        before: tuple[int, ...] = ()
        while True:
            stats, index = self.log.stats(), self.log._stores.index
            now = stats.merges, stats.seals, stats.hot_files, index.covered
            if now == before and not index._spilling:
                return
            before = now
            time.sleep(1.0)

    def measure(self, state: str, requests: _ByKind, *, alone: bool = False) -> None:
        """One row of the table. `alone`: an id of each request by itself instead of all of it."""
        self.settle()
        row, facts = [state], {}
        for kind in KINDS:
            costs = [self._look_up(one, alone) for _ in range(self._rounds) for one in requests[kind]]
            wall, cpu = zip(*costs, strict=True)
            facts[kind] = {"p50_us": median(wall), "p99_us": percentile(wall, 0.99), "cpu_us": median(cpu)}
            row.append(" / ".join(_shown(us) for us in facts[kind].values()))
        new = self._send_again(requests)
        if new:
            raise SystemExit(f"{state}: {new} records were taken for new")
        self.rows.append([*row, f"{new}"])
        self.facts[state] = facts
        print(" | ".join(self.rows[-1]), flush=True)

    def _look_up(self, request: Decoded, alone: bool) -> tuple[float, float]:
        """µs an id, and µs of CPU."""
        table = request.table.slice(int(self.source.random.integers(PER_REQUEST)), 1) if alone else request.table
        stores = self.log._stores
        begin, cpu_begin = time.perf_counter(), time.process_time()
        window = sort_out([table], stores.index, stores.lookup.digests)
        took, cpu = time.perf_counter() - begin, time.process_time() - cpu_begin
        if not (window.verdicts == Verdict.DUPLICATE).all():
            raise SystemExit("an old id was not known")
        return took * 1e6 / table.num_rows, cpu * 1e6 / table.num_rows

    def _send_again(self, requests: _ByKind) -> int:
        before = self.log.stats().rows
        for of_kind in requests.values():
            for one in of_kind:
                assert self.log.submit(one).result(_PATIENCE_S).duplicates == PER_REQUEST
        return self.log.stats().rows - before

    def leave_window(self, newest_ms: int) -> None:
        """Let weeks pass and new records come, until the index has let go of ids up to a time."""
        for _ in range(10):
            self.source.now_ns += _WEEKS_NS
            self.send_fresh(self._settings.index_run_rows + PER_REQUEST)
            self.settle()
            if newest_ms < self.log._stores.index.horizon_ms:
                return
        raise SystemExit("the index does not let go of old ids")


def _shown(us: float) -> str:
    return f"{us:,.1f}" if us < 1_000 else f"{us:,.0f}"


def _run(folder: Path, options: argparse.Namespace) -> tuple[_Bench, int]:
    bench = _Bench(folder, options)
    sent = bench.send_fresh(len(KINDS) * options.requests * PER_REQUEST)
    old = {kind: [_decoded(body) for body in sent[kind]] for kind in KINDS}
    bench.measure("just sent", old)
    others = bench.send_fresh(options.others)
    old_ms = bench.source.now_ns // 1_000_000
    few = max(1, options.requests // 5)
    spread = {kind: [_decoded(body) for body in bench.source.mixed(others[kind], few)] for kind in KINDS}
    del others
    bench.measure(f"after {options.others:,} other records", old)
    bench.log.seal()
    bench.measure("after a seal", old)
    bench.log.close()
    bench.open()
    bench.measure("after a restart", old)
    bench.leave_window(old_ms)
    bench.log.seal()
    files = [name for name, _ in bench.log._stores.activity.maximal() if name.stage is Stage.SEALED]
    bench.measure("weeks later", old)
    bench.measure(f"weeks later, ids from all over {len(files)} files", spread)
    bench.measure("weeks later, one id alone", old, alone=True)
    bench.log.close()
    return bench, len(files)


def _peer(options: argparse.Namespace) -> tuple[list[str], list[float]] | None:
    """The same question to a B-tree: a row of the table and its medians; None where PostgreSQL is not installed."""
    with running_postgres() as server:
        if server is None:
            return None
        import psycopg

        medians: list[float] = []
        row, source = [f"PostgreSQL {server.version}, insert on conflict do nothing"], Source()
        with psycopg.connect(server.conninfo, autocommit=True) as connection:
            connection.execute("create table known (id text primary key, digest bigint not null)")
            sent: list[list[str]] = []
            for at in range(options.others // PER_REQUEST):
                source.now_ns += 100_000_000
                ids = source.ids(KINDS[at % len(KINDS)])
                sent.append([bytes(text).decode() for text in ids])
                with connection.cursor() as cursor, cursor.copy("copy known from stdin") as copy:
                    copy.write("".join(f"{id_}\t{at}\n" for id_ in sent[-1]))
            connection.execute("vacuum analyze known")
            again = "insert into known select unnest(%s::text[]), unnest(%s::bigint[]) on conflict do nothing"
            for at in range(len(KINDS)):
                costs = []
                for ids_again in sent[at :: len(KINDS)][: options.requests] * options.rounds:
                    begin = time.perf_counter()
                    new = connection.execute(again, (ids_again, [0] * PER_REQUEST)).rowcount
                    costs.append((time.perf_counter() - begin) * 1e6 / PER_REQUEST)
                    assert new == 0
                medians.append(median(costs))
                row.append(f"{_shown(medians[-1])} / {_shown(percentile(costs, 0.99))} / -")
        return [*row, "0"], medians


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--others", type=int, default=2_000_000, help="records sent in between")
    parser.add_argument("--requests", type=int, default=20, help="old ones of each kind")
    parser.add_argument("--rounds", type=int, default=5, help="how often each is looked up in a state")
    parser.add_argument("--seal-rows", type=int, default=100_000, help="rows of a sealed file")
    parser.add_argument("--folder", type=Path, help="where the data goes while it runs; default: the temporary folder")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="otel-audit-bench-", dir=options.folder))
    try:
        bench, files = _run(folder / "data", options)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    row, medians = _peer(options) or (["PostgreSQL: not installed", "-", "-", "-", "-"], [0.0] * len(KINDS))
    ours = [bench.facts[f"after {options.others:,} other records"][kind]["p50_us"] for kind in KINDS]
    ratios = ", ".join(f"{kind} {ratio(*pair)}" for kind, *pair in zip(KINDS, ours, medians, strict=True))
    publish(
        "replay",
        ["µs an id: p50 / p99 / CPU", *KINDS, "new rows"],
        [*bench.rows, row],
        [
            f"{options.requests} requests of {PER_REQUEST:,} records of each kind; in each state looked up "
            f"{options.rounds} times and sent again once; of the records in between a third is of each kind",
            f"p50 after the records in between, as a ratio to PostgreSQL's: {ratios}",
            f"index window 7 days, sealed files of {options.seal_rows:,} rows, {files} of them in the end",
        ],
        {"states": bench.facts, "options": vars(options) | {"folder": None}},
    )


if __name__ == "__main__":
    main()
