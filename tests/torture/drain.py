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


def drain_command(plan: Plan) -> list[str]:
    """Another application, which adopts what it finds beside its own, or the command for it: the seed's choice."""
    if plan.rng("drain").random() < 0.5:
        return [sys.executable, "-m", "tests.torture.drain", plan.dumps()]
    command = [sys.executable, "-m", "otel_audit.cli.main", "spool", "deliver", "--quiet"]
    return [*command, "--spool-dir", plan.spool_dir, "--endpoint", plan.url]


def main() -> None:
    """Append one record, and stay until there is nothing but it."""
    plan = Plan.loads(sys.argv[1])
    sender = make_sender(plan, "drain")
    post = Post(plan, sender, "drain", "drain", threading.Event())
    post.append((post.source.record(),))
    end = time.monotonic() + _PATIENCE_S
    while len(undelivered(Path(plan.spool_dir))) > 1 and time.monotonic() < end:
        time.sleep(0.1)
    sender.close()


if __name__ == "__main__":
    main()
