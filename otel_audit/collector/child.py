"""What every process of the collector's own needs: it lives no longer than its parent, and leaves stopping to it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable

__all__ = ["become_child"]


def become_child(at_end: Callable[[], object] = lambda: None) -> None:
    """Ignore the signals that stop a service, and end when the parent does, however that is.

    A service manager and a terminal send their signal to every process of a group; the parent waits for the work in
    hand and then ends its children.

    Args:
        at_end: called before the process ends because its parent did; what the parent can no longer tidy up.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, args=(at_end,), daemon=True).start()


def _end_with_parent(at_end: Callable[[], object]) -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        try:
            at_end()
        finally:
            os._exit(1)
