"""The load generator: `python -m bench.load` sends fresh records over k connections for n seconds, and says what came
of it as one line of JSON.

A process of its own. Requests are encoded before the clock starts and only stamped while it runs. One connection has
one request under way and sends the next when the answer is there, as OTLP exporters do; a request that is answered with
503 is sent again, unchanged.
"""

from __future__ import annotations

import argparse
import http.client
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import urlsplit

import numpy as np

from bench.postgres_table import COPY, copy_rows
from bench.records import BenchRecords
from bench.stamping import StampedRequest, uuid7_texts

_POOLED = 16
_RETRY_S = 0.1
_GIVE_UP_S = 60.0
Send = Callable[[], int]
"""Sends one request of fresh records until it is acknowledged; gives how many times it was sent again."""


@dataclass
class _Connection:
    """What one connection saw."""

    acknowledged: int = 0
    late: int = 0
    latencies_ms: list[float] = field(default_factory=list)
    retries: int = 0
    failure: str = ""

    def run(self, send: Send, records: int, start: threading.Barrier, seconds: float, requests: int) -> None:
        """Send until `seconds` are over, or `requests` are acknowledged when that is given."""
        try:
            start.wait()
            end = time.perf_counter() + seconds
            while not requests or len(self.latencies_ms) < requests:
                begin = time.perf_counter()
                if begin >= end:
                    return
                self.retries += send()
                done = time.perf_counter()
                self.latencies_ms.append((done - begin) * 1e3)
                self.acknowledged += records
                self.late += records if done > end else 0
        except Exception as error:
            self.failure = repr(error)


def _http_sender(url: str, per_request: int, source: BenchRecords, random: np.random.Generator) -> Send:
    pool = [StampedRequest(body) for body in source.requests(_POOLED * per_request, per_request)]
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
    connection.connect()
    turn = 0

    def send() -> int:
        nonlocal turn
        body = pool[turn % len(pool)].stamp(random, time.time_ns())
        turn += 1
        for retries in range(int(_GIVE_UP_S / _RETRY_S)):
            connection.request("POST", "/v1/logs", body, {"content-type": "application/x-protobuf"})
            answer = connection.getresponse()
            said = answer.read()
            if answer.status == 200:
                return retries
            if answer.status != 503:
                raise RuntimeError(f"answered {answer.status}: {said[:200]!r}")
            time.sleep(_RETRY_S)
        raise RuntimeError(f"answered 503 for {_GIVE_UP_S:g} s")

    return send


def _postgres_sender(conninfo: str, per_request: int, source: BenchRecords, random: np.random.Generator) -> Send:
    import psycopg

    pool = [[rest for _, rest in copy_rows(source.records(per_request))] for _ in range(_POOLED)]
    connection = psycopg.connect(conninfo, autocommit=True)
    turn = 0

    def send() -> int:
        nonlocal turn
        rests = pool[turn % len(pool)]
        turn += 1
        now_ns = time.time_ns()
        ids = uuid7_texts(np.full(per_request, now_ns // 1_000_000), random).tobytes().decode()
        traces = random.bytes(24 * per_request).hex()
        moment = datetime.fromtimestamp(now_ns / 1e9, UTC).isoformat()
        lines = "".join(
            f"{ids[36 * at : 36 * at + 36]}\t{moment}\t\\\\x{traces[48 * at : 48 * at + 32]}"
            f"\t\\\\x{traces[48 * at + 32 : 48 * at + 48]}\t{rest}"
            for at, rest in enumerate(rests)
        )
        with connection.cursor() as cursor, cursor.copy(COPY) as copy:
            copy.write(lines)
        return 0

    return send


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", default="")
    parser.add_argument("--postgres", default="", help="conninfo; COPY of the same records instead")
    parser.add_argument("--connections", type=int, default=1)
    parser.add_argument("--per-request", type=int, default=1_000)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--requests", type=int, default=0, help="stop after so many per connection")
    parser.add_argument("--seed", type=int, default=100)
    options = parser.parse_args()
    start = threading.Barrier(options.connections + 1)
    source = BenchRecords(seed=options.seed)
    seen, threads = [], []
    for at in range(options.connections):
        random = np.random.default_rng([options.seed, at])
        if options.postgres:
            send = _postgres_sender(options.postgres, options.per_request, source, random)
        else:
            send = _http_sender(options.url, options.per_request, source, random)
        seen.append(_Connection())
        arguments = (send, options.per_request, start, options.seconds, options.requests)
        threads.append(threading.Thread(target=seen[-1].run, args=arguments, daemon=True))
        threads[-1].start()
    start.wait()
    begin = time.perf_counter()
    cpu = time.process_time()
    for thread in threads:
        thread.join()
    took = time.perf_counter() - begin
    counted = min(took, options.seconds)
    acknowledged = sum(one.acknowledged for one in seen)
    result = {
        "acknowledged": acknowledged,
        "per_s": (acknowledged - sum(one.late for one in seen)) / counted,
        "seconds": counted,
        "latencies_ms": [round(ms, 3) for one in seen for ms in one.latencies_ms],
        "retries": sum(one.retries for one in seen),
        "failures": [one.failure for one in seen if one.failure],
        "generator_cpu_s": time.process_time() - cpu,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
