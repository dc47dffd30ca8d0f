"""Metrics say what the log's own counts say, of all logs of a process, and hold nothing alive."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from otel_audit.delivery.delivery import Delivery
from otel_audit.delivery.endpoint import resolve_endpoint
from otel_audit.delivery.meters import INSTRUMENTS, SPOOL_INSTRUMENTS, Meters
from otel_audit.errors import UndeliveredError
from otel_audit.model.record import ActivityRecord, EntityRef
from otel_audit.spool.survey import undelivered_bytes
from tests.delivery.scripted_peer import Peer, Reply, quick
from tests.spool.plain import new_spool, own_stream

WAIT_S = 15.0
Points = dict[tuple[str, ...], float]


def record(name: object) -> ActivityRecord:
    return ActivityRecord.create(actor_id=1, owner_id=1, action="do", entity_ref=EntityRef("Thing", str(name)))


def deliver_to(peer: Peer, spool: Path | None = None, **settings: object) -> Delivery:
    kept = {"durability": "memory"} if spool is None else {"durability": "process", "spool_dir": str(spool)}
    return Delivery(resolve_endpoint({}, argument=peer.url), quick(**kept, **settings))


class Metrics:
    """Instruments of a provider of the test's own, and what is collected from it."""

    def __init__(self) -> None:
        self.reader = InMemoryMetricReader()
        self.provider = MeterProvider(metric_readers=[self.reader])
        self.meters = Meters(self.provider)

    def collect(self) -> dict[str, Points]:
        """Values by metric and by the attributes' values."""
        data = self.reader.get_metrics_data()
        found: dict[str, Points] = {}
        for resource_metrics in data.resource_metrics if data else ():
            for scope_metrics in resource_metrics.scope_metrics:
                assert scope_metrics.scope.name == "otel_audit"
                for metric in scope_metrics.metrics:
                    assert metric.name not in found
                    points = {tuple(p.attributes.values()): p.value for p in metric.data.data_points}
                    found[metric.name.removeprefix("otel_audit.")] = points
        return found


@pytest.fixture
def metrics() -> Iterator[Metrics]:
    made = Metrics()
    yield made
    made.provider.shutdown()


def test_every_metric_says_what_the_log_says(metrics: Metrics, peer: Peer, tmp_path: Path) -> None:
    url = f"{peer.url}/v1/logs"
    peer.script = [Reply(503), Reply(), Reply(200, headers={"otel-audit-log": "log0"}), Reply(403)]
    delivery = deliver_to(peer, tmp_path / "spool", batch_max_records=2, batch_delay_s=3600)
    metrics.meters.watch(delivery)
    for number in range(4):
        delivery.offer([record(number)], WAIT_S)
        if number % 2:
            delivery.flush(WAIT_S)
    delivery.offer([record(4)], WAIT_S)
    with pytest.raises(UndeliveredError):
        delivery.flush(WAIT_S)
    told = metrics.collect()
    assert told.pop("spool.size") == {(str(tmp_path / "spool"),): undelivered_bytes(tmp_path / "spool")}
    assert told == {
        "records.appended": {(url,): 5},
        "records.delivered": {(url, "forwarded"): 2, (url, "acknowledged"): 2},
        "records.refused": {(url,): 1},
        "requests.retried": {(url,): 1},
        "records.waiting": {(url,): 0},
        "waiting.size": {(url,): 0},
        "waiting.age": {(url,): 0.0},
        "spool.parked": {(str(tmp_path / "spool"),): 1},
    }
    delivery.take_refused()
    assert metrics.collect()["spool.parked"] == {(str(tmp_path / "spool"),): 0}
    delivery.close()


def test_the_size_of_a_spool_counts_what_others_have_left_in_it_for_another_endpoint(
    metrics: Metrics, peer: Peer, tmp_path: Path
) -> None:
    spool = tmp_path / "spool"
    new_spool(spool)
    left = own_stream(spool)
    left.write([bytes(300)] * 5)
    left.close()
    delivery = deliver_to(peer, spool)
    metrics.meters.watch(delivery)
    (size,) = metrics.collect()["spool.size"].values()
    assert size > 5 * 300
    assert metrics.collect()["records.waiting"] == {(f"{peer.url}/v1/logs",): 0}
    delivery.close()


@pytest.mark.parametrize("spooled", [False, True])
def test_what_waits_and_how_long_shows_while_a_peer_is_away(
    metrics: Metrics, peer: Peer, tmp_path: Path, spooled: bool
) -> None:
    answer = threading.Event()
    peer.script = [Reply(after=answer)]
    now_ns = 1_764_000_000_000_000_000
    clock = [now_ns]
    settings = quick(durability="process" if spooled else "memory", spool_dir=str(tmp_path))
    delivery = Delivery(resolve_endpoint({}, argument=peer.url), settings, clock_ns=lambda: clock[0])
    metrics.meters.watch(delivery)
    delivery.offer([record("first")], WAIT_S)
    while not peer.posts:
        pass
    clock[0] += 7_000_000_000
    delivery.offer([record("second")], WAIT_S)
    ((waiting,), (size,), (age,)) = (
        metrics.collect()[name].values() for name in ("records.waiting", "waiting.size", "waiting.age")
    )
    assert (waiting, age) == (2, 7.0)
    assert size > 400
    answer.set()
    delivery.close()
    assert delivery.stats().oldest_s == 0.0


def test_adopted_records_count_with_the_process_that_delivered_them_and_age_meanwhile(
    metrics: Metrics, peer: Peer, tmp_path: Path
) -> None:
    answer = threading.Event()
    peer.otherwise = lambda seen: Reply(503)
    dead = deliver_to(peer, tmp_path)
    dead.offer([record("left")], WAIT_S)
    with pytest.raises(UndeliveredError):
        dead.close(0.0)
    peer.otherwise = lambda seen: Reply(after=answer)
    delivery = deliver_to(peer, tmp_path)
    metrics.meters.watch(delivery)
    posts = len(peer.posts)
    delivery.offer([record("own")], WAIT_S)
    while len(peer.posts) == posts:
        pass
    assert 0.0 < next(iter(metrics.collect()["waiting.age"].values())) < 60
    answer.set()
    delivery.flush(WAIT_S)
    while len(peer.delivered) < 2:
        pass
    delivery.close()
    stats = delivery.stats()
    assert (stats.appended, stats.forwarded) == (1, 2)


def test_logs_to_one_endpoint_are_added_up_and_closed_ones_stay_counted(metrics: Metrics, peer: Peer) -> None:
    """A counter that went back would look like a process that began anew."""
    one, other = deliver_to(peer), deliver_to(peer)
    for delivery in (one, other):
        metrics.meters.watch(delivery)
        delivery.offer([record("a"), record("b")], WAIT_S)
        delivery.flush(WAIT_S)
    one.close()
    metrics.meters.retire(one)
    metrics.meters.retire(one)
    other.offer([record("c")], WAIT_S)
    other.flush(WAIT_S)
    found = metrics.collect()
    assert list(found["records.appended"].values()) == [5]
    assert list(found["records.delivered"].values()) == [0, 5]
    other.close()
    metrics.meters.retire(other)
    assert list(metrics.collect()["records.appended"].values()) == [5]
    assert "records.waiting" not in metrics.collect()


def test_a_log_is_not_kept_alive_by_being_watched(metrics: Metrics, peer: Peer) -> None:
    delivery = deliver_to(peer)
    metrics.meters.watch(delivery)
    delivery.offer([record("a")], WAIT_S)
    delivery.close()
    gone = weakref.ref(delivery)
    del delivery
    gc.collect()
    assert gone() is None
    assert metrics.collect() == {}


def test_instruments_are_made_once_however_many_logs_there_are(metrics: Metrics, peer: Peer) -> None:
    deliveries = [deliver_to(peer) for _ in range(3)]
    for delivery in deliveries:
        metrics.meters.watch(delivery)
        metrics.meters.watch(delivery)
    assert len(metrics.provider._measurement_consumer._async_instruments) == len(INSTRUMENTS) + len(SPOOL_INSTRUMENTS)
    assert list(metrics.collect()["records.appended"].values()) == [0]


def test_a_forked_child_counts_what_is_its_own(metrics: Metrics, peer: Peer) -> None:
    delivery, closed = deliver_to(peer), deliver_to(peer)
    for one in (delivery, closed):
        metrics.meters.watch(one)
        one.offer([record("parent")], WAIT_S)
        one.flush(WAIT_S)
    closed.close()
    metrics.meters.retire(closed)
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            delivery.offer([record("child")], WAIT_S)
            delivery.flush(WAIT_S)
            code = 0 if list(metrics.collect()["records.appended"].values()) == [1] else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert list(metrics.collect()["records.appended"].values()) == [2]
    delivery.close()


GLOBAL = """
import sys
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from otel_audit import OTelActivityLogRepo, ActivityRecord, EntityRef
from otel_audit.config import load_settings
log = OTelActivityLogRepo(sys.argv[1], settings=load_settings({}, durability="memory"))
reader = InMemoryMetricReader()
if sys.argv[2] == "later":
    metrics.set_meter_provider(MeterProvider(metric_readers=[reader]))
log.append(ActivityRecord.create(actor_id=1, owner_id=1, action="do", entity_ref=EntityRef("T", 1)))
log.close()
del log
if sys.argv[2] == "later":
    scope = reader.get_metrics_data().resource_metrics[0].scope_metrics[0]
    points = {metric.name: metric.data.data_points for metric in scope.metrics}
    print(scope.scope.name, [point.value for point in points["otel_audit.records.appended"]])
"""


@pytest.mark.parametrize(("provider", "printed"), [("later", "otel_audit [1]\n"), ("never", "")])
def test_the_global_provider_is_used_when_there_is_one_also_one_that_is_set_later(
    peer: Peer, provider: str, printed: str
) -> None:
    words = [sys.executable, "-c", GLOBAL, peer.url, provider]
    done = subprocess.run(words, capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stdout, done.stderr) == (0, printed, "")
