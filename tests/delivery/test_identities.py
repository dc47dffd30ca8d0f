"""Nobody's records are sent with somebody else's credentials, and replaced credentials strand nothing."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from otel_audit import OTelActivityLogRepo
from otel_audit.delivery import backlog, spooled
from otel_audit.disk import Disk
from otel_audit.otlp.encode import encode_resource
from otel_audit.spool.destination import Destination, identity_of
from otel_audit.spool.format import Header, Kind, format_entry, parse_header
from otel_audit.spool.places import EXPIRED, KEY
from tests.delivery.processes import WAIT_S, append_all, killed, left_in
from tests.delivery.scripted_peer import Peer, quick, until


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture(autouse=True)
def said(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """Warnings about streams, as they were given."""
    found: list[dict[str, str]] = []
    monkeypatch.setattr(spooled, "_LOOK_ROUND_S", 0.02)
    monkeypatch.setattr(backlog, "_TRY_AGAIN_S", 0.02)
    monkeypatch.setattr(
        backlog, "report", lambda level, event, **values: found.append(values) if level == "warning" else None
    )
    return found


def opened(url: str, spool: Path, service: str, headers: dict[str, str], **settings: object) -> OTelActivityLogRepo:
    return OTelActivityLogRepo(
        url, resource={"service.name": service}, headers=headers, settings=quick(spool_dir=str(spool), **settings)
    )


def left_by(url: str, spool: Path, service: str, headers: dict[str, str], *names: str) -> None:
    killed(lambda: append_all(opened(url, spool, service, headers, batch_delay_s=3600), list(names)))


def token_of(peer: Peer, name: str) -> str | None:
    (seen,) = [seen for seen in peer.accepted if name in seen.ids]
    return seen.headers.get("authorization") or seen.headers.get("x-api-key")


@pytest.mark.parametrize("header", ["Authorization", "X-Api-Key"])
def test_what_one_application_left_is_not_sent_with_anothers_token(
    peer: Peer, spool: Path, said: list[dict[str, str]], header: str
) -> None:
    left_by(peer.url, spool, "shop", {header: "token of shop"}, "of-shop")
    with opened(peer.url, spool, "till", {header: "token of till"}) as log:
        append_all(log, ["of-till"])
        log.flush(WAIT_S)
        until(lambda: said)
    assert peer.delivered == ["of-till"]
    assert [values["why"] for values in said] == ["it was written by another application, with other credentials"]
    with opened(peer.url, spool, "shop", {header: "token of shop"}) as log:
        append_all(log, ["later"])
        until(lambda: len(left_in(spool)["streams"]) == 1)
    assert token_of(peer, "of-shop") == "token of shop"


def test_applications_that_send_with_one_token_deliver_for_each_other(peer: Peer, spool: Path) -> None:
    left_by(peer.url, spool, "shop", {"authorization": "one"}, "of-shop")
    with opened(peer.url, spool, "till", {"authorization": "one"}) as log:
        append_all(log, ["of-till"])
        until(lambda: len(peer.delivered) == 2)


def test_a_token_that_was_replaced_strands_nothing(peer: Peer, spool: Path) -> None:
    left_by(peer.url, spool, "shop", {"authorization": "old"}, "of-old")
    left_by(f"{peer.url}/in?token=old", spool, "shop", {}, "in-the-query")
    with opened(peer.url, spool, "shop", {"authorization": "new"}) as log:
        append_all(log, ["of-new"])
        until(lambda: "of-old" in peer.delivered)
    with opened(f"{peer.url}/in?token=new", spool, "shop", {}) as log:
        append_all(log, ["later"])
        until(lambda: "in-the-query" in peer.delivered)
    assert Counter(peer.delivered) == Counter(["of-old", "of-new", "in-the-query", "later"])
    assert token_of(peer, "of-old") == "new"


def test_an_application_without_a_name_of_its_own_is_not_taken_for_another_one_without() -> None:
    nameless = encode_resource({"service.name": "unknown_service:python"})
    destination = Destination("http://here", lambda: "mine", lambda: (nameless, ""))
    assert destination.refusal(Header("s", 1, "http://here", nameless, identity="theirs"))
    assert not destination.refusal(Header("s", 1, "http://here", nameless, identity="mine"))


def test_nothing_secret_is_on_the_disk(peer: Peer, spool: Path) -> None:
    url = f"{peer.url.replace('://', '://user:hunter2@')}/in?token=hunter2"
    left_by(url, spool, "shop", {"authorization": "Bearer hunter2", "cookie": "hunter2"}, "one")
    files = [path for path in spool.rglob("*") if path.is_file()]
    assert len([path for path in files if path.name != EXPIRED]) == 3  # the other one comes with the first look
    assert not [path for path in files if b"hunter2" in path.read_bytes()]
    assert (spool / KEY).stat().st_mode & 0o777 == 0o600


def test_a_spool_of_an_earlier_release_is_delivered_by_whoever_sends_to_its_endpoint() -> None:
    """Its headers know of no identity, and its endpoint may hold a query."""
    facts = {"format_version": 1, "stream_id": "s", "first": 1, "schema_url": "", "reason": "", "rejected": 0}
    encoded = json.dumps(facts | {"endpoint": "http://here/v1/logs?token=x"}).encode()
    header, _ = parse_header(format_entry(Kind.HEADER, 0, len(encoded).to_bytes(4, "little") + encoded))
    assert header.identity == ""
    assert not Destination("http://here/v1/logs", lambda: "mine").refusal(header)
    assert "http://here/v1/logs" in Destination("http://there/v1/logs", lambda: "mine").refusal(header)


def test_an_identity_is_the_same_for_all_processes_of_a_spool_and_another_one_elsewhere(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    first = identity_of(b"secret", tmp_path / "a", Disk())
    assert identity_of(b"secret", tmp_path / "a", Disk()) == first
    assert identity_of(b"other", tmp_path / "a", Disk()) != first
    assert identity_of(b"secret", tmp_path / "b", Disk()) != first
    (tmp_path / "a" / KEY).write_bytes(b"cut")
    assert identity_of(b"secret", tmp_path / "a", Disk()) != first
    assert [path.name for path in (tmp_path / "a").iterdir()] == [KEY]
