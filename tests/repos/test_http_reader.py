"""`HttpReader` against a real server, and against servers that are something else."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from opentelemetry.context import _SUPPRESS_HTTP_INSTRUMENTATION_KEY, get_value

from otel_audit.errors import (
    ClosedError,
    ConfigError,
    InvalidCursorError,
    InvalidFilterError,
    ReaderUnavailableError,
    UnwritableError,
)
from otel_audit.model.filters import Filter, LogPosition
from otel_audit.model.pages import Cursor, format_cursor
from otel_audit.model.record import ActivityRecord, EntityRef
from otel_audit.repos.http_reader import HttpReader
from otel_audit.repos.memory import InMemoryActivityLogRepo
from otel_audit.web import create_app
from tests.web.serving import serving

START = datetime(2026, 11, 24, tzinfo=UTC)
UNICODE = "Größe/日本語 👩‍🚀?#%2F+&=\n.."


def record(number: int = 0, **fields: Any) -> ActivityRecord:
    given = {"actor_id": f"actor {number % 3}", "owner_id": "o", "action": f"act{number % 2}"}
    return ActivityRecord.create(
        **given
        | {"entity_ref": EntityRef("Task", number % 5), "occurred_at": START + timedelta(seconds=number)}
        | fields
    )


@contextmanager
def answering(*answers: bytes, seen: list[bytes] | None = None) -> Iterator[str]:
    """The URL of a bare socket that gives each connection one answer and hangs up."""
    listener = socket.create_server(("127.0.0.1", 0))

    def run() -> None:
        for answered in answers:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                got = connection.recv(65_536)
                if seen is not None:
                    seen.append(got)
                connection.sendall(answered)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(10)


def http_answer(status: str, media_type: str, body: bytes, *headers: str) -> bytes:
    head = [f"HTTP/1.1 {status}", f"Content-Type: {media_type}", f"Content-Length: {len(body)}", *headers]
    return ("\r\n".join([*head, "Connection: close"]) + "\r\n\r\n").encode() + body


@pytest.fixture(scope="module")
def log() -> InMemoryActivityLogRepo:
    log = InMemoryActivityLogRepo()
    log.append_many(record(number) for number in range(40))
    log.append(record(7, tenant_id="t", request_id="r", session_id="s", on_behalf_of="b", trace_id="a" * 32))
    log.append(record(8, actor_id=UNICODE, owner_id=UNICODE, action=UNICODE, entity_ref=EntityRef(UNICODE, UNICODE)))
    log.append(record(9, actor_type="service", outcome="failure", metadata={"n": [2**63 - 1, 1.0, None, {"ü": ""}]}))
    return log


@pytest.fixture(scope="module")
def at(log: InMemoryActivityLogRepo) -> Iterator[str]:
    with serving(create_app(log)) as url:
        yield url


@pytest.fixture(scope="module")
def reader(at: str) -> Iterator[HttpReader]:
    with HttpReader(at) as reader:
        yield reader


FILTERS = [
    None,
    Filter(actor_id="actor 1"),
    Filter(owner_id=UNICODE),
    Filter(action=UNICODE),
    Filter(entity_ref=EntityRef("Task", 3)),
    Filter(entity_ref=EntityRef(UNICODE, UNICODE)),
    Filter(entity_type="Task", action="act1"),
    Filter(entity_ref=EntityRef("Task", 3), entity_type="Task"),
    Filter(entity_ref=EntityRef("Task", 3), entity_type="Note"),
    Filter(outcome="failure"),
    Filter(actor_type="service"),
    Filter(tenant_id="t", request_id="r", session_id="s", on_behalf_of="b", trace_id="a" * 32),
    Filter(since=START + timedelta(seconds=5), until=START + timedelta(seconds=9)),
    Filter(since=datetime(2026, 11, 24, 1, 0, 30, 1, tzinfo=timezone(timedelta(hours=1)))),
    Filter(actor_id="nobody"),
]


@pytest.mark.parametrize("where", FILTERS, ids=str)
def test_every_read_answers_as_the_log_behind_it(log: InMemoryActivityLogRepo, reader: HttpReader, where: Any) -> None:
    assert reader.count(where) == log.count(where)
    for order in ("asc", "desc"):
        assert list(reader.iter_records(where, order=order)) == list(log.iter_records(where, order=order))
    assert list(reader.iter_records(where, after=LogPosition())) == list(log.iter_records(where, after=LogPosition()))
    for field in ("action", "actor_id", "entity_id", "tenant_id", "outcome"):
        assert list(reader.count_by(field, where).items()) == list(log.count_by(field, where).items())
    mine, theirs = reader.search(where, limit=4), log.search(where, limit=4)
    assert (mine.records, mine.next_cursor) == (theirs.records, theirs.next_cursor)
    if mine.next_cursor:
        assert reader.search(cursor=mine.next_cursor, limit=4) == log.search(cursor=mine.next_cursor, limit=4)


def test_records_come_back_equal_with_their_values_types(log: InMemoryActivityLogRepo, reader: HttpReader) -> None:
    for stored in log.records:
        got = reader.get_by_id(stored.record_id)
        assert got == stored
        assert got is not None
        assert repr(got.metadata) == repr(stored.metadata)
    assert reader.get_by_id("no such id") is None


def test_any_id_can_be_looked_up() -> None:
    log = InMemoryActivityLogRepo()
    strange = [".", "..", "a/b", "a b", "%2F", "x?y#z", UNICODE, "-~_", "a+b"]
    log.append_many(record(record_id=record_id) for record_id in strange)
    with serving(create_app(log)) as at, HttpReader(at) as reader:
        assert [found and found.record_id for found in map(reader.get_by_id, strange)] == strange


def test_limits_keep_the_newest_and_order_turns_round(log: InMemoryActivityLogRepo, reader: HttpReader) -> None:
    for options in ({}, {"limit": 1}, {"limit": 3, "order": "desc"}, {"limit": 10_000}, {"since": START}):
        assert reader.get_by_owner("o", **options) == log.get_by_owner("o", **options)
        assert reader.get_by_actor(UNICODE, **options) == log.get_by_actor(UNICODE, **options)
        assert reader.get_by_action("act1", **options) == log.get_by_action("act1", **options)
        ref = EntityRef("Task", "2")
        assert reader.get_by_entity(ref, **options) == log.get_by_entity(ref, **options)


@pytest.mark.parametrize("most", [10, pytest.param(10_000, marks=pytest.mark.slow)])
def test_more_than_one_request_is_made_without_gap_or_repeat(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    monkeypatch.setattr("otel_audit.repos.http_reader.MAX_PAGE", most)
    log = InMemoryActivityLogRepo()
    log.append_many(record(number // 3) for number in range(most + most // 2))
    with serving(create_app(log)) as at, HttpReader(at) as reader:
        everything = [r.record_id for r in log.get_by_owner("o")]
        assert [r.record_id for r in reader.get_by_owner("o")] == everything
        for limit in (most - 1, most, most + 1):
            assert [r.record_id for r in reader.get_by_owner("o", limit=limit)] == everything[-limit:]
        assert len(reader.search(limit=most).records) == most
        assert sum(1 for _ in reader.iter_records(after=LogPosition())) == len(everything)


def test_pages_stay_right_while_records_arrive() -> None:
    log = InMemoryActivityLogRepo()
    log.append_many(record(number) for number in range(30))
    expected = [r.record_id for r in log.iter_records(order="desc")]
    with serving(create_app(log)) as at, HttpReader(at) as reader:
        page, seen = reader.search(limit=7), []
        while True:
            seen += [r.record_id for r in page.records]
            log.append(record(1_000))
            if page.next_cursor is None:
                break
            page = reader.search(cursor=page.next_cursor, limit=7)
        assert seen == expected


def test_reading_on_in_log_order_finds_late_and_backdated_records() -> None:
    log = InMemoryActivityLogRepo()
    log.append_many(record(number) for number in range(5))
    with serving(create_app(log)) as at, HttpReader(at) as reader:
        page = reader.search(after=LogPosition(), limit=3)
        page = reader.search(after=page.position, limit=3)
        assert page.records == log.records[3:]
        assert reader.search(after=page.position).position == page.position
        backdated = record(occurred_at=START - timedelta(days=9_000))
        log.append(backdated)
        assert reader.search(after=page.position).records == (backdated,)


def test_one_reader_serves_many_threads(log: InMemoryActivityLogRepo, reader: HttpReader) -> None:
    wanted = {number: log.get_by_actor(f"actor {number}") for number in range(3)}
    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda number: (number, reader.get_by_actor(f"actor {number}")), [0, 1, 2] * 20))
    assert all(records == wanted[number] for number, records in got)


@pytest.mark.parametrize("suffix", ["", "/", "/v1/audit", "/v1/audit/", "//"])
def test_the_url_may_end_in_several_ways(at: str, suffix: str) -> None:
    with HttpReader(at + suffix) as reader:
        assert reader.url == at
        assert reader.count() == 43


@pytest.mark.parametrize(
    "url", ["", "127.0.0.1:4318", "ftp://host", "http://", "http://h/?x=1", "/data", "http://[::1"]
)
def test_a_url_that_cannot_be_read_from_is_a_config_error(url: str) -> None:
    with pytest.raises(ConfigError, match="no URL to read from"):
        HttpReader(url)


def test_a_password_in_the_url_is_used_and_not_told() -> None:
    seen: list[bytes] = []
    with answering(http_answer("200 OK", "text/plain", b""), seen=seen) as url:
        reader = HttpReader(url.replace("http://", "http://me:secret@"))
        with pytest.raises(ReaderUnavailableError) as caught:
            reader.count()
    assert b"Authorization: Basic" in seen[0]
    assert "secret" not in caught.value.diagnostics()
    assert "secret" not in reader.url


def test_a_mistake_the_server_finds_is_the_readers_usual_error(reader: HttpReader) -> None:
    with pytest.raises(InvalidFilterError, match="no log 'another'"):
        reader.search(after=LogPosition("another", 3))
    with pytest.raises(InvalidCursorError):
        reader.search(cursor="nonsense")
    with pytest.raises(InvalidFilterError, match="limit"):
        reader.search(limit=10_001)
    with pytest.raises(InvalidCursorError, match="another order"):
        reader._page([("cursor", format_cursor(Cursor(Filter(), "asc", (1, "x")))), ("order", "desc")])


class Unwritable(InMemoryActivityLogRepo):
    """A log that is in trouble."""

    def count(self, where: object = None) -> int:
        raise UnwritableError("disk full")


def test_a_server_in_trouble_is_unavailable_and_says_why() -> None:
    with serving(create_app(Unwritable())) as at, HttpReader(at) as reader:
        with pytest.raises(ReaderUnavailableError, match="503 Unwritable: disk full") as caught:
            reader.count()
        assert at in str(caught.value)
        assert caught.value.retryable


def test_nobody_there_is_unavailable_and_says_where() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with pytest.raises(ReaderUnavailableError, match="refused") as caught:
        HttpReader(url).get_by_id("x")
    assert url in str(caught.value)


FOREIGN = {
    "html page": http_answer("200 OK", "text/html", b"<html>Welcome to nginx</html>"),
    "other 404": http_answer("404 Not Found", "text/plain", b"404 page not found"),
    "other json 404": http_answer("404 Not Found", "application/json", b'{"detail":"Not Found"}'),
    "our unknown path": http_answer(
        "404 Not Found", "application/problem+json", b'{"type":"about:blank","status":404}'
    ),
    "other json": http_answer("200 OK", "application/json", b'{"hello":"world"}'),
    "list": http_answer("200 OK", "application/json", b"[]"),
    "broken json": http_answer("200 OK", "application/json", b'{"count":'),
    "no number": http_answer("200 OK", "application/json", b'{"count":NaN}'),
    "not utf-8": http_answer("200 OK", "application/json", b'{"count":"\xff"}'),
    "deep": http_answer("200 OK", "application/json", b"[" * 100_000),
    "wrong types": http_answer("200 OK", "application/json", b'{"count":"3","records":[{}],"counts":[3]}'),
    "broken gzip": http_answer("200 OK", "application/json", b"x", "Content-Encoding: gzip"),
    "empty": http_answer("204 No Content", "text/plain", b""),
    "refused": http_answer("403 Forbidden", "application/problem+json", b'{"title":"Forbidden","detail":"no"}'),
    "elsewhere": http_answer("302 Found", "text/html", b"", "Location: http://other.example/login"),
    "not http": b"SSH-2.0-OpenSSH_9.6\r\n",
}


@pytest.mark.parametrize("answered", FOREIGN.values(), ids=FOREIGN)
@pytest.mark.parametrize(
    "read", [HttpReader.count, lambda r: r.get_by_id("x"), HttpReader.search, lambda r: r.count_by("action")]
)
def test_another_servers_answer_is_unavailable_and_names_the_url(
    answered: bytes, read: Callable[[HttpReader], Any]
) -> None:
    with answering(answered, answered) as url, HttpReader(url, timeout_s=5) as reader:
        with pytest.raises(ReaderUnavailableError) as caught:
            read(reader)
        assert url in str(caught.value)
        assert len(str(caught.value)) < 600


@pytest.mark.parametrize("status", ["400 Bad Request", "414 URI Too Long", "431 Request Header Fields Too Large"])
def test_a_filter_that_is_too_long_for_a_server_is_said_to_be(status: str) -> None:
    with answering(http_answer(status, "text/html", b"no")) as at, HttpReader(at) as reader:
        with pytest.raises(InvalidFilterError, match=r"the filter makes a URL of 90\d\d characters, and http"):
            reader.search(Filter(action="a" * 8_000, entity_type="\n" * 333))
        assert reader.url == at


def test_a_filter_that_is_too_long_for_any_url_is_not_sent() -> None:
    with HttpReader("http://127.0.0.1:9") as reader, pytest.raises(InvalidFilterError, match="there may be 60000"):
        reader.count(Filter(action="😀" * 8_000))


def test_a_redirect_is_told_and_not_followed() -> None:
    asked: list[bytes] = []
    with answering(http_answer("200 OK", "application/json", b'{"count":1}'), seen=asked) as target:
        moved = http_answer("307 Temporary Redirect", "text/plain", b"", f"Location: {target}/v1/audit/count")
        with (
            answering(moved) as url,
            HttpReader(url, headers={"Authorization": "Bearer secret"}) as reader,
            pytest.raises(ReaderUnavailableError, match=f"307 to {target}"),
        ):
            reader.count()
    assert asked == []


def test_a_dropped_connection_is_tried_once_more_and_only_once() -> None:
    good = http_answer("200 OK", "application/json", b'{"count":7}')
    seen: list[bytes] = []
    with answering(b"", good, seen=seen) as url, HttpReader(url) as reader:
        assert reader.count() == 7
    assert len(seen) == 2
    with answering(b"", b"", good, seen=seen) as url, HttpReader(url) as reader, pytest.raises(ReaderUnavailableError):
        reader.count()


def test_an_answer_cut_short_is_tried_once_more() -> None:
    good = http_answer("200 OK", "application/json", b'{"count":7}')
    with answering(good[:-3], good) as url, HttpReader(url) as reader:
        assert reader.count() == 7


def test_a_silent_server_ends_in_time() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        HttpReader(f"http://127.0.0.1:{listener.getsockname()[1]}", timeout_s=0.2) as reader,
        pytest.raises(ReaderUnavailableError, match="timed out"),
    ):
        reader.count()


def test_given_headers_are_sent() -> None:
    seen: list[bytes] = []
    with (
        answering(http_answer("200 OK", "application/json", b'{"count":0}'), seen=seen) as url,
        HttpReader(url, headers={"Authorization": "Bearer t0ken"}) as reader,
    ):
        reader.count()
    assert b"Authorization: Bearer t0ken\r\n" in seen[0]


def test_instrumentation_is_suppressed_during_a_request_and_not_after(reader: HttpReader) -> None:
    during: list[object] = []
    send = reader._session.send

    def watched(*args: Any, **options: Any) -> Any:
        during.append(get_value(_SUPPRESS_HTTP_INSTRUMENTATION_KEY))
        return send(*args, **options)

    reader._session.send = watched  # type: ignore[method-assign]
    try:
        reader.count()
    finally:
        reader._session.send = send  # type: ignore[method-assign]
    assert during == [True]
    assert get_value(_SUPPRESS_HTTP_INSTRUMENTATION_KEY) is None


def test_a_closed_reader_says_so(at: str) -> None:
    reader = HttpReader(at)
    reader.close()
    reader.close()
    with pytest.raises(ClosedError, match="closed"):
        reader.count()


def test_a_place_that_utf8_cannot_hold_is_an_invalid_filter(reader: HttpReader) -> None:
    with pytest.raises(InvalidFilterError, match="surrogate"):
        reader.search(after=LogPosition("\ud800", 0))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_does_not_share_its_parents_connections(at: str) -> None:
    program = (
        "import os, sys\n"
        "from otel_audit.repos.http_reader import HttpReader\n"
        f"reader = HttpReader({at!r}); assert reader.count() == 43\n"
        "before = reader._session\n"
        "child = os.fork()\n"
        "for _ in range(20): assert reader.count() == 43\n"
        "if child == 0: os._exit(0 if reader._session is not before else 1)\n"
        "sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
    )
    assert subprocess.run([sys.executable, "-c", program], timeout=60, check=False).returncode == 0


def test_the_module_needs_the_base_install_only() -> None:
    program = (
        "import sys\n"
        "for name in ('fastapi', 'starlette', 'pydantic', 'httpx', 'pyarrow', 'duckdb', 'uvicorn', 'numpy'):\n"
        "    sys.modules[name] = None\n"
        "import otel_audit.repos.http_reader\n"
    )
    assert subprocess.run([sys.executable, "-c", program], timeout=60, check=False).returncode == 0
