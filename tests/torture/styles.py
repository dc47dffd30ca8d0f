"""The ways applications append: plainly, many at once, on an event loop, in forked and in multiprocessing children."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import time
import traceback
from collections.abc import Callable

from tests.torture.post import Post

Style = Callable[[Post], None]

_CHILD_LIFE_S = 30
_PATIENCE_S = 15.0
_FAILED = 70


def singles(post: Post) -> None:
    """A burst of single appends."""
    for _ in range(post.rng.randint(1, 60)):
        post.append((post.source.record(),))
        if post.stop.is_set():
            break


def batches(post: Post) -> None:
    """A few `append_many`."""
    for _ in range(post.rng.randint(1, 4)):
        post.append(post.source.records(40))


def tasks(post: Post) -> None:
    """Tasks of an event loop that append side by side; the loop is a new one each time."""

    async def task(count: int) -> None:
        for _ in range(count):
            await post.aappend(post.source.record())
            await asyncio.sleep(0)

    async def all_tasks() -> None:
        await asyncio.gather(*(task(post.rng.randint(1, 12)) for _ in range(post.rng.randint(2, 8))))

    asyncio.run(all_tasks())


def forks(post: Post) -> None:
    """A child by `os.fork`, whatever the other threads are in the middle of; it ends in one of many ways."""
    singles(post)
    number, ending = post.rng.getrandbits(64), post.rng.random()
    child = os.fork()
    if child == 0:
        code = _FAILED
        try:
            signal.alarm(_CHILD_LIFE_S)
            _child_life(post.for_child(number), ending)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    singles(post)
    _expect_good_end(_await_child(child))


def workers(post: Post) -> None:
    """A `multiprocessing` child, which delivers at its own end what it appended."""
    number, ending = post.rng.getrandbits(64), post.rng.random()
    worker = multiprocessing.get_context("fork").Process(target=_worker_life, args=(post, number, ending), daemon=True)
    worker.start()
    singles(post)
    worker.join(_PATIENCE_S)
    if worker.is_alive():
        worker.kill()
        worker.join()
    _expect_good_end(worker.exitcode)
    worker.close()


def _worker_life(post: Post, number: int, ending: float) -> None:
    signal.alarm(_CHILD_LIFE_S)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})  # the parent's exit ends its daemons with it
    child = post.for_child(number)
    _appends(child)
    if ending < 0.25:
        os.kill(os.getpid(), signal.SIGKILL)


def _child_life(post: Post, ending: float) -> None:
    """The caller ends the child without any exit handler afterwards, as `os._exit` does."""
    _appends(post)
    if ending < 0.25:
        os.kill(os.getpid(), signal.SIGKILL)
    elif ending < 0.5:
        post.sender.close()
    elif ending < 0.75:
        post.flush()


def _appends(post: Post) -> None:
    for _ in range(post.rng.randint(1, 4)):
        if post.rng.random() < 0.7:
            post.append((post.source.record(),))
        else:
            post.append(post.source.records(20))
        post.pause(0.05)


def _await_child(child: int) -> int:
    end = time.monotonic() + _PATIENCE_S
    while time.monotonic() < end:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _expect_good_end(code: int | None) -> None:
    if code not in (0, -signal.SIGKILL):
        raise RuntimeError(f"a forked child ended with {code}")


MIXES: tuple[tuple[Style, ...], ...] = (
    (singles, singles, forks),
    (batches, tasks),
    (singles, workers),
    (tasks, forks, batches),
)
"""What the threads of the first producer do, of the second, and so on around."""
