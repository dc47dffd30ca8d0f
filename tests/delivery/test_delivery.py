"""Outbox and sender against a real HTTP peer: what is sent, what is sent again, and what is reported.

The same for records in memory and in the spool.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

import pytest
import requests
from opentelemetry import trace
from opentelemetry.context import get_value
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider

from otel_audit.delivery.delivery import Delivery
from otel_audit.delivery.endpoint import resolve_endpoint
from otel_audit.delivery.parcel import Parcel
from otel_audit.delivery.sender import Sender
from otel_audit.delivery.transport import Transport
from otel_audit.errors import BacklogFullError, ClosedError, ConfigError, UndeliveredError
from otel_audit.model.record import ActivityRecord, EntityRef
from otel_audit.otlp.encode import encode_record
from tests.delivery.scripted_peer import Peer, Reply, partial, quick, until
from tests.logs import capture_events

WAIT_S = 20.0


def records(count: int) -> list[ActivityRecord]:
    return [
        ActivityRecord.create(actor_id=at, owner_id="o", action="do", entity_ref=EntityRef("Thing", at))
        for at in range(count)
    ]


def ids(of: list[ActivityRecord]) -> list[str]:
    return [str(record.record_id) for record in of]


Deliver = Callable[..., Delivery]


@pytest.fixture(params=["memory", "process", "disk"])
def durability(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def deliver_to(durability: str) -> Iterator[Deliver]:
    opened: list[Delivery] = []

    def deliver(url: str, *, env: dict[str, str] | None = None, resource: Any = None, **settings: object) -> Delivery:
        options = quick(durability=durability, **settings)
        opened.append(Delivery(resolve_endpoint(env or {}, argument=url), options, resource=resource))
        return opened[-1]

    yield deliver
    for delivery in opened:
        with contextlib.suppress(UndeliveredError):
            delivery.close(0)


@pytest.fixture
def delivery(peer: Peer, deliver_to: Deliver) -> Iterator[Delivery]:
    opened = deliver_to(peer.url)
    yield opened
    opened.take_refused()
    opened.close()


def room_for(count: int, durability: str) -> dict[str, int]:
    """Settings with room for so many records of `records` and no more."""
    size = len(encode_record(records(1)[0], time.time_ns())) + 120
    return {"queue_max_records": count} if durability == "memory" else {"spool_max_bytes": count * size + size // 2}


def test_records_arrive_in_order_with_their_stream_numbers(peer: Peer, delivery: Delivery) -> None:
    sent = records(5)
    delivery.offer(sent[:3], 0)
    for record in sent[3:]:
        delivery.offer((record,), 0)
    delivery.flush(WAIT_S)
    assert peer.delivered == ids(sent)
    assert list(peer.streams.values()) == [[1, 2, 3, 4, 5]]


def test_batches_have_at_most_the_records_set(peer: Peer, deliver_to: Deliver) -> None:
    sent = records(25)
    delivery = deliver_to(peer.url, batch_max_records=10)
    delivery.offer(sent, 0)
    delivery.close()
    assert [len(seen.ids) for seen in peer.posts] == [10, 10, 5]
    assert peer.delivered == ids(sent)


def test_one_connection_serves_many_requests(peer: Peer, deliver_to: Deliver) -> None:
    delivery = deliver_to(peer.url, batch_max_records=1)
    delivery.offer(records(10), 0)
    delivery.close()
    assert len(peer.posts) == 10
    assert len({seen.connection for seen in peer.seen}) == 1


def test_a_stream_ends_with_a_marker_of_its_highest_number(peer: Peer, deliver_to: Deliver) -> None:
    """In a request of its own, after all records."""
    delivery = deliver_to(peer.url, batch_max_records=2)
    delivery.offer(records(3), 0)
    delivery.close()
    (stream,) = peer.streams
    assert peer.told == [(stream, "closed", 3)]
    assert [seen.is_marker for seen in peer.seen] == [False, False, True]


def test_a_log_that_took_nothing_says_nothing_and_leaves_nothing(peer: Peer, deliver_to: Deliver) -> None:
    delivery = deliver_to(peer.url)
    delivery.flush(WAIT_S)
    delivery.offer([], 0)
    delivery.close()
    assert peer.seen == []


def test_now_and_then_a_stream_tells_how_many_it_has(peer: Peer, deliver_to: Deliver) -> None:
    delivery = deliver_to(peer.url, heartbeat_s=0.01)
    delivery.offer(records(3), 0)
    delivery.flush(WAIT_S)
    until(lambda: len(peer.told) > 1)
    delivery.close()
    (stream,) = peer.streams
    assert set(peer.told[:-1]) == {(stream, "open", 3)}
    assert peer.told[-1] == (stream, "closed", 3)


def test_a_marker_that_is_refused_is_said_and_holds_nothing_up(peer: Peer, deliver_to: Deliver) -> None:
    delivery = deliver_to(peer.url)
    peer.otherwise = lambda seen: Reply(400, b"what is that?") if seen.is_marker else Reply()
    with capture_events() as logs:
        delivery.offer(records(2), 0)
        delivery.close()
    assert [(entry["log_level"], entry["answer"]) for entry in logs] == [("warning", "HTTP 400 (what is that?)")]
    assert delivery.stats().refused == 0


TRANSIENT = [
    Reply(429),
    Reply(502),
    Reply(503, headers={"retry-after": "0"}),
    Reply(504),
    Reply(202),
    Reply(200, b"<html>welcome</html>"),
    Reply(200, b'{"status":"ok"}', {"content-type": "application/json"}),
    Reply(200, b"", {"content-type": "text/html"}),
    Reply(404, b"404 page not found"),
    Reply(500),
    Reply(drop=True),
    Reply(cut=True),
]


@pytest.mark.parametrize("reply", TRANSIENT, ids=lambda r: f"{r.status}{'drop' * r.drop}{'cut' * r.cut}")
def test_what_proves_nothing_is_sent_again_until_it_is_answered(peer: Peer, delivery: Delivery, reply: Reply) -> None:
    peer.script = [reply, reply, reply]
    sent = records(3)
    delivery.offer(sent, 0)
    delivery.flush(WAIT_S)
    assert len(peer.posts) == 4
    assert peer.posts[-1].ids == ids(sent)
    assert delivery.stats().delivered == 3
    assert delivery.stats().retries == 3
    assert delivery.stats().trouble == ""


def test_a_peer_that_is_not_there_yet_gets_everything_later(peer: Peer, deliver_to: Deliver) -> None:
    peer.stop()
    delivery = deliver_to(peer.url)
    sent = records(4)
    delivery.offer(sent, 0)
    until(lambda: delivery.stats().trouble)
    with pytest.raises(UndeliveredError, match="Connection") as caught:
        delivery.flush(0.05)
    assert caught.value.count == 4
    late = Peer(port=int(peer.url.rpartition(":")[2]))
    try:
        delivery.flush(WAIT_S)
        assert late.delivered == ids(sent)
        delivery.close()
    finally:
        late.stop()


@pytest.mark.parametrize("durability", ["disk"], indirect=True)
def test_retry_after_is_kept_above_our_own_longest_pause(peer: Peer, deliver_to: Deliver) -> None:
    delivery = deliver_to(peer.url, retry_initial_s=0, retry_max_s=0)
    peer.script = [Reply(503, headers={"retry-after": "1"})]
    began = time.monotonic()
    delivery.offer(records(1), 0)
    delivery.flush(WAIT_S)
    assert time.monotonic() - began >= 1
    delivery.close()


@pytest.mark.parametrize("wish", ["86400", "Fri, 01 Jan 2100 00:00:00 GMT"])
@pytest.mark.parametrize("how", ["flush", "close"])
def test_a_peer_that_asks_for_a_day_is_tried_again_while_somebody_waits(
    peer: Peer, delivery: Delivery, wish: str, how: str
) -> None:
    peer.script = [Reply(503, headers={"retry-after": wish})]
    delivery.offer(records(1), 0)
    until(lambda: delivery.stats().trouble)
    if how == "flush":
        delivery.flush(WAIT_S)
    else:
        delivery.close(WAIT_S)
    assert len(peer.delivered) == 1


def test_nobody_is_left_alone_for_longer_than_five_minutes(peer: Peer) -> None:
    class Pauses:
        trouble = kept = ""
        asked: ClassVar[list[float]] = []

        def pause(self, until_s: float, *, hurried_s: float, soonest_s: float) -> bool:
            self.asked += [moment - time.monotonic() for moment in (until_s, hurried_s, soonest_s)]
            return False

    sender = Sender(Pauses(), Transport(resolve_endpoint({}, argument=peer.url)), retry_initial_s=1, retry_max_s=1)  # type: ignore[arg-type]
    peer.script = [Reply(429, headers={"retry-after": "86400"})]
    assert not sender._deliver(Parcel(b"", "", (encode_record(records(1)[0], 1),), 1))
    until_s, hurried_s, soonest_s = Pauses.asked
    assert 290 < until_s <= 301
    assert hurried_s <= 2
    assert soonest_s <= 1.2


def test_an_answer_that_trickles_is_given_up_when_its_time_is_over(deliver_to: Deliver, durability: str) -> None:
    asked = threading.Event()

    def trickle(server: socket.socket) -> None:
        connection, _ = server.accept()
        with connection, contextlib.suppress(OSError):
            connection.recv(65536)
            begun = b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n"
            connection.sendall(begun if durability == "disk" else begun[:5])
            while not asked.wait(0.05):
                connection.sendall(b" ")

    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as pool:
        pool.submit(trickle, server)
        try:
            delivery = deliver_to(
                f"http://127.0.0.1:{server.getsockname()[1]}",
                env={"OTEL_EXPORTER_OTLP_TIMEOUT": "0.4"},
                retry_initial_s=3600,
                retry_max_s=3600,
            )
            delivery.offer(records(1), 0)
            until(lambda: "timed out" in delivery.stats().trouble or "too long" in delivery.stats().trouble, 5)
        finally:
            asked.set()
    with contextlib.suppress(UndeliveredError):
        delivery.close(0)


def test_an_empty_partial_success_is_success(peer: Peer, delivery: Delivery) -> None:
    peer.script = [Reply(200, b"\x0a\x00")]
    delivery.offer(records(2), 0)
    delivery.flush(WAIT_S)
    assert len(peer.posts) == 1
    assert delivery.stats().delivered == 2


def test_rejected_records_are_reported_held_and_not_sent_again(peer: Peer, delivery: Delivery) -> None:
    peer.script = [Reply(200, partial(2, "not for this tenant"))]
    with capture_events() as logs:
        delivery.offer(records(5), 0)
        with pytest.raises(UndeliveredError, match="not for this tenant") as caught:
            delivery.flush(WAIT_S)
    assert caught.value.count == 2
    assert len(peer.posts) == 1
    assert (delivery.stats().delivered, delivery.stats().refused) == (3, 2)
    assert [entry["count"] for entry in logs if entry["log_level"] == "error"] == [2]
    (refusal,) = delivery.refusals
    assert (len(refusal.records), refusal.rejected) == (5, 2)


@pytest.mark.parametrize("status", [302, 400, 401, 403, 501])
def test_a_final_answer_holds_back_its_batch_and_nothing_else(peer: Peer, status: int, deliver_to: Deliver) -> None:
    delivery = deliver_to(peer.url, batch_max_records=2)
    sent = records(4)
    held = set(ids(sent)[:2])
    answer = Reply(status, b"because", {"location": "/elsewhere"})
    peer.otherwise = lambda seen: answer if held & set(seen.ids) else Reply()
    delivery.offer(sent, 0)
    with pytest.raises(UndeliveredError, match=f"{status}.*because") as caught:
        delivery.flush(WAIT_S)
    assert caught.value.count == 2
    assert peer.delivered == ids(sent[2:])
    peer.otherwise = lambda seen: Reply()
    assert delivery.retry_refused() == 2
    delivery.close()
    assert sorted(peer.delivered) == sorted(ids(sent))


@pytest.mark.parametrize(("status", "at"), [(400, 0), (403, 417), (422, 999), (500, 5)])
def test_a_refused_batch_is_halved_until_the_guilty_record_is_alone(
    peer: Peer, delivery: Delivery, status: int, at: int
) -> None:
    sent = records(1_000)
    guilty = ids(sent)[at]
    peer.otherwise = lambda seen: Reply(status, b"forbidden pattern") if guilty in seen.ids else Reply()
    delivery.offer(sent, 0)
    with pytest.raises(UndeliveredError, match=r"1 refused.*forbidden pattern") as caught:
        delivery.flush(WAIT_S)
    assert caught.value.count == 1
    assert sorted(peer.delivered) == sorted(set(ids(sent)) - {guilty})
    assert sum(guilty in seen.ids for seen in peer.posts) <= 11 + 10 * (status == 500)
    (refusal,) = delivery.refusals
    assert (len(refusal.records), refusal.rejected) == (1, 1)
    peer.otherwise = lambda seen: Reply()
    delivery.retry_refused()
    delivery.flush(WAIT_S)
    assert sorted(peer.delivered) == sorted(ids(sent))


def test_where_several_records_are_refused_all_others_are_delivered(peer: Peer, delivery: Delivery) -> None:
    sent = records(1_000)
    guilty = {ids(sent)[at] for at in (0, 1, 2, 500, 998)}
    peer.otherwise = lambda seen: Reply(403 if guilty & set(seen.ids) else 200)
    delivery.offer(sent, 0)
    with pytest.raises(UndeliveredError, match="5 refused"):
        delivery.flush(WAIT_S)
    assert set(peer.delivered) == set(ids(sent)) - guilty
    assert [len(refusal.records) for refusal in delivery.refusals] == [1] * 5


def test_where_everything_is_refused_halving_ends_early(peer: Peer, delivery: Delivery) -> None:
    peer.otherwise = lambda seen: Reply(403)
    delivery.offer(records(1_000), 0)
    with pytest.raises(UndeliveredError, match="1000 refused"):
        delivery.flush(WAIT_S)
    assert len(peer.posts) <= 3 * 11


def test_a_peer_that_takes_nothing_is_asked_once_for_each_later_batch(peer: Peer, deliver_to: Deliver) -> None:
    """And once it takes something, batches are halved again."""
    delivery = deliver_to(peer.url, batch_max_records=100)
    sent = records(400)
    guilty = ids(sent)[350]
    peer.otherwise = lambda seen: Reply(403)
    delivery.offer(sent[:300], 0)
    with pytest.raises(UndeliveredError, match="300 refused"):
        delivery.flush(WAIT_S)
    assert len(peer.posts) <= 3 * 8 + 2
    peer.otherwise = lambda seen: Reply(403 if guilty in seen.ids else 200)
    delivery.offer(records(1), 0)
    with pytest.raises(UndeliveredError, match="300 refused"):
        delivery.flush(WAIT_S)
    delivery.offer(sent[300:], 0)
    with pytest.raises(UndeliveredError, match="301 refused"):
        delivery.flush(WAIT_S)


def test_an_outage_answered_with_500_gives_up_one_batch_and_waits_with_the_next(
    peer: Peer, deliver_to: Deliver
) -> None:
    delivery = deliver_to(peer.url, batch_max_records=1, retry_initial_s=0.0, retry_max_s=0.0)
    sent = records(2)
    peer.otherwise = lambda seen: Reply(500)
    delivery.offer(sent, 0)
    until(lambda: len(peer.posts) > 40)
    assert delivery.stats().rejected == 1
    peer.otherwise = lambda seen: Reply()
    with pytest.raises(UndeliveredError, match="1 refused"):
        delivery.flush(WAIT_S)
    assert peer.delivered == ids(sent)[1:]


def test_parked_records_that_are_refused_in_part_again_stay_in_that_part(peer: Peer, delivery: Delivery) -> None:
    sent = records(8)
    peer.otherwise = lambda seen: Reply(401)
    delivery.offer(sent, 0)
    with pytest.raises(UndeliveredError, match="8 refused"):
        delivery.flush(WAIT_S)
    guilty = ids(sent)[5]
    peer.otherwise = lambda seen: Reply(403 if guilty in seen.ids else 200)
    assert delivery.retry_refused() == 8
    with pytest.raises(UndeliveredError, match="1 refused"):
        delivery.flush(WAIT_S)
    assert [len(refusal.records) for refusal in delivery.refusals] == [1]
    assert sorted(peer.delivered) == sorted(set(ids(sent)) - {guilty})


def test_too_large_a_batch_is_halved_and_only_a_giant_is_refused(peer: Peer, delivery: Delivery) -> None:
    sent = records(7)
    giant = ids(sent)[4]
    peer.otherwise = lambda seen: Reply(413 if len(seen.ids) > 2 or giant in seen.ids else 200)
    delivery.offer(sent, 0)
    with pytest.raises(UndeliveredError, match="413") as caught:
        delivery.flush(WAIT_S)
    assert caught.value.count == 1
    assert peer.delivered == [identity for identity in ids(sent) if identity != giant]


def test_compressed_requests_hold_the_same_records(peer: Peer, deliver_to: Deliver) -> None:
    for compression in ("gzip", "deflate"):
        peer.seen.clear()
        delivery = deliver_to(peer.url, env={"OTEL_EXPORTER_OTLP_COMPRESSION": compression})
        sent = records(3)
        delivery.offer(sent, 0)
        delivery.close()
        assert peer.posts[0].headers["content-encoding"] == compression
        assert peer.delivered == ids(sent)


def test_our_collector_acknowledges_and_another_peer_forwards(peer: Peer, delivery: Delivery) -> None:
    assert delivery.stats().state is None
    delivery.offer(records(1), 0)
    delivery.flush(WAIT_S)
    assert (delivery.stats().state, delivery.stats().log) == ("forwarded", None)
    peer.script = [Reply(headers={"otel-audit-log": "abcdefghijklmnop"})]
    delivery.offer(records(1), 0)
    delivery.flush(WAIT_S)
    assert (delivery.stats().state, delivery.stats().log) == ("acknowledged", "abcdefghijklmnop")


def test_flush_does_not_wait_for_the_batch_delay(peer: Peer, deliver_to: Deliver) -> None:
    delivery = deliver_to(peer.url, batch_delay_s=3600)
    delivery.offer(records(1), 0)
    delivery.flush(WAIT_S)
    assert len(peer.delivered) == 1
    delivery.close()


def test_flush_returns_only_after_the_answer(peer: Peer, delivery: Delivery) -> None:
    answer = threading.Event()
    peer.script = [Reply(after=answer)]
    delivery.offer(records(1), 0)
    with pytest.raises(UndeliveredError):
        delivery.flush(0.05)
    answer.set()
    delivery.flush(WAIT_S)
    assert delivery.stats().waiting == 0


def test_a_peer_that_is_away_fills_the_room_and_append_says_why(
    peer: Peer, deliver_to: Deliver, durability: str
) -> None:
    peer.otherwise = lambda seen: Reply(503, b"disk full")
    delivery = deliver_to(peer.url, **room_for(3, durability))
    delivery.offer(records(3), 0)
    until(lambda: delivery.stats().trouble)
    with pytest.raises(BacklogFullError, match=r"503.*disk full"):
        delivery.offer(records(1), 0.01)
    peer.otherwise = lambda seen: Reply()
    delivery.offer(records(1), WAIT_S)
    delivery.close()
    assert len(peer.delivered) == 4


def test_tasks_append_and_flush_without_holding_up_the_loop(peer: Peer, deliver_to: Deliver, durability: str) -> None:
    answer = threading.Event()
    peer.script = [Reply(after=answer)]
    sent = records(6)

    async def scenario() -> None:
        delivery = deliver_to(peer.url, **room_for(2, durability), batch_max_records=2)
        appends = [asyncio.create_task(delivery.aoffer((record,), WAIT_S)) for record in sent]
        while sum(task.done() for task in appends) < 2:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.05)  # the loop runs while four of them wait
        assert sum(task.done() for task in appends) == 2
        answer.set()
        await asyncio.gather(*appends)
        await delivery.aflush(WAIT_S)
        await delivery.aclose()

    asyncio.run(scenario())
    assert sorted(peer.delivered) == sorted(ids(sent))


def test_close_delivers_what_is_queued_and_ends_the_thread(peer: Peer, deliver_to: Deliver) -> None:
    delivery = deliver_to(peer.url, batch_delay_s=3600)
    sent = records(3)
    delivery.offer(sent, 0)
    thread = delivery._thread
    delivery.close()
    delivery.close()
    assert peer.delivered == ids(sent)
    assert thread is not None
    thread.join(WAIT_S)
    assert not thread.is_alive()
    with pytest.raises(ClosedError):
        delivery.offer(records(1), 0)


@pytest.mark.parametrize("how", ["close", "aclose"])
def test_close_says_what_it_could_not_deliver_and_whether_it_is_kept(
    peer: Peer, deliver_to: Deliver, durability: str, how: str
) -> None:
    peer.otherwise = lambda seen: Reply(503)
    delivery = deliver_to(peer.url)
    delivery.offer(records(3), 0)
    until(lambda: delivery.stats().trouble)
    with pytest.raises(UndeliveredError, match="503") as caught:
        if how == "close":
            delivery.close(0.05)
        else:
            asyncio.run(delivery.aclose(0.05))
    assert (caught.value.count, caught.value.kept) == (3, durability != "memory")
    with pytest.raises(UndeliveredError):
        delivery.flush()


def test_closing_makes_a_last_try_in_the_middle_of_our_own_pause(peer: Peer, deliver_to: Deliver) -> None:
    peer.script = [Reply(503)]
    delivery = deliver_to(peer.url, retry_initial_s=3600, retry_max_s=3600)
    delivery.offer(records(1), 0)
    until(lambda: delivery.stats().trouble)
    delivery.close()
    assert len(peer.delivered) == 1


def test_a_failing_signer_is_tried_again_like_a_failing_connection(peer: Peer, delivery: Delivery) -> None:
    failures = iter([OSError("token service away"), KeyError("x")])

    class Signed(requests.Session):
        def request(self, *args: Any, **kwargs: Any) -> requests.Response:  # type: ignore[override]
            for error in failures:
                raise error
            return super().request(*args, **kwargs)

    delivery._transport._session = Signed()
    delivery.offer(records(1), 0)
    delivery.flush(WAIT_S)
    assert len(peer.delivered) == 1


def test_a_log_that_is_broken_does_not_stop_delivery(peer: Peer, delivery: Delivery) -> None:
    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise OSError("disk full")

    logger, handler = logging.getLogger("otel_audit"), Broken()
    logger.addHandler(handler)
    try:
        peer.script = [Reply(503), Reply(400)]
        delivery.offer(records(1), 0)
        with pytest.raises(UndeliveredError, match="400"):
            delivery.flush(WAIT_S)
    finally:
        logger.removeHandler(handler)


def test_sending_is_hidden_from_instrumentation_and_log_handlers(peer: Peer, delivery: Delivery) -> None:
    keys: list[object] = []
    logged: list[logging.LogRecord] = []

    class Watched(requests.Session):
        def request(self, *args: Any, **kwargs: Any) -> requests.Response:  # type: ignore[override]
            from opentelemetry import context

            keys.append(get_value(context._SUPPRESS_INSTRUMENTATION_KEY))
            keys.append(get_value(context._SUPPRESS_HTTP_INSTRUMENTATION_KEY))
            return super().request(*args, **kwargs)

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            logged.append(record)

    root, handler = logging.getLogger(), Handler(logging.DEBUG)
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        delivery._transport._session = Watched()
        delivery.offer(records(1), 0)
        delivery.flush(WAIT_S)
        assert [record for record in logged if record.name.startswith("urllib3")] == []
        requests.get(peer.url, timeout=WAIT_S)  # another thread's requests are logged as before
        assert [record for record in logged if record.name.startswith("urllib3")] != []
    finally:
        root.setLevel(level)
        root.removeHandler(handler)
    assert keys == [True, True]


# --- the resource ---


def resource_sent(peer: Peer) -> dict[str, str]:
    resource = peer.posts[-1].request.resource_logs[0].resource
    return {a.key: a.value.string_value for a in resource.attributes}


def send_one(delivery: Delivery) -> None:
    delivery.offer(records(1), 0)
    delivery.flush(WAIT_S)


def test_the_resource_given_wins(peer: Peer, global_provider: None, deliver_to: Deliver) -> None:
    for given in ({"service.name": "given"}, Resource({"service.name": "given"}, "https://schema.example/1")):
        delivery = deliver_to(peer.url, resource=given)
        trace.set_tracer_provider(TracerProvider(resource=Resource({"service.name": "traced"})))
        send_one(delivery)
        delivery.close()
        assert resource_sent(peer) == {"service.name": "given"}
    assert peer.posts[-1].request.resource_logs[0].schema_url == "https://schema.example/1"


def test_a_tracer_provider_set_later_gives_the_resource(
    peer: Peer, delivery: Delivery, global_provider: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    send_one(delivery)
    assert resource_sent(peer)["service.name"].startswith("unknown_service")
    trace.set_tracer_provider(TracerProvider(resource=Resource({"service.name": "traced"})))
    send_one(delivery)
    assert resource_sent(peer) == {"service.name": "traced"}


def test_without_a_provider_the_variables_give_the_resource(
    peer: Peer, global_provider: None, monkeypatch: pytest.MonkeyPatch, deliver_to: Deliver
) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "shop")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=prod")
    delivery = deliver_to(peer.url)
    send_one(delivery)
    delivery.close()
    assert resource_sent(peer)["service.name"] == "shop"
    assert resource_sent(peer)["deployment.environment.name"] == "prod"


def test_a_resource_that_otlp_cannot_hold_is_refused(peer: Peer, deliver_to: Deliver) -> None:
    with pytest.raises(ConfigError, match="resource"):
        deliver_to(peer.url, resource={"service.name": object()})


def test_switches_of_other_telemetry_do_not_touch_auditing(
    peer: Peer, monkeypatch: pytest.MonkeyPatch, deliver_to: Deliver
) -> None:
    for name, value in {
        "OTEL_SDK_DISABLED": "true",
        "OTEL_LOGS_EXPORTER": "none",
        "OTEL_ATTRIBUTE_COUNT_LIMIT": "1",
        "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT": "1",
        "OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT": "1",
    }.items():
        monkeypatch.setenv(name, value)
    delivery = deliver_to(peer.url)
    sent = records(1)
    delivery.offer(sent, 0)
    delivery.close()
    assert peer.delivered == ids(sent)
    (record,) = peer.posts[0].request.resource_logs[0].scope_logs[0].log_records
    assert len(record.attributes) > 5
