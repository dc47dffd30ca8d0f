"""`OTelActivityLogRepo`: arguments, hooks, receipts, and where it reads."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from opentelemetry import context

from otel_audit import (
    ActivityLogRepo,
    ActivityRecord,
    ActivityRecorded,
    ClosedError,
    ConfigError,
    EntityRef,
    Filter,
    HookError,
    InMemoryActivityLogRepo,
    InvalidRecordError,
    OTelActivityLogRepo,
    UndeliveredError,
)
from otel_audit.collector.server import Collector
from otel_audit.config import load_settings
from otel_audit.errors import BacklogFullError, MissingExtraError, ReaderUnavailableError
from otel_audit.log.engine import ActivityLog
from otel_audit.query.reader import DuckDBReader
from otel_audit.web import create_app
from tests.delivery.scripted_peer import Peer, Reply, quick
from tests.web.serving import serving

WAIT_S = 20.0
THING = EntityRef("Thing", "t")


def record(**fields: Any) -> ActivityRecord:
    given: dict[str, Any] = {"actor_id": "a", "owner_id": "o", "action": "do", "entity_ref": THING}
    return ActivityRecord.create(**given | fields)


@pytest.fixture
def peer() -> Iterator[Peer]:
    running = Peer()
    yield running
    running.stop()


@pytest.fixture(autouse=True)
def _no_settings_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("OTEL_"):
            monkeypatch.delenv(name)


@contextmanager
def opened(peer: Peer, **options: Any) -> Iterator[OTelActivityLogRepo]:
    with OTelActivityLogRepo(peer.url, settings=quick(), **options) as log:
        yield log


# --- arguments ---


def test_it_is_an_activity_log_repo(peer: Peer) -> None:
    with opened(peer) as log:
        assert isinstance(log, ActivityLogRepo)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"durability": "paper"}, ["durability", "'paper'", "memory"]),
        ({"spool_dir": "spool", "durability": "memory"}, ["spool_dir", "memory"]),
        ({"spool_dir": "/proc/nowhere"}, ["/proc/nowhere", "OTEL_AUDIT_SPOOL_DIR"]),
        ({"endpoint": "nowhere"}, ["nowhere"]),
        ({"timeout_s": -1}, ["timeout_s"]),
        ({"hooks": [object()]}, ["hooks"]),
        ({"headers": {"x-key": "a\nb"}}, ["header"]),
        ({"headers": {"x-key": "日本"}}, ["header"]),
        ({"resource": {"x": object()}}, ["resource"]),
    ],
)
def test_an_argument_that_cannot_be_used_is_a_config_error(arguments: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        OTelActivityLogRepo(**arguments)
    for word in words:
        assert word in str(caught.value)


def test_the_environment_is_used_where_no_argument_is_given(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_AUDIT_ENDPOINT", f"{peer.url}/prefix")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20x")
    with OTelActivityLogRepo(headers={"x-tenant": "acme"}) as log:
        log.append(record())
    assert peer.posts[0].path == "/prefix/v1/logs"
    assert peer.posts[0].headers["authorization"] == "Bearer x"
    assert peer.posts[0].headers["x-tenant"] == "acme"


# --- appending ---


def test_append_gives_an_accepted_receipt(peer: Peer) -> None:
    sent = record()
    with opened(peer) as log:
        receipt = log.append(sent)
        assert (receipt.record_id, receipt.state, receipt.log_index) == (sent.record_id, "accepted", None)
    assert peer.delivered == [str(sent.record_id)]


def test_append_many_takes_all_or_none(peer: Peer) -> None:
    good = [record() for _ in range(3)]
    with opened(peer) as log:
        assert log.append_many([]) == []
        receipts = log.append_many(iter(good))
        with pytest.raises(InvalidRecordError):
            log.append_many([record(), "no record"])  # type: ignore[list-item]
        log.flush(WAIT_S)
        assert [receipt.record_id for receipt in receipts] == [r.record_id for r in good]
    assert peer.delivered == [str(r.record_id) for r in good]


def test_hooks_see_every_record_before_and_after(peer: Peer) -> None:
    events: list[ActivityRecorded] = []

    class After:
        def after_append(self, event: ActivityRecorded) -> None:
            events.append(event)
            raise RuntimeError("must not undo the append")

    hooks = [lambda r: r.replace(reason="hooked"), After()]
    with opened(peer, hooks=hooks) as log:
        log.append(record())
        log.append_many([record()])
        asyncio.run(log.aappend(record()))
        log.flush(WAIT_S)
        assert log.after_failures == 3
    assert [(e.record.reason, e.receipt.state) for e in events] == [("hooked", "accepted")] * 3
    reasons = [
        a.value.string_value
        for seen in peer.posts
        for log_record in seen.request.resource_logs[0].scope_logs[0].log_records
        for a in log_record.attributes
        if a.key == "otel_audit.reason"
    ]
    assert reasons == ["hooked"] * 3


def test_a_hook_that_fails_stores_nothing_of_many(peer: Peer) -> None:
    bad = record()

    def refuse(r: ActivityRecord) -> ActivityRecord:
        if r is bad:
            raise ValueError("no")
        return r

    with opened(peer, hooks=[refuse]) as log, pytest.raises(HookError):
        log.append_many([record(), bad])
    assert peer.posts == []


def test_a_full_queue_is_raised_at_once_on_an_event_loop_and_awaited_by_aappend(peer: Peer) -> None:
    peer.otherwise = lambda seen: Reply(503)
    settings = quick(queue_max_records=1, durability="memory")

    async def scenario() -> None:
        async with OTelActivityLogRepo(peer.url, settings=settings, timeout_s=3600) as log:
            await log.aappend(record())
            with pytest.raises(BacklogFullError):
                log.append(record())
            waiting = asyncio.create_task(log.aappend(record()))
            await asyncio.sleep(0.02)
            assert not waiting.done()
            peer.otherwise = lambda seen: Reply()
            await waiting
            await log.aflush(WAIT_S)

    asyncio.run(scenario())
    assert len(peer.delivered) == 2


def test_after_close_nothing_is_taken_or_read(peer: Peer) -> None:
    log = OTelActivityLogRepo(peer.url, reader=InMemoryActivityLogRepo())
    log.append(record())
    log.close()
    log.close()
    log.flush()
    for use in (
        lambda: log.append(record()),
        lambda: log.append_many([record()]),
        lambda: asyncio.run(log.aappend(record())),
        lambda: log.get_by_actor("a"),
    ):
        with pytest.raises(ClosedError):
            use()


def test_refused_records_are_reported_and_can_be_sent_again(peer: Peer) -> None:
    peer.script = [Reply(401, b"token expired")]
    sent = record()
    with opened(peer) as log:
        log.append(sent)
        with pytest.raises(UndeliveredError, match="token expired"):
            log.flush(WAIT_S)
        assert log.stats.refused == 1
        assert log.refusals[0].reason.startswith("HTTP 401")
        assert log.retry_refused() == 1
        log.flush(WAIT_S)
        assert log.take_refused() == ()
    assert peer.delivered == [str(sent.record_id)]


# --- where it reads ---


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A running collector of ours: its URL and its data folder."""
    data = tmp_path / "data"
    settings = load_settings({}, data_dir=str(data), port=0)
    log = ActivityLog.open(data, settings)
    with Collector(log, settings, reads=create_app(DuckDBReader(data, settings))) as running:
        yield running.url, data


def test_flush_then_read_sees_ones_own_records(collector: tuple[str, Path]) -> None:
    url, data = collector
    sent = [record(metadata={"n": at, "x": 1.0}) for at in range(20)]
    with OTelActivityLogRepo(url) as log:
        log.append_many(sent)
        log.flush(WAIT_S)
        assert log.stats.state == "acknowledged"
        assert log.get_by_entity(THING) == sent
        assert log.get_by_owner("o", limit=3) == sent[-3:]
        assert log.get_by_id(sent[0].record_id) == sent[0]
        assert log.count() == 20
        assert log.count_by("action") == {"do": 20}
        assert list(log.iter_records()) == sent
        assert log.search(Filter(action="do"), limit=5).records == tuple(reversed(sent[-5:]))
        assert asyncio.run(log.aget_by_actor("a")) == sent
    for reader in (url, str(data), data):
        with OTelActivityLogRepo("http://127.0.0.1:1", reader=reader) as log:
            assert log.get_by_action("do") == sent


def test_the_collector_behind_the_endpoint_is_found_before_anything_was_sent(collector: tuple[str, Path]) -> None:
    with OTelActivityLogRepo(collector[0]) as log:
        assert log.get_by_actor("a") == []


def test_the_reader_setting_is_used(collector: tuple[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_AUDIT_READER", str(collector[1]))
    with OTelActivityLogRepo("http://127.0.0.1:1") as log:
        assert log.count() == 0


def test_a_peer_that_is_not_ours_cannot_be_read_and_the_choices_are_named(peer: Peer) -> None:
    peer.otherwise = lambda seen: Reply(404)
    with opened(peer) as log, pytest.raises(ConfigError) as caught:
        log.get_by_actor("a")
    for word in ("reader=", "OTEL_AUDIT_READER", "URL", "data folder", peer.url):
        assert word in str(caught.value)
    assert peer.seen[0].path == "/healthz"


def test_an_endpoint_with_a_path_of_its_own_names_the_choices_too(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", f"{peer.url}/ingest")
    with OTelActivityLogRepo() as log, pytest.raises(ConfigError, match="data folder"):
        log.get_by_actor("a")


@pytest.mark.parametrize("status", [0, 429, 503])
def test_an_endpoint_that_does_not_answer_now_is_not_a_wrong_one(peer: Peer, status: int) -> None:
    peer.otherwise = lambda seen: Reply(status, drop=not status)
    with opened(peer) as log:
        with pytest.raises(ReaderUnavailableError) as caught:
            log.get_by_actor("a")
        assert caught.value.retryable
        peer.otherwise = lambda seen: Reply(404, headers={"otel-audit-log": "abcdefghijklmnop"})
        with pytest.raises(ReaderUnavailableError, match="/v1/audit"):  # ours, but without reads
            log.get_by_actor("a")


def test_asking_the_endpoint_is_not_traced(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    send, seen = requests.Session.send, []

    def watched(self: requests.Session, *args: Any, **kwargs: Any) -> requests.Response:
        seen.append(context.get_value(context._SUPPRESS_INSTRUMENTATION_KEY))
        return send(self, *args, **kwargs)

    monkeypatch.setattr(requests.Session, "send", watched)
    with opened(peer) as log, pytest.raises(ConfigError):
        log.get_by_actor("a")
    assert seen == [True]
    assert context.get_value(context._SUPPRESS_INSTRUMENTATION_KEY) is None


@pytest.mark.parametrize("reader", ["s3://bucket/log", "ftp://x"])
def test_a_reader_of_another_scheme_is_refused(peer: Peer, reader: str) -> None:
    with opened(peer, reader=reader) as log, pytest.raises(ConfigError, match="data folder"):
        log.get_by_actor("a")


def test_a_reader_that_was_handed_in_stays_open(peer: Peer) -> None:
    memory = InMemoryActivityLogRepo()
    memory.append(record())
    with opened(peer, reader=memory) as log:
        assert log.count() == 1
    assert memory.count() == 1


def test_credentials_go_to_the_endpoints_server_and_to_no_other(peer: Peer) -> None:
    other = Peer()
    try:
        for reader, goes in ((peer.url, True), (other.url, False)):
            with (
                opened(peer, reader=reader, headers={"authorization": "secret"}) as log,
                pytest.raises(ReaderUnavailableError),
            ):
                log.get_by_actor("a")
            assert ("authorization" in (peer if goes else other).seen[-1].headers) is goes
    finally:
        other.stop()


def test_a_folder_without_the_extra_names_the_pip_line(
    peer: Peer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("otel_audit.query")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "duckdb", None)
    with opened(peer, reader=tmp_path) as log, pytest.raises(MissingExtraError, match=r"otel-audit\[query\]"):
        log.get_by_actor("a")


def test_a_forked_child_reads_with_a_reader_of_its_own(peer: Peer) -> None:
    memory = InMemoryActivityLogRepo()
    memory.append(record())
    with serving(create_app(memory)) as url, opened(peer, reader=url) as log:
        assert log.count() == 1
        parents = log._reader
        pid = os.fork()
        if pid == 0:
            os._exit(0 if log._reader is None and log.count() == 1 else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert log._reader is parents
        assert log.count() == 1
