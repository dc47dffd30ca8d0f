"""Refused records are sent again unasked where the cause can pass: soon after a success, slowly without one."""

from __future__ import annotations

from pathlib import Path

import pytest

from otel_audit.delivery.backlog import Backlog
from otel_audit.delivery.second_tries import SecondTries
from otel_audit.delivery.verdict import can_pass
from otel_audit.disk import Disk
from otel_audit.errors import UndeliveredError
from otel_audit.spool.format import Header
from tests.delivery.processes import open_log, record
from tests.delivery.scripted_peer import Peer, Reply, until
from tests.spool.plain import new_spool

WAIT_S = 20.0
ONE, OTHER = Path("one"), Path("other")


class Clock:
    now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tries(clock: Clock) -> SecondTries:
    return SecondTries(clock)


@pytest.mark.parametrize(
    ("reason", "passes"),
    [
        ("HTTP 401 (token expired)", True),
        ("HTTP 403", True),
        ("HTTP 404", True),
        ("HTTP 302; redirects are not followed", True),
        ("HTTP 500", True),
        ("HTTP 400 (HTTP 401)", False),
        ("HTTP 413", False),
        ("HTTP 422", False),
        ("partial success, 1 rejected", False),
        ("", False),
    ],
)
def test_what_is_about_who_asks_or_where_can_pass_and_what_is_about_the_records_cannot(
    reason: str, passes: bool
) -> None:
    assert can_pass(reason) is passes


def test_after_a_success_all_are_due_and_each_refusal_doubles_the_wait(clock: Clock, tries: SecondTries) -> None:
    tries.refused(ONE, "HTTP 401")
    tries.refused(OTHER, "HTTP 403")
    clock.now_s += 5
    assert tries.due() == []
    tries.succeeded()
    assert tries.due() == [ONE, OTHER]
    tries.refused(ONE, "HTTP 401")
    clock.now_s += 1
    tries.succeeded()
    clock.now_s += 8
    assert tries.due() == [OTHER]
    clock.now_s += 1
    assert tries.due() == [ONE, OTHER]


def test_without_a_success_one_is_tried_at_a_slow_pace(clock: Clock, tries: SecondTries) -> None:
    tries.refused(ONE, "HTTP 401")
    tries.refused(OTHER, "HTTP 401")
    clock.now_s += 59
    assert tries.due() == []
    clock.now_s += 1
    assert tries.due() == [ONE]
    clock.now_s += 119
    assert tries.due() == []
    clock.now_s += 1
    assert tries.due() == [ONE]


def test_what_cannot_pass_is_never_due(clock: Clock, tries: SecondTries) -> None:
    tries.refused(ONE, "HTTP 400")
    tries.refused(OTHER, "HTTP 401")
    tries.refused(OTHER, "HTTP 400")
    tries.succeeded()
    clock.now_s += 1e6
    assert tries.due() == []


def test_records_refused_for_a_token_are_delivered_after_the_next_success(
    peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("otel_audit.delivery.second_tries._SOON_S", 0.0)
    monkeypatch.setattr("otel_audit.delivery.spooled._LOOK_ROUND_S", 0.02)
    with open_log(peer.url) as log:
        peer.otherwise = lambda seen: Reply(401, b"token expired")
        log.append(record("first"))
        with pytest.raises(UndeliveredError, match="token expired"):
            log.flush(WAIT_S)
        peer.otherwise = lambda seen: Reply()
        log.append(record("second"))
        until(lambda: not log.refusals)
        log.flush(WAIT_S)
        assert peer.delivered == ["second", "first"]
        assert (log.stats.rejected, log.stats.refused) == (1, 0)


def test_what_a_process_that_is_gone_had_parked_is_tried_by_the_next_one_of_the_same_service(
    peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("otel_audit.delivery.second_tries._SOON_S", 0.0)
    monkeypatch.setattr("otel_audit.delivery.spooled._LOOK_ROUND_S", 0.02)
    peer.otherwise = lambda seen: Reply(401)
    for service in ("till", "shop"):
        log = open_log(peer.url, service)
        log.append(record(service))
        with pytest.raises(UndeliveredError):
            log.close()
    peer.otherwise = lambda seen: Reply()
    with open_log(peer.url, "shop") as log:
        log.append(record("third"))
        until(lambda: "shop" in peer.delivered)
        log.flush(WAIT_S)
        assert sorted(peer.delivered) == ["shop", "third"]


def test_more_parked_files_than_are_queued_at_once_are_all_sent_without_another_round(
    tmp_path: Path, clock: Clock, tries: SecondTries, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("otel_audit.delivery.second_tries._AT_ONCE", 3)
    pools = new_spool(tmp_path / "spool")
    for number in range(1, 21):
        pools.park(Header("s1", number, "http://here", b""), [(number, b"r%d" % number)], "HTTP 401", 1)
    backlog = Backlog(pools, Disk(), None, lambda *told: b"", lambda: (b"", ""), tries)
    backlog.look_round(frozenset())
    assert not backlog.has_work
    clock.now_s += 60
    tries.succeeded()
    backlog.look_round(frozenset())
    sent = []
    while (parcel := backlog.next_parcel(10, 1000)) is not None:
        sent += parcel.records
        backlog.end_part(parcel, 1)
    assert sorted(sent) == sorted(b"r%d" % number for number in range(1, 21))
    assert (pools.parked().names, backlog.has_work, backlog.awaited) == (frozenset(), False, 0)


def test_a_file_that_cannot_be_read_does_not_keep_the_backlog_at_work(
    tmp_path: Path, clock: Clock, tries: SecondTries
) -> None:
    pools = new_spool(tmp_path / "spool")
    path = pools.park(Header("s1", 1, "http://here", b""), [(1, b"r1")], "HTTP 401", 1)
    backlog = Backlog(pools, Disk(), None, lambda *told: b"", lambda: (b"", ""), tries)
    backlog.look_round(frozenset())
    path.write_bytes(b"rubbish")
    tries.succeeded()
    clock.now_s += 60
    backlog.look_round(frozenset())
    assert (backlog.next_parcel(10, 1000), backlog.has_work) == (None, False)
    assert path.exists()
