"""A producer process: `python -m tests.torture.producer <plan> <slot> <generation>`. SIGTERM ends it well.

Its threads share one sender. It leaves by itself never, and by an error of its own with exit code 70.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback

from tests.torture.plan import Plan
from tests.torture.post import Post
from tests.torture.senders import make_sender
from tests.torture.styles import MIXES, Style

FAILED = 70
_LIFE_AFTER_S = 120
_JOIN_S = 20.0
_LONGEST_PAUSE_S = 0.25


class Producer:
    """The threads of one process."""

    def __init__(self, plan: Plan, slot: int, generation: int) -> None:
        self._plan, self._slot = plan, slot
        self._origin = f"{slot}.{generation}"
        self._stop = threading.Event()
        self._failed = False

    def run(self) -> int:
        """Work until SIGTERM; the exit code."""
        # Whoever started this process has blocked SIGTERM already, so that it waits for `sigwait` below. No handler
        # takes it: one could run in the middle of anything that holds a lock.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        signal.alarm(int(self._plan.seconds) + _LIFE_AFTER_S)
        sender = make_sender(self._plan, self._origin)
        posts = [
            (style, Post(self._plan, sender, self._origin, f"{self._origin}-{at}", self._stop))
            for at, style in enumerate(MIXES[self._slot % len(MIXES)])
        ]
        threads = [threading.Thread(target=self._work, args=post, daemon=True) for post in posts]
        for thread in threads:
            thread.start()
        signal.sigwait({signal.SIGTERM})
        self._stop.set()
        for thread in threads:
            thread.join(_JOIN_S)
            if thread.is_alive():
                print(f"{thread.name} does not end", flush=True)
                return FAILED
        sender.close()
        return FAILED if self._failed else 0

    def _work(self, style: Style, post: Post) -> None:
        try:
            while not self._stop.is_set():
                style(post)
                if post.rng.random() < 0.1:
                    post.flush()
                self._stop.wait(post.rng.uniform(0, _LONGEST_PAUSE_S))
        except BaseException:
            traceback.print_exc()
            self._failed = True
            os.kill(os.getpid(), signal.SIGTERM)


def main() -> None:
    """Run it."""
    plan, slot, generation = Plan.loads(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    sys.exit(Producer(plan, slot, generation).run())


if __name__ == "__main__":
    main()
