"""The supervisor: starts everything, lets it suffer for a while, brings it to rest, and leaves an archive to judge."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from tests.torture.collector import Collector
from tests.torture.disks import SmallDisk
from tests.torture.drain import drain_command, undelivered
from tests.torture.fates import Weather
from tests.torture.journal import Journal
from tests.torture.plan import Plan
from tests.torture.processes import Group
from tests.torture.proxy import ChaosProxy
from tests.torture.replays import Tape
from tests.torture.rows import read_rows
from tests.torture.slot import Slot

_DRAIN_S = 120.0
_ENOUGH_FAULTS = 20


class Supervisor:
    """One run. `run` returns when all is at rest and no process is left, however it ends.

    Attributes:
        archived: the ids in the archive when everything was delivered, before the last replays.
    """

    def __init__(self, plan: Plan, data: SmallDisk, spool: SmallDisk, journal: Journal) -> None:
        self._data, self._spool, self._journal = data, spool, journal
        self._plan = plan
        self._weather = Weather(plan.rng("fates"), lies=plan.plant == "ack-before-commit")
        self.tape = Tape(plan.rng("tape"))
        self._collector = Collector(plan, data, journal)
        self.proxy = ChaosProxy(self._collector.port, plan.rng("proxy"), self._weather, self.tape.capture)
        self._slots: list[Slot] = []
        self.archived: set[str] = set()

    async def run(self) -> None:
        """Everything, in order."""
        try:
            self._collector.start()
            await self._collector.answers("/readyz", 30.0)
            await self.proxy.start()
            plan = self._plan.at(f"http://127.0.0.1:{self.proxy.port}")
            self._slots = [Slot(plan, number, self._journal) for number in range(plan.producers)]
            for slot in self._slots:
                slot.start()
            await self._torment(plan.seconds)
            await self._settle(plan)
        finally:
            await self.proxy.stop()
            self._data.free()
            self._spool.free()
            for slot in self._slots:
                slot.reap()
            self._collector.reap()

    async def _torment(self, seconds: float) -> None:
        torments: list[Coroutine[Any, Any, None]] = [
            self._collector.torment(),
            *(slot.torment() for slot in self._slots),
            self._change_weather(self._plan.rng("weather")),
            self._replay(self._plan.rng("replays")),
            self._give_up(),
        ]
        if self._data.real:
            torments.append(self._fill(self._data, "collector's disk filled", self._plan.rng("collector's disk")))
        if self._spool.real and self._plan.spooled:
            torments.append(self._fill(self._spool, "spool's disk filled", self._plan.rng("spool's disk")))
        tasks = [asyncio.ensure_future(torment) for torment in torments]
        try:
            done, _ = await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _settle(self, plan: Plan) -> None:
        """Fair weather; producers end well; what the dead left is delivered; then all old requests come once more."""
        self._weather.trouble, self._weather.outage = 0.0, False
        await self._collector.recover()
        await asyncio.gather(*(slot.stop_for_good() for slot in self._slots))
        if plan.spooled:
            await self._drain(plan)
        await self.tape.replay_changed(self._collector.port, plan.plant)
        await self._collector.stop_for_good()
        self.archived = {row.record_id for row in read_rows(self._collector.data, self._journal.faults)}
        await self._collector.again()
        await self.tape.replay_all(self._collector.port)
        await self._collector.stop_for_good()

    async def _drain(self, plan: Plan) -> None:
        """A last process on the spool, with nobody else alive, delivers whatever is left in it."""
        command = drain_command(plan)
        self._journal.note("spool drained", " ".join(command[2:5]))
        drain = Group(command, {}, Path(plan.folder) / "drain.log")
        try:
            code = await drain.end(_DRAIN_S)
            left = undelivered(Path(plan.spool_dir))
            if code != 0 or left:
                words = "\n".join([drain.last_words(), *left])
                self._journal.fault(f"{len(left)} files are left in the drained spool (exit code {code})", words)
        finally:
            drain.reap()

    async def _give_up(self) -> None:
        """Ends the torment when so much is wrong that more of it tells nothing new."""
        while len(self._journal.faults) < _ENOUGH_FAULTS:
            await asyncio.sleep(0.5)

    async def _change_weather(self, rng: random.Random) -> None:
        while True:
            self._weather.trouble = rng.choice((0.0, 0.1, 0.3, 0.6))
            self._weather.outage = rng.random() < 0.15
            self._journal.note("weather", f"trouble {self._weather.trouble} outage {self._weather.outage}")
            await asyncio.sleep(rng.uniform(0.5, 3.0))

    async def _replay(self, rng: random.Random) -> None:
        while True:
            await asyncio.sleep(rng.uniform(0.3, 3.0))
            await self.tape.replay(self._collector.port, rng.randint(1, 6))
            await self.tape.replay_changed(self._collector.port, self._plan.plant)

    async def _fill(self, disk: SmallDisk, event: str, rng: random.Random) -> None:
        while True:
            await asyncio.sleep(rng.uniform(2.0, 10.0))
            self._journal.note(event)
            disk.fill()
            try:
                await asyncio.sleep(rng.uniform(0.3, 3.0))
            finally:
                disk.free()
