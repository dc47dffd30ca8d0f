"""A producer's place: one process after the other, each killed, stopped or frozen at some moment."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

from tests.torture.journal import Journal
from tests.torture.plan import Plan
from tests.torture.processes import Group

_STOP_S = 45.0


class Slot:
    """Every generation appends under a name of its own; what the dead left in the spool, the living deliver."""

    def __init__(self, plan: Plan, number: int, journal: Journal) -> None:
        self._plan, self._number, self._journal = plan, number, journal
        self._rng = plan.rng(f"slot-{number}")
        self._generation = 0
        self._told_to_end = False
        self._groups: list[Group] = []

    def start(self) -> None:
        """The next generation."""
        self._told_to_end = False
        name = f"{self._number}.{self._generation}"
        log = Path(self._plan.folder) / f"producer-{name}.log"
        command = [sys.executable, "-m", "tests.torture.producer", self._plan.dumps()]
        command += [str(self._number), str(self._generation)]
        group = Group(command, self._settings(), log, held={signal.SIGTERM})
        self._groups.append(group)
        self._generation += 1
        self._journal.note("producer started", f"{name} pid {group.pid}")

    async def torment(self) -> None:
        """Until cancelled."""
        actions = [self._kill] * 4 + [self._kill_all] * 2 + [self._kill_young] + [self._stop] * 2 + [self._freeze] * 2
        while True:
            await asyncio.sleep(self._rng.uniform(0.3, 5.0))
            if not self._ended_alone():
                await self._rng.choice(actions)()

    async def stop_for_good(self) -> None:
        """SIGTERM to the last one; what else there is of any generation is killed."""
        self._last.signal(signal.SIGCONT)
        if self._told_to_end:
            await self._last.end(_STOP_S)
        elif not self._ended_alone(again=False):
            await self._stop(again=False)
        self.reap()

    def reap(self) -> None:
        """No process of any generation is left."""
        for group in self._groups:
            group.reap()

    @property
    def _last(self) -> Group:
        return self._groups[-1]

    def _ended_alone(self, *, again: bool = True) -> bool:
        code = self._last.ended()
        if code is None:
            return False
        words = self._last.last_words()
        self._journal.fault(f"producer {self._number}.{self._generation - 1} ended by itself with {code}", words)
        if again:
            self.start()
        return True

    async def _kill(self) -> None:
        """The process alone: its forked children go on as orphans."""
        self._journal.note("producer killed -9")
        self._told_to_end = True
        self._last.signal(signal.SIGKILL)
        await asyncio.sleep(self._rng.choice((0.0, self._rng.uniform(0, 1.0))))
        self.start()

    async def _kill_all(self) -> None:
        self._journal.note("producer killed -9 with its children")
        self._last.signal_all(signal.SIGKILL)
        self.start()

    async def _kill_young(self) -> None:
        """Twice, the second time while it starts or adopts what the first has left."""
        await self._kill()
        await asyncio.sleep(self._rng.uniform(0.3, 1.2))
        self._journal.note("producer killed -9 as it started")
        self._last.signal_all(signal.SIGKILL)
        self.start()

    async def _stop(self, *, again: bool = True) -> None:
        self._journal.note("producer stopped by SIGTERM")
        self._told_to_end = True
        self._last.signal(signal.SIGTERM)
        code = await self._last.end(_STOP_S)
        if code != 0:
            name = f"{self._number}.{self._generation - 1}"
            self._journal.fault(f"producer {name} ended on SIGTERM with {code}", self._last.last_words())
            self._last.signal_all(signal.SIGKILL)
        if again:
            self.start()

    async def _freeze(self) -> None:
        self._journal.note("producer frozen by SIGSTOP")
        self._last.signal_all(signal.SIGSTOP)
        try:
            await asyncio.sleep(self._rng.uniform(0.1, 3.0))
        finally:
            self._last.signal_all(signal.SIGCONT)

    def _settings(self) -> dict[str, object]:
        """Small ones of the seed's choice for ours; the stock pipeline has its defaults."""
        rng = self._rng
        if self._plan.sender == "sdk":
            return {}
        return {
            "OTEL_EXPORTER_OTLP_TIMEOUT": 2,
            "OTEL_AUDIT_BATCH_DELAY_S": 0.02,
            "OTEL_AUDIT_BATCH_MAX_RECORDS": rng.choice((30, 100, 1_000)),
            "OTEL_AUDIT_BATCH_MAX_BYTES": 256 << 10,
            "OTEL_AUDIT_QUEUE_MAX_RECORDS": 20_000,
            "OTEL_AUDIT_RETRY_INITIAL_S": 0.05,
            "OTEL_AUDIT_RETRY_MAX_S": 1.0,
            "OTEL_AUDIT_EXIT_FLUSH_S": 2.0,
            "OTEL_AUDIT_HEARTBEAT_S": 1.0,
            "OTEL_AUDIT_SPOOL_MAX_BYTES": 32 << 20,
            "OTEL_AUDIT_SPOOL_SEGMENT_BYTES": rng.choice((16 << 10, 256 << 10)),
            "OTEL_AUDIT_SPOOL_KEEP_S": 5.0,
            "OTEL_AUDIT_SPOOL_KEEP_BYTES": 1 << 20,
        }
