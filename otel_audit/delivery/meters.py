"""What delivery tells a metrics backend, through the OpenTelemetry metrics API; without a MeterProvider, nobody.

All instruments are observed: whoever collects reads counts that are kept anyway, so that an append pays nothing.

The API keeps an instrument for good, with whatever its callback refers to. So there is one set of instruments for all
logs of a process; it knows them weakly, and keeps of a closed one the numbers alone: a counter must not go back.
"""

from __future__ import annotations

import operator
import os
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol

from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation, get_meter

from otel_audit._version import __version__
from otel_audit.spool.survey import parked_records, undelivered_bytes

__all__ = ["INSTRUMENTS", "METERS", "SPOOL_INSTRUMENTS", "Instrument", "Metered", "Meters"]

_SCOPE = "otel_audit"
_ENDPOINT, _STATE, _SPOOL = "otel_audit.endpoint", "otel_audit.state", "otel_audit.spool"
_Labels = tuple[tuple[str, str], ...]


class Metered(Protocol):
    """A log that is watched.

    Attributes:
        shown_endpoint: where its records go.
        spool: its spool's folder, or "".
    """

    @property
    def shown_endpoint(self) -> str: ...

    @property
    def spool(self) -> str: ...

    def stats(self) -> Any: ...


@dataclass(frozen=True, slots=True)
class Instrument:
    """One metric.

    Attributes:
        kind: "counter": since the process began; "gauge": now, of all logs together; "greatest": now, of the worst one.
        reads: the names of the fields of `DeliveryStats`, each with the state it is observed under, or "".
    """

    name: str
    kind: Literal["counter", "gauge", "greatest"]
    unit: str
    description: str
    reads: Mapping[str, str]


INSTRUMENTS = (
    Instrument("otel_audit.records.appended", "counter", "{record}", "Records that append took.", {"appended": ""}),
    Instrument(
        "otel_audit.records.delivered", "counter", "{record}", "Records that a peer answered success for.",
        {"acknowledged": "acknowledged", "forwarded": "forwarded"},
    ),
    Instrument("otel_audit.records.refused", "counter", "{record}", "Records that a peer refused.", {"rejected": ""}),
    Instrument("otel_audit.requests.retried", "counter", "{request}", "Requests sent once more.", {"retries": ""}),
    Instrument(
        "otel_audit.records.waiting", "gauge", "{record}", "Records that nobody has answered for yet.", {"waiting": ""}
    ),
    Instrument("otel_audit.waiting.size", "gauge", "By", "Bytes of the waiting records.", {"waiting_bytes": ""}),
    Instrument(
        "otel_audit.waiting.age", "greatest", "s", "How long ago the oldest record under way was appended.",
        {"oldest_s": ""},
    ),
)  # fmt: skip
SPOOL_INSTRUMENTS: tuple[tuple[str, str, str, Callable[[Path], int]], ...] = (
    (
        "otel_audit.spool.parked", "{record}", "Records parked in the spool, by all processes that share it.",
        parked_records,
    ),
    (
        "otel_audit.spool.size", "By", "Bytes that wait or are parked in the spool, of all processes that share it.",
        undelivered_bytes,
    ),
)  # fmt: skip
"""Name, unit and description of what is told of a spool as a whole, and what counts it."""


class Meters:
    """The instruments of one meter provider. Safe to share between threads and forks.

    Args:
        provider: default: the global one, also when it is set later.
    """

    def __init__(self, provider: MeterProvider | None = None) -> None:
        self._provider = provider
        self._registered = False
        self._watched: weakref.WeakSet[Metered] = weakref.WeakSet()
        self._begin()
        after_fork = weakref.WeakMethod(self._begin)
        os.register_at_fork(after_in_child=lambda: (method := after_fork()) and method())

    def _begin(self) -> None:
        """In a forked child, too: another thread may have held the lock, and what the parent counted the parent
        tells."""
        # Reentrant: a finalizer may close a log anywhere.
        self._lock = threading.RLock()
        self._closed: dict[str, dict[_Labels, float]] = {}

    def watch(self, log: Metered) -> None:
        """Observe a log from now on, for as long as somebody else holds it."""
        with self._lock:
            self._watched.add(log)
            first, self._registered = not self._registered, True
        if first:
            self._register()

    def retire(self, log: Metered) -> None:
        """A log is closed: what it has counted is kept, and nothing else of it. Twice is once."""
        with self._lock:
            if log not in self._watched:
                return
            self._watched.discard(log)
            for instrument in INSTRUMENTS:
                if instrument.kind == "counter":
                    _add(self._closed.setdefault(instrument.name, {}), _values(instrument, log), operator.add)

    def _register(self) -> None:
        meter = get_meter(_SCOPE, __version__, meter_provider=self._provider)
        for instrument in INSTRUMENTS:
            create = meter.create_observable_counter if instrument.kind == "counter" else meter.create_observable_gauge
            create(instrument.name, [self._observer(instrument)], instrument.unit, instrument.description)
        for name, unit, description, count in SPOOL_INSTRUMENTS:
            meter.create_observable_gauge(name, [partial(self._observe_spools, count)], unit, description)

    def _observer(self, instrument: Instrument) -> Callable[[CallbackOptions], Iterable[Observation]]:
        combine = max if instrument.kind == "greatest" else operator.add

        def observe(_: CallbackOptions) -> Iterable[Observation]:
            with self._lock:
                found = dict(self._closed.get(instrument.name, {}))
                for log in list(self._watched):
                    _add(found, _values(instrument, log), combine)
            return [Observation(value, dict(labels)) for labels, value in found.items()]

        return observe

    def _observe_spools(self, count: Callable[[Path], int], _: CallbackOptions) -> Iterable[Observation]:
        with self._lock:
            spools = {log.spool for log in self._watched if log.spool}
        return [Observation(count(Path(spool)), {_SPOOL: spool}) for spool in sorted(spools)]


def _values(instrument: Instrument, log: Metered) -> Iterator[tuple[_Labels, float]]:
    stats = log.stats()
    for name, state in instrument.reads.items():
        labels = ((_ENDPOINT, log.shown_endpoint), (_STATE, state))
        yield labels[: 2 if state else 1], getattr(stats, name)


def _add(
    found: dict[_Labels, float], values: Iterable[tuple[_Labels, float]], combine: Callable[[float, float], float]
) -> None:
    for labels, value in values:
        found[labels] = combine(found.get(labels, 0), value)


METERS = Meters()
"""Those of the global provider; nothing is made before the first log is watched."""
