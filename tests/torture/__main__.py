"""`python -m tests.torture`: real producers and a real collector under kills, cut connections, full disks and replays.

Exit code 0: nothing lost, nothing doubled, no false alarm. 1: something is wrong; the report lists it, and the folders
stay for inspection. 2: the bed itself came to no end.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from tests.torture import namespace
from tests.torture.disks import SmallDisk
from tests.torture.journal import Journal
from tests.torture.plan import PLANTS, Plan
from tests.torture.supervisor import Supervisor
from tests.torture.verdict import report_on

_SETTLE_S, _HARD_STOP_S, _LAST_RESORT_S = 240, 300, 360
_MiB = 1 << 20


def main() -> None:
    """Run it."""
    plan, keep, plain = _parse()
    if not sys.platform.startswith("linux"):
        sys.exit("the bed needs Linux: it looks at processes in ways that others do not offer")
    signal.alarm(int(plan.seconds) + _LAST_RESORT_S)  # kills whoever stays outside of the namespaces, and so all inside
    mount = not plain and namespace.enter()
    signal.signal(signal.SIGALRM, _give_up)
    signal.alarm(int(plan.seconds) + _HARD_STOP_S)
    Path(plan.folder, "ledgers").mkdir(parents=True)
    data = SmallDisk(Path(plan.folder) / "collector", int(64 * _MiB + plan.seconds * _MiB), mount=mount)
    spool = SmallDisk(Path(plan.folder) / "spool", 64 * _MiB, mount=mount)
    wrong = True
    try:
        wrong = asyncio.run(_run(plan, data, spool))
    finally:
        if wrong or keep:
            _keep(plan, data, spool)
        data.unmount()
        spool.unmount()
        if not wrong and not keep:
            shutil.rmtree(plan.folder)
    sys.exit(int(wrong))


def _give_up(number: int, frame: object) -> None:
    """Raised wherever the bed hangs, so that what it started is still ended on the way out."""
    raise SystemExit(2)


async def _run(plan: Plan, data: SmallDisk, spool: SmallDisk) -> bool:
    journal = Journal(Path(plan.folder) / "events.log")
    supervisor = Supervisor(plan, data, spool, journal)
    me = asyncio.current_task()
    assert me is not None
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, me.cancel)
    try:
        async with asyncio.timeout(plan.seconds + _SETTLE_S):
            await supervisor.run()
    except TimeoutError:
        print(f"the bed did not come to rest; see {plan.folder}")
        raise SystemExit(2) from None
    except asyncio.CancelledError:
        print(f"interrupted; no process is left; see {plan.folder}")
        raise SystemExit(130) from None
    report = report_on(plan, data.home, supervisor, journal)
    print("\n".join(report.lines()), flush=True)
    Path(plan.folder, "report.txt").write_text("\n".join(report.lines(most=1_000_000)))
    return bool(report.wrong)


def _keep(plan: Plan, data: SmallDisk, spool: SmallDisk) -> None:
    """What is on the small disks goes with them."""
    for disk in (data, spool):
        if disk.real:
            with contextlib.suppress(shutil.Error):
                shutil.copytree(disk.home, Path(plan.folder) / f"{disk.folder.name}-kept", symlinks=True)
    print(f"kept in {plan.folder}", flush=True)


def _parse() -> tuple[Plan, bool, bool]:
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="of torture; rest and judgement come after")
    parser.add_argument("--seed", type=int, help="default: a new one, which is printed")
    parser.add_argument("--sender", choices=("otel-audit", "sdk"), default="otel-audit")
    parser.add_argument("--durability", choices=("disk", "process", "memory", "collector"), default="disk")
    parser.add_argument("--producers", type=int, default=4)
    parser.add_argument("--plant", choices=PLANTS, default="", help="a bug of the bed's own, which must be found")
    parser.add_argument("--folder", type=Path, help="a new one; default: under the system's folder for such")
    parser.add_argument("--keep", action="store_true", help="leave the folder also when all is well")
    parser.add_argument("--plain", action="store_true", help="no namespaces and no mounts, as where they are forbidden")
    options = parser.parse_args()
    seed = random.SystemRandom().randrange(2**32) if options.seed is None else options.seed
    folder = options.folder or Path(tempfile.mkdtemp(prefix=f"otel-audit-torture-{seed}-"))
    print(f"seed {seed}, folder {folder}", flush=True)
    plan = Plan(
        seed=seed,
        seconds=options.seconds,
        sender=options.sender,
        durability=options.durability,
        producers=options.producers,
        plant=options.plant,
        folder=str(folder.absolute()),
        spool_dir=str(folder.absolute() / "spool" / "home"),
    )
    return plan, options.keep, options.plain


if __name__ == "__main__":
    main()
