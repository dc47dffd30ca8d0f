"""Processes under torture, each with all it forks in a process group of its own."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path


class Group:
    """A started process and its descendants.

    The first process stays a zombie until `reap`: its id, which is the group's, can meanwhile be nobody else's.

    Args:
        held: signals that wait, from its first moment on, until it asks for them.
    """

    def __init__(
        self, command: Sequence[str], settings: Mapping[str, object], log: Path, held: Collection[int] = ()
    ) -> None:
        env = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
        env |= {name: str(value) for name, value in settings.items()}
        self.log = log
        before = signal.pthread_sigmask(signal.SIG_BLOCK, held)  # what is blocked stays so in a child
        try:
            with log.open("ab") as output:
                self._process = subprocess.Popen(
                    command, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
                )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        self.pid = self._process.pid

    def signal(self, number: int) -> None:
        """To the first process alone."""
        if self._process.returncode is None:
            os.kill(self.pid, number)

    def signal_all(self, number: int) -> None:
        """To all of them."""
        if self._process.returncode is None:
            os.killpg(self.pid, number)

    def ended(self) -> int | None:
        """The first process's exit code, or None while it runs; negative: the signal that ended it."""
        if self._process.returncode is not None:
            return self._process.returncode
        state = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if state is None:
            return None
        return state.si_status if state.si_code == os.CLD_EXITED else -state.si_status

    async def end(self, within_s: float) -> int | None:
        """Its exit code, once it has ended; None when the time is over."""
        until = time.monotonic() + within_s
        while (code := self.ended()) is None and time.monotonic() < until:
            await asyncio.sleep(0.01)
        return code

    def reap(self) -> None:
        """Kill whatever of the group still lives; a second call does nothing."""
        if self._process.returncode is None:
            self.signal_all(signal.SIGKILL)
            self._process.wait()

    def last_words(self) -> str:
        """The end of what it wrote to its log."""
        return self.log.read_bytes()[-2_000:].decode("utf-8", "replace")
