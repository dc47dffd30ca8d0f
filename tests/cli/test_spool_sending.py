"""`otel-audit spool deliver`, `retry` and `resend`: what is left, refused or lost is sent, and the exit code says
whether anything is left."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from otel_audit import ActivityRecord, EntityRef, OTelActivityLogRepo
from otel_audit.errors import MissingNumbersError, PeerRefusedError, QueryError, StillSpooledError, UndeliveredError
from tests.cli.conftest import Done, Invoke
from tests.delivery.scripted_peer import Peer, Reply, quick
from tests.query.folder import write_notes, write_rows
from tests.spool.filled import ENDPOINT, FilledSpool

USAGE = 2


@pytest.fixture
def spool(tmp_path: Path) -> FilledSpool:
    return FilledSpool(tmp_path / "spool")


@pytest.fixture
def peer() -> Iterator[Peer]:
    running = Peer()
    yield running
    running.stop()


class Run:
    """Runs a command on a spool, towards a peer, with short pauses."""

    def __init__(self, invoke: Invoke, spool: FilledSpool, peer: Peer) -> None:
        self._invoke, self._spool, self._peer = invoke, spool, peer

    def __call__(self, command: str, *words: str) -> Done:
        quick = {"OTEL_AUDIT_RETRY_INITIAL_S": "0.01", "OTEL_AUDIT_RETRY_MAX_S": "0.02"}
        fixed = ("--spool-dir", str(self._spool.root), "--endpoint", self._peer.url)
        return self._invoke("spool", command, *fixed, *words, env=quick)


@pytest.fixture
def run(invoke: Invoke, spool: FilledSpool, peer: Peer) -> Run:
    return Run(invoke, spool, peer)


@pytest.fixture
def here(peer: Peer) -> str:
    return f"{peer.url}/v1/logs"


def row(done: Done) -> dict[str, Any]:
    (line,) = done.out.splitlines()
    values: dict[str, Any] = json.loads(line)
    return values


# --- deliver ---


def test_what_is_left_is_delivered_and_the_exit_code_says_that_nothing_is(
    run: Run, spool: FilledSpool, peer: Peer, here: str
) -> None:
    spool.stream("s1", endpoint=here).write(3).leave()
    done = run("deliver")
    assert (done.code, row(done)) == (0, {"delivered": 3, "refused": 0, "state": "forwarded"})
    assert peer.delivered == ["s1-1", "s1-2", "s1-3"]
    assert run("deliver", "--format", "table").out == "0 records delivered\n"


def test_records_for_another_endpoint_are_left_unless_told(run: Run, spool: FilledSpool, peer: Peer, here: str) -> None:
    spool.stream("s1", endpoint=here).write(1).leave()
    spool.stream("s2").write(2).leave()
    done = run("deliver")
    assert (done.code, peer.delivered) == (StillSpooledError.exit_code, ["s1-1"])
    assert f"2 record(s) left in {spool.root}: meant for {ENDPOINT}; --any-endpoint sends them too" in done.err
    assert run("deliver", "--any-endpoint").code == 0
    assert peer.delivered == ["s1-1", "s2-1", "s2-2"]


def test_what_living_processes_hold_is_theirs(run: Run, spool: FilledSpool, peer: Peer, here: str) -> None:
    spool.stream("s1", endpoint=here).write(3)
    assert (run("deliver").code, peer.delivered) == (0, [])


def test_without_an_answer_it_gives_up_and_says_what_is_left_and_why(
    run: Run, spool: FilledSpool, peer: Peer, here: str
) -> None:
    spool.stream("s1", endpoint=here).write(3).leave()
    peer.otherwise = lambda seen: Reply(503)
    done = run("deliver", "--timeout", "0.2")
    assert done.code == StillSpooledError.exit_code
    assert f"3 record(s) left in {spool.root}: HTTP 503" in done.err
    peer.otherwise = lambda seen: Reply()
    assert (run("deliver").code, peer.delivered) == (0, ["s1-1", "s1-2", "s1-3"])


def test_what_is_refused_meanwhile_is_parked_and_not_called_delivered(
    run: Run, spool: FilledSpool, peer: Peer, here: str
) -> None:
    spool.stream("s1", endpoint=here).write(3).leave()
    peer.script = [Reply(401, b"who?")]
    done = run("deliver", "--format", "table")
    assert (done.code, done.out) == (PeerRefusedError.exit_code, "0 records delivered; 3 refused and parked\n")
    assert "3 record(s) refused and parked: HTTP 401 (who?)" in done.err
    assert len(spool.pools.files("parked")) == 1


# --- retry ---


def test_parked_records_are_sent_to_the_endpoint_that_refused_them_and_it_is_said(
    invoke: Invoke, spool: FilledSpool, peer: Peer, here: str
) -> None:
    """Whatever endpoint is in force; also those of a living stream."""
    stream = spool.stream("s1", endpoint=here).write(5)
    stream.park(2, "HTTP 401")
    stream.park(2, "HTTP 401")
    elsewhere = Peer()
    try:
        env = {"OTEL_AUDIT_ENDPOINT": elsewhere.url}
        done = invoke("spool", "retry", "--spool-dir", str(spool.root), env=env)
        assert (done.code, row(done)["delivered"]) == (0, 4)
        assert f"sending to {here}" in done.err
        assert (peer.delivered, spool.pools.files("parked")) == (["s1-1", "s1-2", "s1-3", "s1-4"], [])
        assert elsewhere.seen == []
        assert row(invoke("spool", "retry", "--spool-dir", str(spool.root), env=env))["delivered"] == 0
    finally:
        elsewhere.stop()


def test_another_endpoint_needs_the_word_for_it(run: Run, spool: FilledSpool, peer: Peer, here: str) -> None:
    spool.stream("s1", endpoint=here).write(1).park(1, "HTTP 401")
    spool.stream("s2").write(2).park(2, "HTTP 401")
    done = run("retry")
    assert (done.code, peer.delivered) == (StillSpooledError.exit_code, ["s1-1"])
    assert f"2 record(s) parked in {spool.root}: meant for {ENDPOINT}; --any-endpoint sends them too" in done.err
    assert run("retry", "--any-endpoint").code == 0
    assert peer.delivered == ["s1-1", "s2-1", "s2-2"]


def test_what_is_refused_again_stays_parked(run: Run, spool: FilledSpool, peer: Peer, here: str) -> None:
    peer.script = [Reply(401)]
    stream = spool.stream("s1", endpoint=here).write(4)
    path = stream.park(2, "HTTP 404")
    stream.park(2, "HTTP 404")
    done = run("retry")
    assert (done.code, row(done)) == (PeerRefusedError.exit_code, {"delivered": 2, "refused": 2, "state": "forwarded"})
    assert [path for _, path in spool.pools.files("parked")] == [path]


def test_an_application_that_runs_on_is_clean_again_after_a_retry_from_outside(
    run: Run, spool: FilledSpool, peer: Peer
) -> None:
    peer.script = [Reply(403)]
    with OTelActivityLogRepo(peer.url, spool_dir=spool.root, settings=quick()) as log:
        log.append(
            ActivityRecord.create(actor_id="a", owner_id="o", action="x", entity_ref=EntityRef("T", 1), record_id="r")
        )
        with pytest.raises(UndeliveredError):
            log.flush(15)
        assert (run("retry").code, peer.delivered) == (0, ["r"])
        log.flush(15)
        assert (log.stats.refused, log.stats.rejected) == (0, 1)


def test_one_stream_alone_can_be_retried(run: Run, spool: FilledSpool, peer: Peer, here: str) -> None:
    for name in ("s1", "t1"):
        spool.stream(name, endpoint=here).write(1).park(1, "HTTP 404")
    assert run("retry", "--stream", "t").code == 0
    assert peer.delivered == ["t1-1"]
    assert run("retry", "--stream", "x").code == QueryError.exit_code


def test_without_an_answer_they_stay_parked(run: Run, spool: FilledSpool, peer: Peer, here: str) -> None:
    peer.otherwise = lambda seen: Reply(503)
    spool.stream("s1", endpoint=here).write(2).park(2, "HTTP 404")
    done = run("retry", "--timeout", "0.2")
    assert done.code == StillSpooledError.exit_code
    assert f"2 record(s) of {spool.root} not answered for: HTTP 503" in done.err
    assert len(spool.pools.files("parked")) == 1


def test_a_parked_file_that_cannot_be_read_is_no_success(run: Run, spool: FilledSpool, peer: Peer, here: str) -> None:
    path = spool.stream("s1", endpoint=here).write(2).park(2, "HTTP 404")
    path.write_bytes(b"rubbish" + path.read_bytes()[:20])
    done = run("retry")
    assert done.code == StillSpooledError.exit_code
    assert f"1 parked file(s) could not be read, the first of them {path}" in done.err
    assert path.exists()


# --- resend ---


def archive(root: Path, streams: dict[str, list[int]]) -> Path:
    """A data folder with these numbers."""
    rows = [(name, number) for name, numbers in streams.items() for number in numbers]
    fixed = {"occurred_at": 1, "actor_id": "a", "action": "x", "service_name": "shop"}
    numbered = [{"record_id": f"{n}-{i}", "stream_id": n, "stream_number": i, **fixed} for n, i in rows]
    write_rows(root, 0, numbered)
    return root


def test_exactly_what_an_archive_misses_is_sent_again(
    run: Run, spool: FilledSpool, peer: Peer, here: str, tmp_path: Path
) -> None:
    """A gap, the end of a stream that goes on, and a stream of which nothing arrived."""
    spool.stream("s1").write(6).finish()
    spool.stream("s2").write(4).deliver(3)
    spool.stream("s3", endpoint=here).write(2).finish()
    spool.stream("s4").write(2).finish()
    data = archive(tmp_path / "data", {"s1": [1, 2, 5, 6], "s2": [1], "s4": [1, 2]})
    write_notes(
        data, 0, [{"stream_id": "s2", "kind": "open", "first_number": None, "last_number": 4, "recorded_at": 1}]
    )
    done = run("resend", "--missing", "--data", str(data))
    assert (done.code, done.err) == (0, "")
    assert row(done) == {"wanted": 6, "delivered": 6, "refused": 0, "state": "forwarded"}
    assert sorted(peer.delivered) == ["s1-3", "s1-4", "s2-2", "s2-3", "s3-1", "s3-2"]


def test_a_stream_unknown_to_the_archive_that_went_elsewhere_is_named_and_not_sent(
    run: Run, spool: FilledSpool, peer: Peer, here: str, tmp_path: Path
) -> None:
    spool.stream("s1").write(2).finish()
    data = archive(tmp_path / "data", {"other": [1]})
    done = run("resend", "--missing", "--data", str(data))
    assert (done.code, peer.delivered) == (0, [])
    assert f"sent to another endpoint than {here}: 1 stream(s)" in done.err
    assert run("resend", "--missing", "--data", str(data), "--any-endpoint").code == 0
    assert peer.delivered == ["s1-1", "s1-2"]


def test_what_is_missing_and_not_here_is_named_and_an_alarm(
    run: Run, spool: FilledSpool, peer: Peer, tmp_path: Path
) -> None:
    stream = spool.stream("s1", segment_bytes=600).write(8)
    stream.park(2, "HTTP 403")
    stream.finish()
    spool.pools.files("sent")[1][1].unlink()
    data = archive(tmp_path / "data", {"s1": [8]})
    done = run("resend", "--missing", "--data", str(data))
    assert (done.code, peer.delivered) == (MissingNumbersError.exit_code, ["s1-5", "s1-6", "s1-7"])
    assert "s1: 1-2 parked, and not sent: `otel-audit spool retry` sends them" in done.err
    assert "s1: 3-4 not in this spool" in done.err
    assert f"2 of the missing records are not in {spool.root}, or not any more" in done.err


def test_named_numbers_are_sent_again(run: Run, spool: FilledSpool, peer: Peer) -> None:
    spool.stream("s1").write(6).finish()
    spool.stream("s2").write(1).finish()
    for words, found in (
        (("--from", "2", "--to", "3"), ["s1-2", "s1-3"]),
        (("--from", "5"), ["s1-5", "s1-6"]),
        (("--to", "1"), ["s1-1"]),
        ((), [f"s1-{number}" for number in range(1, 7)]),
    ):
        peer.seen.clear()
        assert run("resend", "--stream", "s1", *words).code == 0
        assert peer.delivered == found


def test_numbers_that_are_not_there_are_named_and_none_at_all_is_an_error(
    run: Run, spool: FilledSpool, peer: Peer
) -> None:
    spool.stream("s1").write(3).finish()
    some = run("resend", "--stream", "s1", "--from", "3", "--to", "5")
    assert (some.code, peer.delivered) == (0, ["s1-3"])
    assert "s1: 4-5 not in this spool" in some.err
    none = run("resend", "--stream", "s1", "--from", "4", "--to", "4")
    assert none.code == QueryError.exit_code
    assert f"none of the records named is in {spool.root}" in none.err


def test_an_ambiguous_or_turned_round_choice_is_an_error(run: Run, spool: FilledSpool) -> None:
    spool.stream("s1").write(1)
    spool.stream("s2").write(1)
    assert "2 streams in the spool begin so" in run("resend", "--stream", "s").err
    assert "--from 4 is behind the last number, 1" in run("resend", "--stream", "s1", "--from", "4").err


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--from", "1"),
        ("--missing", "--from", "1"),
        ("--stream", "s1", "--data", "x"),
        ("--missing", "--url", "x", "--data", "y"),
    ],
)
def test_flags_that_do_not_go_together_are_refused(run: Run, words: tuple[str, ...]) -> None:
    assert run("resend", *words).code == USAGE


def test_a_resend_without_an_answer_says_how_many_are_left(run: Run, spool: FilledSpool, peer: Peer) -> None:
    peer.otherwise = lambda seen: Reply(503)
    spool.stream("s1").write(3).finish()
    done = run("resend", "--stream", "s1", "--timeout", "0.2")
    assert done.code == StillSpooledError.exit_code
    assert f"3 record(s) of {spool.root} not answered for: HTTP 503" in done.err
