"""The repos that the contract suite runs against. A new one is one factory and one line in `BACKENDS`.

A factory is a context manager that takes an empty folder and gives a function `open_repo(hooks=())`. It is entered once
for all tests, so it may start a collector; every call gives a repo that is open. Tests keep apart by ids of their own,
so the repos may share one log or have one each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from otel_audit import ActivityLogRepo, InMemoryActivityLogRepo, LocalActivityLogRepo, OTelActivityLogRepo
from otel_audit.bootstrap import open_collector
from otel_audit.config import Settings, load_settings
from otel_audit.web.app import create_app
from otel_audit.web.serving import serve_reads

OpenRepo = Callable[..., ActivityLogRepo]
QUICK = load_settings({}, batch_delay_s=0.001)


def collector_settings(folder: Path) -> Settings:
    """On a free port; small merges and seals, so that the suite meets every kind of file."""
    return load_settings({}, data_dir=str(folder), port=0, min_free_bytes=0, merge_fan_in=4, seal_rows=200)


@contextmanager
def memory(folder: Path) -> Iterator[OpenRepo]:
    """A log in this process's memory."""
    yield InMemoryActivityLogRepo


@contextmanager
def otel_over_http(folder: Path) -> Iterator[OpenRepo]:
    """Appends over OTLP to a real collector, reads through its routes, which a process of their own answers."""
    with open_collector(collector_settings(folder), serve_reads=serve_reads) as collector:
        collector.start()

        def open_repo(hooks: Iterable[Any] = ()) -> ActivityLogRepo:
            return OTelActivityLogRepo(collector.url, reader=collector.url, hooks=tuple(hooks), settings=QUICK)

        yield open_repo


@contextmanager
def otel_over_folder(folder: Path) -> Iterator[OpenRepo]:
    """Appends over OTLP to a real collector, reads its data folder beside it."""
    with open_collector(collector_settings(folder), create_app) as collector:
        collector.start()

        def open_repo(hooks: Iterable[Any] = ()) -> ActivityLogRepo:
            return OTelActivityLogRepo(collector.url, reader=str(folder), hooks=tuple(hooks), settings=QUICK)

        yield open_repo


@contextmanager
def local(folder: Path) -> Iterator[OpenRepo]:
    """Appends straight into a data folder, one for each repo."""
    numbers = count()

    def open_repo(hooks: Iterable[Any] = ()) -> ActivityLogRepo:
        own = folder / str(next(numbers))
        return LocalActivityLogRepo(own, hooks=tuple(hooks), settings=collector_settings(own))

    yield open_repo


BACKENDS: dict[str, Callable[[Path], AbstractContextManager[OpenRepo]]] = {
    "memory": memory,
    "local": local,
    "otel-http": otel_over_http,
    "otel-folder": otel_over_folder,
}
