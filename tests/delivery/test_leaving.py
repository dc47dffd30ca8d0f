"""Leaving: at once on an interrupt or while an exception passes, briefly where a spool has the records anyway."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from otel_audit.config import load_settings
from otel_audit.delivery.ending import exit_patience, leave_wait_s
from otel_audit.delivery.patience import Patience
from otel_audit.delivery.remedy import remedy
from otel_audit.disk import Disk
from otel_audit.errors import SpoolUnwritableError
from otel_audit.spool.survey import survey
from tests.delivery.outboxes import Maker, settle, taken
from tests.delivery.processes import append_all, open_log, record
from tests.delivery.scripted_peer import Peer, Reply, until
from tests.logs import capture_events

WAIT_S = 20.0
AWAY = "http://127.0.0.1:9"
WAITING = f"""
from otel_audit import OTelActivityLogRepo
from tests.delivery.processes import record
with OTelActivityLogRepo({AWAY!r}) as log:
    log.append(record("r"))
    print("appended", flush=True)
    log.flush()
"""
TERMINATED = """
import itertools, os, signal, sys
from otel_audit import OTelActivityLogRepo
from tests.delivery.processes import record
log = OTelActivityLogRepo()
def end(*_):
    log.close()
    print(log.stats.waiting, log.stats.appended, flush=True)
    os._exit(0)
signal.signal(signal.SIGTERM, end)
for at in itertools.count():
    log.append(record(f"r{at}"))
    if at == 50:
        print("ready", flush=True)
"""


@contextmanager
def running(program: str, **env: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", program]
    process = subprocess.Popen(command, env=os.environ | env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.slow
@pytest.mark.parametrize("durability", ["disk", "memory"])
def test_a_flush_says_what_it_waits_for_and_an_interrupt_ends_it_with_its_own_traceback_alone(durability: str) -> None:
    with running(WAITING, OTEL_AUDIT_DURABILITY=durability) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        said = ""
        while "waiting for the collector" not in said:
            said = process.stderr.readline()
        for word in (f"{AWAY}/v1/logs", "Connection refused", "otel-audit collector", "records=1"):
            assert word in said
        process.send_signal(signal.SIGINT)
        rest = process.communicate(timeout=WAIT_S)[1]
    assert process.returncode == -signal.SIGINT
    assert rest.count("Traceback") == 1
    assert "UndeliveredError" not in rest
    assert ("left in the spool at exit" if durability == "disk" else "lost at exit") in rest


@pytest.mark.slow
@pytest.mark.parametrize("durability", ["disk", "memory"])
def test_closing_in_a_signal_handler_delivers_what_was_appended_before(peer: Peer, durability: str) -> None:
    """Also in the middle of an append, which cannot end meanwhile."""
    for _ in range(4):
        with running(TERMINATED, OTEL_AUDIT_ENDPOINT=peer.url, OTEL_AUDIT_DURABILITY=durability) as process:
            assert process.stdout is not None
            process.stdout.readline()
            process.send_signal(signal.SIGTERM)
            out, _ = process.communicate(timeout=WAIT_S)
        assert (process.returncode, out.split()[0]) == (0, "0")


def test_an_append_that_is_interrupted_by_closing_does_not_hold_up_what_came_before(peer: Peer, tmp_path: Path) -> None:
    log = open_log(peer.url, spool_dir=str(tmp_path / "spool"), exit_flush_s=3600.0)
    append_all(log, ["before"])
    outbox = log._delivery._outbox
    write = outbox._own.write  # type: ignore[attr-defined]

    def interrupted(records: object) -> int:
        log.close()
        return write(records)  # type: ignore[no-any-return]

    outbox._own.write = interrupted  # type: ignore[attr-defined]
    accepted = 0
    with contextlib.suppress(SpoolUnwritableError):  # the sender may have closed the stream by now
        log.append(record("interrupted"))
        accepted = 1
    assert peer.delivered == ["before"]
    assert sum(stream.waiting_records for stream in survey(tmp_path / "spool").streams) == accepted


@pytest.mark.parametrize("kind", ["memory", "spool"])
def test_an_append_that_an_interrupt_ends_leaves_no_room_reserved(kind: str, tmp_path: Path) -> None:
    box = Maker(kind, tmp_path, Disk())(room=3)  # type: ignore[arg-type]
    enter = box._enter

    def interrupted(*args: object) -> int:
        raise KeyboardInterrupt

    for _ in range(9):
        box._enter = interrupted  # type: ignore[method-assign, assignment]
        with pytest.raises(KeyboardInterrupt):
            box.put([b"x"] * 3, 0)
    box._enter = enter  # type: ignore[method-assign]
    assert box.put([b"x"] * 3, 0) == 1
    assert box._appending == []
    settle(box, taken(box))


def test_while_an_exception_passes_it_alone_is_raised_and_what_is_left_is_said(peer: Peer) -> None:
    peer.otherwise = lambda seen: Reply(503, b"disk full")
    with capture_events() as logs, pytest.raises(KeyError) as caught, open_log(peer.url) as log:
        log.append(record("r"))
        until(lambda: log.stats.trouble)
        raise KeyError("mine")
    assert caught.value.__context__ is None
    (left,) = [entry for entry in logs if entry["event"] == "activity records left in the spool at exit"]
    assert left["count"] == 1
    assert "disk full" in left["why"]


def test_while_an_exception_passes_an_async_block_does_the_same(peer: Peer) -> None:
    peer.otherwise = lambda seen: Reply(503)

    async def work() -> None:
        async with open_log(peer.url) as log:
            await log.aappend(record("r"))
            await asyncio.to_thread(until, lambda: log.stats.trouble)
            raise KeyError("mine")

    with pytest.raises(KeyError):
        asyncio.run(work())


def test_an_exit_is_brief_only_where_a_spool_has_the_records_and_nobody_set_how_long(tmp_path: Path) -> None:
    makers = {kind: Maker(kind, tmp_path, Disk())() for kind in ("memory", "spool")}
    default, chosen = load_settings({}), load_settings({}, exit_flush_s=7.0)
    for kind, settings, timeout_s, idle_s in [
        ("spool", default, None, 1.0),
        ("spool", chosen, None, float("inf")),
        ("spool", default, 5.0, float("inf")),
        ("memory", default, None, float("inf")),
    ]:
        assert exit_patience(timeout_s, settings, makers[kind], lambda: None)._idle_s == idle_s
    interrupt, error = KeyboardInterrupt(), KeyError()
    makers["spool"].trouble = makers["memory"].trouble = "Connection refused"
    assert leave_wait_s(error, makers["spool"]) == 0.0
    assert leave_wait_s(error, makers["memory"]) is None
    assert leave_wait_s(SystemExit(), makers["memory"]) is None
    assert leave_wait_s(interrupt, makers["memory"]) == 0.2
    makers["spool"].trouble = ""
    assert leave_wait_s(error, makers["spool"]) is None


def test_patience_ends_without_progress_and_goes_on_with_it() -> None:
    assert Patience(0.0).left_s(1) <= 0
    assert Patience(None).left_s(1) == float("inf")
    assert Patience(None, idle_s=0.0).left_s(None) <= 0
    patience = Patience(100.0, idle_s=50.0)
    assert 49 < patience.left_s(1) < 51


@pytest.mark.parametrize(
    ("trouble", "word"),
    [
        ("Connection refused", "otel-audit collector"),
        ("", "otel-audit collector"),
        ("HTTP 503 (disk full)", "server is there"),
        ("HTTP 403", "token"),
        ("HTTP 401 (who?)", "token"),
        ("HTTP 404; no OTLP server is there", "path"),
        ("HTTP 302; redirects are not followed", "final URL"),
        ('HTTP 200, but not from an OTLP server: text/html, "log in"', "login page"),
        ("SSLError: certificate verify failed", "certificates"),
        ("[SSL: WRONG_VERSION_NUMBER] wrong version number", "certificates"),
        ("Name or service not known", "host's name"),
        ("ReadTimeout: read timed out", "in time"),
        ("ProxyError: Unable to connect to proxy", "NO_PROXY"),
        ("ConnectionError: Remote end closed connection without response", "scheme"),
    ],
)
def test_the_advice_fits_the_trouble(trouble: str, word: str) -> None:
    assert word in remedy(trouble)
    assert (remedy(trouble) == remedy("")) == (word == "otel-audit collector")
