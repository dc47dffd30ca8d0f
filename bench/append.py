"""What an append costs the application, in each durability, against the OpenTelemetry SDK and what people build.

Rounds take turns: ours, then each peer, all in one process, so that a noisy minute hits all alike. Every call is timed
alone. What the pipeline does behind the call (encoding, sending) takes the same interpreter lock, so it is counted too:
CPU of the process over a round and its flush, less the CPU of the calling threads.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from bench.appenders import OURS_MADE, SDK_MADE, Way, ways
from bench.records import BenchRecords
from bench.report import percentile, publish, ratio
from bench.sink import running_sink
from otel_audit import ActivityRecord


@dataclass
class _Measured:
    """What was seen of one way."""

    way: Way
    call_us: list[float] = field(default_factory=list)
    background_us: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)

    def forget(self) -> None:
        for values in (self.call_us, self.background_us, self.rates):
            values.clear()

    def run(self, records: Sequence[ActivityRecord], pause_s: float, threads: int) -> None:
        """One round: every call timed, a pause between the bursts, the flush at the end."""
        prepared = [self.way.prepare(record) for record in records]
        shares = [prepared[at::threads] for at in range(threads)]
        spent: list[list[int]] = [[] for _ in shares]
        own_cpu = [0.0] * threads
        cpu_before, begin = time.process_time(), time.perf_counter_ns()

        def work(at: int) -> None:
            before = time.thread_time()
            _calls(self.way.call, shares[at], spent[at], pause_s)
            own_cpu[at] = time.thread_time() - before

        if threads == 1:
            work(0)
        else:
            crowd = [threading.Thread(target=work, args=(at,)) for at in range(threads)]
            for thread in crowd:
                thread.start()
            for thread in crowd:
                thread.join()
        taken_s = (time.perf_counter_ns() - begin) / 1e9
        self.way.flush()
        self.rates.append(len(records) / taken_s)
        self.call_us += [ns / 1_000 for share in spent for ns in share]
        background_s = time.process_time() - cpu_before - sum(own_cpu)
        self.background_us.append(background_s * 1e6 / len(records))


def _calls(call: Callable[[Any], Any], items: Sequence[Any], spent: list[int], pause_s: float) -> None:
    clock = time.perf_counter_ns
    for at in range(0, len(items), 100):
        for item in items[at : at + 100]:
            start = clock()
            call(item)
            spent.append(clock() - start)
        time.sleep(pause_s)


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=2_000, help="per round and contender")
    parser.add_argument("--seconds", type=float, default=20.0, help="about how long in all")
    parser.add_argument("--pause-ms", type=float, default=5.0, help="after every 100 calls; 0: as fast as it goes")
    parser.add_argument("--threads", type=int, default=1, help="that append at the same time")
    parser.add_argument("--folder", type=Path, help="on the disk to be measured; default: the temporary folder")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    folder = Path(tempfile.mkdtemp(prefix="otel-audit-bench-", dir=options.folder))
    with running_sink() as url, ExitStack() as stack:
        stack.callback(_remove, folder)
        measured = [_Measured(way) for way in ways(url, folder, stack)]
        source = BenchRecords(seed=1)
        for one in measured:  # warm up: connections, caches
            one.run(source.records(500), 0, options.threads)
            one.forget()
        end = time.monotonic() + options.seconds
        while not measured[-1].rates or time.monotonic() < end:
            for one in measured:
                one.run(source.records(options.records), options.pause_ms / 1_000, options.threads)
    _report(measured, options)


def _remove(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    folder.rmdir()


def _report(measured: Sequence[_Measured], options: argparse.Namespace) -> None:
    by_name = {one.way.name: one for one in measured}
    rows, facts = [], {}
    for one in measured:
        peer = by_name[one.way.peer]
        marks = [percentile(one.call_us, share) for share in (0.5, 0.99, 0.999)]
        background, rate = median(one.background_us), median(one.rates)
        rows.append(
            [
                one.way.name,
                *(f"{mark:,.1f}" for mark in marks),
                f"{background:.1f}",
                f"{rate:,.0f}",
                ratio(marks[0], percentile(peer.call_us, 0.5)),
                ratio(rate, median(peer.rates), more_is_better=True),
                peer.way.name.partition(",")[0] if peer is not one else "-",
            ]
        )
        facts[one.way.name] = {"us": marks, "background_us": background, "rate": rate, "calls": len(one.call_us)}
    publish(
        f"append-{options.threads}",
        ["one append, µs", "p50", "p99", "p99.9", "background CPU", "records/s", "p50, ratio", "rate, ratio", "to"],
        rows,
        [
            f"{len(measured[0].call_us):,} calls each in {len(measured[0].rates)} rounds that took turns",
            f"{options.threads} thread(s) append; bursts of 100 a thread, {options.pause_ms:g} ms apart",
            f"where the record is made within the call, '{OURS_MADE}' is compared with '{SDK_MADE}'",
            "the sink is a process of its own",
        ],
        {"ways": facts},
    )


if __name__ == "__main__":
    main()
