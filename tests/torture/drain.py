"""The last process on a spool: `python -m tests.torture.drain <plan>` delivers what all others have left in it."""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

from tests.torture.plan import Plan
from tests.torture.post import Post
from tests.torture.senders import make_sender

_PATIENCE_S = 90.0


def undelivered(spool: Path) -> list[str]:
    """The files in which records wait for a peer, or are held because something is wrong with them."""
    return sorted(
        f"{folder}/{name}"
        for kind in ("streams", "parked", "aside")
        for folder, _, names in os.walk(spool / kind)  # passes over what goes away under it
        for name in names
        if name not in ("owner", "delivered")
    )


def main() -> None:
    """Exit code 0 when nothing undelivered is left."""
    plan = Plan.loads(sys.argv[1])
    sender = make_sender(plan, "drain")
    post = Post(plan, sender, "drain", "drain", threading.Event())
    post.append((post.source.record(),))
    end = time.monotonic() + _PATIENCE_S
    spool = Path(plan.spool_dir)
    while len(undelivered(spool)) > 1 and time.monotonic() < end:  # the one is its own, as long as it is open
        time.sleep(0.1)
    sender.close()
    left = undelivered(spool)
    print("\n".join(left))
    sys.exit(len(left) > 0)


if __name__ == "__main__":
    main()
