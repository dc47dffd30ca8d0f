"""An exception from outside at a chosen moment, as Ctrl-C brings one: where a call begins, or has just ended."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType, ModuleType
from typing import Any

_MOMENTS = {"call", "return", "c_return"}
WAIT_S = 10.0


class Interrupt(KeyboardInterrupt):
    """What the tests bring in."""


@dataclass
class Struck:
    """Whether the moment came at all, and where."""

    where: str = ""


@contextmanager
def interrupting(at: int, *modules: ModuleType) -> Iterator[Struck]:
    """Raise an Interrupt in this thread, at a moment in some modules, counted from 0."""
    files = {module.__file__ for module in modules}
    struck = Struck()
    left = at

    def profile(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal left
        if event in _MOMENTS and frame.f_code.co_filename in files:
            left -= 1
            if left < 0:
                sys.setprofile(None)
                struck.where = f"moment {at}: {event} in {frame.f_code.co_name}, line {frame.f_lineno}"
                raise Interrupt(struck.where)

    sys.setprofile(profile)
    try:
        yield struck
    finally:
        sys.setprofile(None)


class Caller(threading.Thread):
    """A thread that calls something once, and holds what came of it."""

    def __init__(self, call: Callable[[], Any]) -> None:
        super().__init__(daemon=True)
        self._call = call
        self.result: Any = None
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self.result = self._call()
        except BaseException as error:  # handed to the test
            self.error = error

    def ended(self) -> bool:
        """Whether it came to its end in time."""
        self.join(WAIT_S)
        return not self.is_alive()


def until(holds: Callable[[], object]) -> None:
    """Wait for something that announces itself to nobody here."""
    patience = threading.Event()
    for _ in range(int(WAIT_S * 1000)):
        if holds():
            return
        patience.wait(0.001)
    raise AssertionError("it did not come to that")
