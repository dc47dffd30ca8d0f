"""The collector under torture: killed, stopped, frozen and started again on the same folder and port."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from pathlib import Path

from tests.e2e.processes import free_port
from tests.torture.disks import SmallDisk
from tests.torture.http1 import Message, exchange
from tests.torture.journal import Journal
from tests.torture.plan import Plan
from tests.torture.processes import Group

_STOP_S = 40.0
_START_S = 30.0
_NOBODY_HAS = 1 << 60


class Collector:
    """One collector at a time, each with small settings of the seed's choice: it merges, seals and spills all the time.

    Attributes:
        port: always the same.
        data: its data folder.
    """

    def __init__(self, plan: Plan, disk: SmallDisk, journal: Journal) -> None:
        self.port = free_port()
        self.data = disk.home
        self._disk, self._journal = disk, journal
        self._rng = plan.rng("collector")
        self._log = Path(plan.folder) / "collector.log"
        self._group: Group | None = None
        self._fills_at_start = 0
        self._told_to_stop = self._answered = False

    def start(self, **settings: object) -> None:
        """Start it; it may take a while to answer."""
        rng = self._rng
        chosen = {
            "data_dir": self.data,
            "port": self.port,
            "seal_rows": rng.choice((500, 3_000, 20_000)),
            "merge_fan_in": rng.choice((2, 4, 8)),
            "merge_big_rows": rng.choice((200, 5_000)),
            "hot_max_files": rng.choice((8, 30)),
            "input_keep_s": rng.choice((0.0, 0.2)),
            "index_run_rows": rng.choice((100, 1_000, 10_000)),
            "dedupe_window_s": rng.choice((1.0, 10.0)),
            "min_free_bytes": rng.choice((0, 1 << 20)) if self._disk.real else 0,
            "stop_timeout_s": 5.0,
        } | settings
        self._fills_at_start = self._disk.fills - self._disk.full  # one that is full now counts as well
        self._told_to_stop = bool(settings)  # one with a setting against it is not there to stay
        self._answered = False
        command = [sys.executable, "-m", "otel_audit.cli.main", "collector"]
        self._group = Group(command, {f"OTEL_AUDIT_{k.upper()}": v for k, v in chosen.items()}, self._log)
        self._journal.note("collector started", f"pid {self._group.pid} {chosen}")

    async def torment(self) -> None:
        """Until cancelled: whatever can happen to a process, at any moment."""
        actions = [self._kill] * 4 + [self._kill_young] * 2 + [self._stop] * 2 + [self._freeze] * 3
        if not self._disk.real:
            actions += [self._restart_without_room] * 4
        while True:
            await asyncio.sleep(self._rng.uniform(0.1, 4.0))
            if not await self._ended_alone():
                await self._rng.choice(actions)()

    async def answers(self, path: str, within_s: float) -> bool:
        """Whether a page says 200 in time."""
        page = Message(f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n".encode(), b"")
        try:
            async with asyncio.timeout(within_s):
                while True:
                    try:
                        answer = await exchange(self.port, page)
                        self._answered = True
                        if answer.status == 200:
                            return True
                    except (OSError, EOFError):
                        pass
                    await asyncio.sleep(0.05)
        except TimeoutError:
            return False

    async def recover(self) -> None:
        """The causes are gone, and it runs if nobody told it to stop: it must be ready by itself."""
        self._running.signal(signal.SIGCONT)
        if self._told_to_stop:
            await self.again()
        end = time.monotonic() + _START_S
        while not await self.answers("/readyz", 1.0):
            await self._ended_alone()  # it may have found the disk full as it started, a moment ago
            if time.monotonic() > end:
                self._journal.fault("the collector is not ready again by itself though every cause is gone")
                return

    async def stop_for_good(self) -> None:
        """SIGTERM, and it is not started again.

        One that never answered may have no handler for it yet, or may just have given up on a full disk.
        """
        self._told_to_stop = True
        self._running.signal(signal.SIGTERM)
        code = await self._running.end(_STOP_S)
        excused = not self._answered and (code == -signal.SIGTERM or self._disk.fills > self._fills_at_start)
        if code != 0 and not excused:
            self._journal.fault(f"the collector ended on SIGTERM with {code}", self._running.last_words())

    async def again(self, **settings: object) -> None:
        """Start it anew, however it ended, and give it a moment to answer."""
        self._running.reap()
        self.start(**settings)
        await self.answers("/healthz", 5.0)

    def reap(self) -> None:
        """Whatever state it is in, it is gone."""
        if self._group is not None:
            self._group.reap()

    @property
    def _running(self) -> Group:
        assert self._group is not None
        return self._group

    async def _ended_alone(self) -> bool:
        """Started again if so. On a full disk it may say that it cannot start, and end; never otherwise."""
        code = self._running.ended()
        if code is None:
            return False
        if self._disk.fills > self._fills_at_start:
            self._journal.note("collector gave up on a full disk", f"code {code}")
        else:
            self._journal.fault(f"the collector ended by itself with {code}", self._running.last_words())
        await self.again()
        return True

    async def _kill(self) -> None:
        self._journal.note("collector killed -9")
        self._told_to_stop = True
        self._running.reap()
        await asyncio.sleep(self._rng.choice((0.0, self._rng.uniform(0, 1.5))))
        await self.again()

    async def _kill_young(self) -> None:
        """Twice, the second time while it reads its folder."""
        self._journal.note("collector killed -9")
        self._running.reap()
        self.start()
        await asyncio.sleep(self._rng.uniform(0.3, 1.2))
        if self._running.ended() is None:
            self._journal.note("collector killed -9 as it started")
            await self.again()

    async def _stop(self) -> None:
        self._journal.note("collector stopped by SIGTERM")
        await self.stop_for_good()
        await self.again()

    async def _freeze(self) -> None:
        self._journal.note("collector frozen by SIGSTOP")
        self._running.signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(self._rng.uniform(0.1, 3.5))
        finally:
            self._running.signal(signal.SIGCONT)

    async def _restart_without_room(self) -> None:
        """Where no disk can be filled: one that counts as full, by the setting for it."""
        self._disk.fills += 1
        self._journal.note("collector's disk full, by its setting")
        await self.again(min_free_bytes=_NOBODY_HAS)
        await asyncio.sleep(self._rng.uniform(0.5, 2.0))
        await self.again()
