"""A fixed piece of work: it ends when all of it is answered for or nobody answers, and what is refused is parked."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_audit.config import Settings
from otel_audit.delivery.backlog import Backlog
from otel_audit.delivery.endpoint import Endpoint, resolve_endpoint
from otel_audit.delivery.errand import Tally, Work, left_behind, run_errand
from otel_audit.delivery.parcel import Parcel
from otel_audit.delivery.resend import Copies, lost
from otel_audit.errors import SpoolUnreadableError, UnwritableError
from otel_audit.model.printing import public_url
from otel_audit.model.ranges import Ranges, merged
from otel_audit.model.streams import StreamReport
from otel_audit.spool.survey import StreamSurvey, survey
from tests.delivery.scripted_peer import Peer, Reply, Seen, partial, quick
from tests.spool.filled import ENDPOINT, FilledSpool, numbers_in

SMALL = 600
"""A file of this size holds two records."""


@pytest.fixture
def spool(tmp_path: Path) -> FilledSpool:
    return FilledSpool(tmp_path / "spool")


def run(work: Work, spool: FilledSpool, peer: Peer, patience_s: float = 5.0, settings: Settings | None = None) -> Tally:
    endpoint = resolve_endpoint({}, argument=peer.url)
    return run_errand(work, spool.root, endpoint, settings or quick(), patience_s=patience_s)


def sent(peer: Peer) -> list[tuple[str, str, int]]:
    """(service, stream, number) of each record, as it came."""
    return [
        (seen.service, record["audit.sequence.stream_id"], record["audit.sequence.number"])
        for seen in peer.accepted
        for record in seen.records
    ]


def behind(spool: FilledSpool, target: Endpoint | None = None) -> Backlog:
    work = left_behind(spool.pools, spool.disk, target)
    work.look_round(frozenset())
    return work


def test_what_dead_processes_left_is_delivered_and_told_of_and_nothing_stays(spool: FilledSpool, peer: Peer) -> None:
    spool.stream("s1", segment_bytes=SMALL).write(5).leave()
    spool.stream("s2", service="till").write(2).end().leave()
    living = spool.stream("s3").write(1)
    tally = run(behind(spool), spool, peer)
    assert tally == Tally(7, 0, (), "forwarded", "")
    assert sent(peer) == [*(("shop", "s1", n) for n in range(1, 6)), ("till", "s2", 1), ("till", "s2", 2)]
    assert peer.told == [("s1", "recovered", 5), ("s2", "closed", 2)]
    assert [path.name for path in (spool.root / "streams").iterdir()] == ["s3"]
    assert living.own.last == 1


def test_without_an_answer_it_ends_when_patience_does_and_the_rest_stays(spool: FilledSpool, peer: Peer) -> None:
    """Patience begins anew with each answer that settles something."""
    peer.otherwise = lambda seen: Reply(200 if len(peer.posts) == 1 else 503)
    spool.stream("s1").write(5).leave()
    begin = time.monotonic()
    tally = run(behind(spool), spool, peer, 0.3, quick(batch_max_records=2))
    assert 0.2 < time.monotonic() - begin < 5
    assert (tally.delivered, tally.trouble) == (2, "HTTP 503")
    (stream,) = survey(spool.root).streams
    assert (stream.state, stream.delivered, stream.waiting_records) == ("left", 2, 3)


@pytest.mark.slow
def test_a_slow_peer_is_not_given_up_as_long_as_it_answers(spool: FilledSpool, peer: Peer) -> None:
    """All of it takes longer than patience lasts, and a pause comes at the end."""

    def slowly(seen: Seen) -> Reply:
        threading.Event().wait(0.25)
        return Reply(503 if len(peer.posts) == 5 else 200)

    peer.otherwise = slowly
    spool.stream("s1").write(5).leave()
    tally = run(behind(spool), spool, peer, 0.8, quick(batch_max_records=1))
    assert (tally.delivered, tally.trouble) == (5, "")


def test_a_pause_that_the_peer_asks_for_beyond_all_patience_is_not_waited_for(spool: FilledSpool, peer: Peer) -> None:
    peer.otherwise = lambda seen: Reply(503, headers={"retry-after": "3600"})
    spool.stream("s1").write(1).leave()
    begin = time.monotonic()
    assert run(behind(spool), spool, peer, 10.0).trouble == "HTTP 503"
    assert time.monotonic() - begin < 5


def test_what_is_refused_on_the_way_is_parked_and_the_rest_goes_on(spool: FilledSpool, peer: Peer) -> None:
    peer.script = [Reply(), Reply(401, b"no")]
    spool.stream("s1").write(6).leave()
    tally = run(behind(spool), spool, peer, settings=quick(batch_max_records=2))
    assert (tally.delivered, tally.refused, tally.answers) == (4, 2, ("HTTP 401 (no)",))
    ((_, path),) = spool.pools.files("parked")
    assert numbers_in(path) == [3, 4]


def test_parked_records_are_sent_again_and_stay_parked_when_refused_again(spool: FilledSpool, peer: Peer) -> None:
    stream = spool.stream("s1").write(6)
    paths = [stream.park(2, "HTTP 403"), stream.park(2, "HTTP 403"), stream.park(2, "HTTP 403")]
    peer.script = [Reply(), Reply(401), Reply(200, partial(1, "bad"))]
    work = left_behind(spool.pools, spool.disk, None)
    assert work.retry(paths) == 6
    tally = run(work, spool, peer)
    assert (tally.delivered, tally.refused) == (3, 3)
    assert tally.answers == ("HTTP 401", "partial success, 1 rejected: bad")
    assert [path.exists() for path in paths] == [False, True, True]


def test_exactly_the_numbers_asked_for_are_sent_each_under_its_own_resource(spool: FilledSpool, peer: Peer) -> None:
    """From kept copies, from the newest file of a stream that goes on, and from a damaged file."""
    spool.stream("s1", segment_bytes=SMALL).write(7).finish()
    going_on = spool.stream("s2", service="till").write(4).deliver(4).write(2)
    damaged = spool.stream("s3").write(2)
    (path,) = damaged.folder.glob("*.spool")
    path.rename(spool.root / "aside" / f"s3.{path.name}")
    copies = Copies(spool.pools, {"s1": ((2, 3), (6, 6)), "s2": ((4, 4),), "s3": ((1, 1),)})
    tally = run(copies, spool, peer, settings=quick(batch_max_records=2))
    assert tally.delivered == 5
    assert sent(peer) == [("shop", "s1", 2), ("shop", "s1", 3), ("shop", "s1", 6), ("till", "s2", 4), ("shop", "s3", 1)]
    assert (copies.absent, copies.parked, peer.told) == ({}, {}, [])
    assert going_on.own.last == 6


def test_a_number_that_was_given_again_is_sent_as_it_was_promised(spool: FilledSpool, peer: Peer) -> None:
    """The earlier file holds another record under it, whose append had failed."""
    stream = spool.stream("s1").write(3)
    (path,) = stream.folder.glob("*.spool")
    void = spool.stream("x").write(4)
    (source,) = void.folder.glob("*.spool")
    source.rename(spool.root / "sent" / "s1.00000001-0000000000000001.spool")
    path.rename(spool.root / "sent" / "s1.00000002-0000000000000003.spool")
    run(Copies(spool.pools, {"s1": ((3, 3),)}), spool, peer)
    assert peer.delivered == ["s1-3"]


def test_what_is_parked_or_gone_is_named_and_not_sent(spool: FilledSpool, peer: Peer) -> None:
    stream = spool.stream("s1").write(4)
    stream.park(2, "HTTP 403")
    stream.finish()
    copies = Copies(spool.pools, {"s1": ((1, 3), (9, 9)), "never": ((1, 2),)})
    tally = run(copies, spool, peer)
    assert (tally.delivered, sent(peer)) == (1, [("shop", "s1", 3)])
    assert copies.parked == {"s1": ((1, 2),)}
    assert copies.absent == {"s1": ((9, 9),), "never": ((1, 2),)}


def test_a_copy_that_is_refused_is_parked_so_that_it_does_not_expire(spool: FilledSpool, peer: Peer) -> None:
    peer.otherwise = lambda seen: Reply(413 if len(seen.ids) > 1 or seen.ids == ["s1-2"] else 200)
    spool.stream("s1").write(3).finish()
    tally = run(Copies(spool.pools, {"s1": ((1, 3),)}), spool, peer)
    assert (tally.delivered, tally.refused) == (2, 1)
    ((_, path),) = spool.pools.files("parked")
    assert numbers_in(path) == [2]


def test_copies_that_expire_meanwhile_are_absent(spool: FilledSpool, peer: Peer) -> None:
    spool.stream("s1", segment_bytes=SMALL).write(4).finish()

    def expire(seen: Seen) -> Reply:
        spool.pools.expire(keep_bytes=0)
        return Reply()

    peer.otherwise = expire
    copies = Copies(spool.pools, {"s1": ((1, 4),)})
    assert run(copies, spool, peer).delivered == 2
    assert copies.absent == {"s1": ((3, 4),)}


@pytest.mark.parametrize(("reply", "counted"), [(Reply(), (2, 0)), (Reply(401), (0, 2))])
def test_an_answer_that_the_disk_does_not_take_counts_once_when_it_comes_again(
    spool: FilledSpool, peer: Peer, reply: Reply, counted: tuple[int, int]
) -> None:
    class OnceBroken(Copies):
        broken = True

        def end_part(self, parcel: Parcel, stop: int) -> None:
            if self.broken:
                self.broken = False
                raise UnwritableError("no space left")

    peer.otherwise = lambda seen: reply
    spool.stream("s1").write(2).finish()
    tally = run(OnceBroken(spool.pools, {"s1": ((1, 2),)}), spool, peer)
    assert (tally.delivered, tally.refused) == counted
    assert len(peer.posts) == 2


def test_a_disk_that_gives_trouble_is_an_error_of_ours(spool: FilledSpool, peer: Peer) -> None:
    class Broken(Copies):
        def next_parcel(self, max_records: int, max_bytes: int) -> None:
            raise OSError(5, "Input/output error")

    with pytest.raises(SpoolUnreadableError, match="Input/output error"):
        run(Broken(spool.pools, {}), spool, peer)


@given(
    st.sets(st.integers(1, 12)),
    st.integers(0, 12),
    st.integers(1, 4),
)
def test_every_number_asked_for_is_sent_once_or_named(
    tmp_path_factory: pytest.TempPathFactory, wanted: set[int], written: int, batch: int
) -> None:
    spool = FilledSpool(tmp_path_factory.mktemp("spool"))
    spool.stream("s1", segment_bytes=SMALL).write(written).finish() if written else None
    ranges: Ranges = merged((number, number) for number in wanted)
    copies = Copies(spool.pools, {"s1": ranges})
    found = []
    while (parcel := copies.next_parcel(batch, 1 << 20)) is not None:
        assert len(parcel.records) <= batch
        found += parcel.source[1]
    assert found == sorted(number for number in wanted if number <= written)
    assert copies.absent.get("s1", ()) == merged((number, number) for number in wanted if number > written)


def stream(stream_id: str, delivered: int, endpoint: str = ENDPOINT) -> StreamSurvey:
    return StreamSurvey(
        stream_id=stream_id, service_name="", endpoint=endpoint, state="living", pid=None, last_number=99,
        delivered=delivered, waiting_records=0, waiting_bytes=0, oldest_ns=None, parked=0, closed=False, damaged=False,
    )  # fmt: skip


def report(stream_id: str, emitted: int, awaited: int, *missing: tuple[int, int]) -> StreamReport:
    return replace(StreamReport.unknown(stream_id), emitted=emitted, awaited=awaited, missing=missing)


def test_lost_is_what_a_peer_took_and_the_archive_lacks() -> None:
    """Also at the end, where the archive waits for it still; but not what waits in the spool."""
    streams = [stream("gap", 9), stream("tail", 7), stream("whole", 5), stream("none", 0)]
    reports = [report("gap", 9, 0, (3, 4)), report("tail", 8, 4), report("whole", 9, 4)]
    assert lost(streams, reports, ENDPOINT) == ({"gap": ((3, 4),), "tail": ((5, 7),)}, [])


def test_a_stream_that_the_archive_never_heard_of_is_lost_if_it_was_sent_there() -> None:
    streams = [stream("a", 2), stream("b", 2, "http://other/v1/logs"), stream("c", 2, "")]
    assert lost(streams, [], ENDPOINT) == ({"a": ((1, 2),), "c": ((1, 2),)}, ["b"])
    assert lost(streams, [], None)[0] == {"a": ((1, 2),), "b": ((1, 2),), "c": ((1, 2),)}
    assert lost(streams, [report("b", 2, 0, (2, 2))], ENDPOINT)[0]["b"] == ((2, 2),)


def test_only_streams_for_the_endpoint_are_taken_over_unless_all_are(spool: FilledSpool, peer: Peer) -> None:
    here = resolve_endpoint({}, argument=peer.url)
    spool.stream("s1", endpoint=public_url(here.url)).write(1).leave()
    spool.stream("s2").write(1).leave()
    assert run(behind(spool, here), spool, peer).delivered == 1
    assert [path.name for path in (spool.root / "streams").iterdir()] == ["s2"]
    assert run(behind(spool), spool, peer).delivered == 1
