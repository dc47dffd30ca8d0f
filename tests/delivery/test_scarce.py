"""Little of what the application needs too: files, threads, permissions."""

from __future__ import annotations

import asyncio
import os
import resource
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from otel_audit.delivery.spooled import SpoolOutbox
from otel_audit.disk import Disk
from otel_audit.errors import SpoolUnwritableError
from tests.delivery.outboxes import Maker
from tests.delivery.processes import WAIT_S, append_all, ended_well, in_fork, open_log, record
from tests.delivery.scripted_peer import Peer
from tests.spool.plain import new_spool, own_stream


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_streams_of_the_dead_are_taken_over_a_few_at_a_time(tmp_path: Path) -> None:
    """More of them than the process may open files, and all of them delivered."""
    count = 100
    root = tmp_path / "spool"
    new_spool(root)
    for at in range(count):
        stream = own_stream(root, f"dead-{at}", endpoint="http://here", synced=False)
        stream.write([b"x"])
        stream.close()

    def deliver() -> None:
        most = open_files() + 25
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        box = Maker("spool", root, Disk())()
        assert isinstance(box, SpoolOutbox)
        box._backlog.look_round(frozenset())
        found = 0
        while (parcel := box._backlog.next_parcel(10, 1 << 20)) is not None:
            found += 0 if parcel.is_marker else 1
            box._backlog.end_part(parcel, len(parcel.records))
            os.close(os.dup(0))  # the application can still open files
        assert found == count
        assert not list((root / "streams").iterdir())

    assert ended_well(in_fork(deliver))


def test_handlers_that_fill_the_loops_threads_and_wait_for_an_append_do_not_starve_it(
    peer: Peer, tmp_path: Path
) -> None:
    log = open_log(peer.url, spool_dir=str(tmp_path / "spool"))

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(2))

        def handler(at: int) -> None:
            asyncio.run_coroutine_threadsafe(log.aappend(record(f"r-{at}")), loop).result(WAIT_S)

        await asyncio.gather(*(asyncio.to_thread(handler, at) for at in range(6)))

    asyncio.run(main())
    log.close()
    assert sorted(peer.delivered) == [f"r-{at}" for at in range(6)]


def test_an_append_without_a_file_left_to_open_raises_our_own_error(peer: Peer, tmp_path: Path) -> None:
    log = open_log(peer.url, spool_dir=str(tmp_path / "spool"), batch_delay_s=3600)

    def append() -> None:
        most = open_files() + 1
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        held = []
        try:
            while True:
                held.append(os.dup(0))
        except OSError:
            pass
        with pytest.raises(SpoolUnwritableError):
            append_all(log, ["in vain"])
        for handle in held:
            os.close(handle)
        resource.setrlimit(resource.RLIMIT_NOFILE, (1024, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        append_all(log, ["taken"])

    assert ended_well(in_fork(append))
    log.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can drop privileges")
def test_an_append_after_privileges_were_dropped_raises_our_own_error(peer: Peer, tmp_path: Path) -> None:
    log = open_log(peer.url, spool_dir=str(tmp_path / "spool"), batch_delay_s=3600)

    def append() -> None:
        os.setresuid(65534, 65534, 65534)
        with pytest.raises(SpoolUnwritableError):
            append_all(log, ["in vain"])

    assert ended_well(in_fork(append))
    log.close()
