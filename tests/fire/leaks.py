"""What a process holds on to: it must be the same after the trouble as before it."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

from tests.fire.traffic import Peer

_SPARE_HANDLES = _SPARE_THREADS = 12
"""There may be a few more runs of the index by then, which stay open, and the pools of threads are filled by and by."""


@dataclass(frozen=True)
class Held:
    """Handles, threads, and bytes reserved for requests."""

    handles: int
    threads: int
    queue_bytes: float


def held(pid: int, port: int) -> Held:
    """What a collector holds now. Reads once first, so that what reading keeps for good is there already."""
    peer = Peer(port)
    try:
        peer.ask("GET", "/v1/audit/records?limit=1")
        queue = peer.metric("otel_audit_queue_bytes")
        return Held(len(os.listdir(f"/proc/{pid}/fd")), len(os.listdir(f"/proc/{pid}/task")), queue)
    finally:
        peer.close()


def settles(pid: int, port: int, before: Held, within_s: float = 30.0) -> None:
    """Wait until the process holds no more than before."""
    end = time.monotonic() + within_s
    while True:
        now = held(pid, port)
        few_handles = now.handles <= before.handles + _SPARE_HANDLES
        if few_handles and now.threads <= before.threads + _SPARE_THREADS and now.queue_bytes == 0:
            return
        assert time.monotonic() < end, f"{now}; before: {before}"
        time.sleep(0.1)
