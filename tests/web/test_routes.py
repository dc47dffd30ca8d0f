"""What the routes answer, over a real server."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
import requests

from otel_audit.model.record import ActivityRecord, EntityRef
from otel_audit.model.record_json import record_from_json, record_to_json
from otel_audit.repos.memory import InMemoryActivityLogRepo
from otel_audit.web import create_app
from tests.web.serving import serving

STRANGE = [
    "a b",
    "a/b",
    "/",
    "//x/",
    "a?b=c&d",
    "a#b",
    "100%",
    "%2F",
    ".",
    "..",
    "../../count",
    "a+b",
    "line\n",
    "\nline",
    "tab\t\x00nul",
    "Größe",
    "日本語",
    "👩‍🚀",
    "é",
    "e\u0301",
    "019ab4f2-3c00-7000-8000-000000000002",
    "019AB4F2-3C00-7000-8000-0000000000FF",
    "x" * 512,
    "records",
]


def record(**fields: Any) -> ActivityRecord:
    return ActivityRecord.create(
        **{"actor_id": "a", "owner_id": "o", "action": "act", "entity_ref": EntityRef("Task", 1)} | fields
    )


@pytest.fixture(scope="module")
def log() -> InMemoryActivityLogRepo:
    return InMemoryActivityLogRepo()


@pytest.fixture(scope="module")
def at(log: InMemoryActivityLogRepo) -> Iterator[str]:
    with serving(create_app(log)) as url:
        yield url


def get(at: str, target: str, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
    """One request whose target no client library touches."""
    connection = http.client.HTTPConnection(urlsplit(at).netloc, timeout=10)
    try:
        connection.request(method, target)
        response = connection.getresponse()
        return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
    finally:
        connection.close()


def ids(body: bytes) -> list[str]:
    return [item["record_id"] for item in json.loads(body)["records"]]


@pytest.mark.parametrize("strange", STRANGE, ids=ascii)
def test_any_id_can_stand_in_a_path_when_percent_encoded(log: InMemoryActivityLogRepo, at: str, strange: str) -> None:
    stored = record(
        record_id=f"id {strange}"[:512] if len(strange) > 500 else f"{strange}",
        actor_id=strange,
        owner_id=strange,
        action=strange[:256],
        entity_ref=EntityRef(strange[:256], strange),
    )
    log.append(stored)
    name, short = quote(strange, safe=""), quote(strange[:256], safe="")
    wanted = [str(stored.record_id)]
    assert ids(get(at, f"/v1/audit/actors/{name}")[2]) == wanted
    assert ids(get(at, f"/v1/audit/owners/{name}")[2]) == wanted
    assert ids(get(at, f"/v1/audit/actions/{short}")[2]) == wanted
    assert ids(get(at, f"/v1/audit/entities/{short}/{name}")[2]) == wanted
    assert ids(get(at, f"/v1/audit/records?entity_type={short}&entity_id={name}")[2]) == wanted
    body = json.loads(get(at, f"/v1/audit/records/{quote(str(stored.record_id), safe='')}")[2])
    assert record_from_json(body) == stored


def test_an_encoded_slash_parts_entity_type_from_id_where_the_caller_meant_it(
    log: InMemoryActivityLogRepo, at: str
) -> None:
    left, right = record(entity_ref=EntityRef("p/q", "r")), record(entity_ref=EntityRef("p", "q/r"))
    log.append_many([left, right])
    assert ids(get(at, "/v1/audit/entities/p%2Fq/r")[2]) == [str(left.record_id)]
    assert ids(get(at, "/v1/audit/entities/p/q%2Fr")[2]) == [str(right.record_id)]
    assert ids(get(at, "/v1/audit/entities/p/q/r")[2]) == [str(right.record_id)]


def test_integers_and_floats_come_through_exactly(log: InMemoryActivityLogRepo, at: str) -> None:
    metadata = {"least": -(2**63), "most": 2**63 - 1, "float": 1e16, "zero": -0.0, "one": 1.0, "text": "\u2028\x7f<>&"}
    stored = record(metadata=metadata, changes={"n": [2**53 + 1, None]})
    log.append(stored)
    body = get(at, f"/v1/audit/records/{stored.record_id}")[2]
    assert b'"most":9223372036854775807' in body
    assert b'"float":1e+16' in body
    assert json.loads(body) == record_to_json(stored)
    assert repr(json.loads(body)["metadata"]) == repr(metadata)


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("/v1/audit/records?actr_id=x", "did you mean actor_id"),
        ("/v1/audit/records?Actor_id=x", "no such parameter"),
        ("/v1/audit/records?record_id=x", "no such parameter"),
        ("/v1/audit/records?actor_id=x&actor_id=y", "must be given once"),
        ("/v1/audit/records?actor_id=", "actor_id: must not be empty"),
        ("/v1/audit/records?actor_id", "actor_id: must not be empty"),
        ("/v1/audit/records?actor_id=" + "x" * 513, "at most 512"),
        ("/v1/audit/records?actor_id=%FF", "UTF-8"),
        ("/v1/audit/records?action=", "action: must"),
        ("/v1/audit/records?entity_id=1", "needs entity_type"),
        ("/v1/audit/records?limit=0", "limit"),
        ("/v1/audit/records?limit=10001", "limit"),
        ("/v1/audit/records?limit=-1", "limit"),
        ("/v1/audit/records?limit=1e2", "limit"),
        ("/v1/audit/records?limit=5.0", "limit"),
        ("/v1/audit/records?limit=", "limit"),
        ("/v1/audit/records?limit=%D9%A3", "limit"),
        ("/v1/audit/records?limit=" + "9" * 5000, "limit"),
        ("/v1/audit/records?order=ascending", "order"),
        ("/v1/audit/records?since=2026-11-24", "since: must be RFC 3339"),
        ("/v1/audit/records?since=2026-11-24T00:00:00", "since: must be RFC 3339"),
        ("/v1/audit/records?since=2026-11-24T00:00:00+01:00", "%2B"),
        ("/v1/audit/records?since=2026-02-30T00:00:00Z", "since"),
        ("/v1/audit/records?since=2026-01-01T00:00:00.1234567Z", "microseconds"),
        ("/v1/audit/records?since=2026-01-02T00:00:00Z&until=2026-01-01T00:00:00Z", "until"),
        ("/v1/audit/records?cursor=nonsense", "not a cursor"),
        ("/v1/audit/records?cursor=", "not a cursor"),
        ("/v1/audit/records?after=7", "after"),
        ("/v1/audit/records?after=:-2", "after"),
        ("/v1/audit/records?after=nosuchlog0000000:1", "after"),
        ("/v1/audit/records?after=:-1&order=asc", "after"),
        ("/v1/audit/records/x?limit=1", "no such parameter"),
        ("/v1/audit/records/", "empty name"),
        ("/v1/audit/records/" + "x" * 513, "at most 512"),
        ("/v1/audit/actors/%FF", "UTF-8"),
        ("/v1/audit/actors/x?actor_id=y", "no such parameter"),
        ("/v1/audit/entities//x", "empty name"),
        ("/v1/audit/entities/Task/", "empty name"),
        ("/v1/audit/entities/" + "x" * 257 + "/1", "at most 256"),
        ("/v1/audit/count?by=metadata", "field: must be one of"),
        ("/v1/audit/count?order=asc", "no such parameter"),
    ],
)
def test_a_mistake_is_a_400_problem_that_names_it(at: str, target: str, told: str) -> None:
    status, headers, body = get(at, target)
    problem = json.loads(body)
    assert (status, problem["status"], headers["content-type"]) == (400, 400, "application/problem+json")
    assert problem["type"].startswith("urn:otel-audit:problem:invalid-")
    assert told in problem["detail"]
    assert problem["diagnostics"]
    assert len(body) < 2_000


@pytest.mark.parametrize("path", ["", "/", "/nope", "/records2", "/count/x", "/entities", "/entities/Task", "/actors"])
@pytest.mark.parametrize("method", ["GET", "POST", "HEAD"])
def test_an_unknown_path_under_the_prefix_is_a_404_problem(at: str, path: str, method: str) -> None:
    status, headers, body = get(at, f"/v1/audit{path}", method)
    assert (status, headers["content-type"]) == (404, "application/problem+json")
    assert method == "HEAD" or json.loads(body)["type"] == "about:blank"


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PURGE"])
@pytest.mark.parametrize("path", ["/records", "/records/x", "/entities/Task/1", "/count"])
def test_another_method_than_get_is_a_405_problem_that_says_what_is_allowed(at: str, path: str, method: str) -> None:
    status, headers, body = get(at, f"/v1/audit{path}", method)
    assert (status, headers["allow"], json.loads(body)["status"]) == (405, "GET, HEAD", 405)


def test_head_answers_as_get_without_the_body(at: str) -> None:
    got, head = get(at, "/v1/audit/count"), get(at, "/v1/audit/count", "HEAD")
    assert (head[0], head[2]) == (200, b"")
    assert head[1]["content-length"] == got[1]["content-length"]


def test_answers_are_not_kept_and_not_guessed_at(at: str) -> None:
    for target in ("/v1/audit/records", "/v1/audit/records/nope", "/v1/audit/nope", "/v1/audit/count?x=1"):
        _, headers, _ = get(at, target)
        assert (headers["cache-control"], headers["x-content-type-options"]) == ("no-store", "nosniff")


def test_pages_stay_right_while_records_arrive(log: InMemoryActivityLogRepo, at: str) -> None:
    first = [record(owner_id="pages") for _ in range(25)]
    log.append_many(first)
    seen: list[str] = []
    target = "/v1/audit/records?owner_id=pages&limit=10"
    while True:
        page = json.loads(get(at, target)[2])
        seen += [item["record_id"] for item in page["records"]]
        log.append(record(owner_id="pages"))
        if page["next_cursor"] is None:
            break
        target = f"/v1/audit/records?limit=10&cursor={page['next_cursor']}"
    assert seen == [str(r.record_id) for r in reversed(first)]


def test_log_order_gives_late_records_last_and_goes_on_from_its_position() -> None:
    log = InMemoryActivityLogRepo()
    records = [record() for _ in range(5)]
    late = record(occurred_at=records[0].occurred_at.replace(year=2001))
    with serving(create_app(log)) as at:
        log.append_many(records)
        page = json.loads(get(at, "/v1/audit/records?after=:-1&limit=3")[2])
        assert [item["record_id"] for item in page["records"]] == [str(r.record_id) for r in records[:3]]
        assert page["next_cursor"] is None
        log.append(late)
        place = page["position"]
        page = json.loads(get(at, f"/v1/audit/records?after={place['log']}:{place['log_index']}")[2])
        assert [item["record_id"] for item in page["records"]] == [str(r.record_id) for r in [*records[3:], late]]
        place = page["position"]
        again = json.loads(get(at, f"/v1/audit/records?after={place['log']}:{place['log_index']}")[2])
        assert (again["records"], again["position"]) == ([], place)


@pytest.mark.parametrize("stream_id", ["", "x" * 513])
def test_a_stream_id_that_no_stream_can_have_is_refused(at: str, stream_id: str) -> None:
    status, _, body = get(at, f"/v1/audit/streams?stream_id={stream_id}")
    assert status == 400
    assert json.loads(body)["detail"] == f"stream_id: must have 1 to 512 characters, not {len(stream_id)}"


@pytest.mark.parametrize("asked", ["outcome=sucess", "actor_type=robot", "trace_id=ABC"])
def test_a_word_that_no_record_can_have_is_refused(at: str, asked: str) -> None:
    for path in ("records", "count"):
        status, _, body = get(at, f"/v1/audit/{path}?{asked}")
        assert status == 400
        assert json.loads(body)["detail"].startswith(f"{asked.partition('=')[0]}: must be")


def test_count_by_a_field_adds_up_and_has_null_for_nothing(log: InMemoryActivityLogRepo, at: str) -> None:
    log.append_many([record(request_id="counted", tenant_id=t) for t in ("x", None, "x")])
    body = json.loads(get(at, "/v1/audit/count?request_id=counted&by=tenant_id")[2])
    assert body == {
        "count": 3,
        "field": "tenant_id",
        "counts": [{"value": "x", "count": 2}, {"value": None, "count": 1}],
    }


def test_a_count_by_many_values_is_cut_and_tells_of_the_others(log: InMemoryActivityLogRepo, at: str) -> None:
    log.append_many([record(request_id="many", tenant_id=t) for t in "aaabbcde"])
    body = json.loads(get(at, "/v1/audit/count?request_id=many&by=tenant_id&limit=2")[2])
    assert body == {
        "count": 8,
        "field": "tenant_id",
        "counts": [{"value": "a", "count": 3}, {"value": "b", "count": 2}],
        "others": {"values": 3, "count": 3},
    }
    assert get(at, "/v1/audit/count?by=tenant_id&limit=100001")[0] == 400


def test_a_list_holds_the_newest_oldest_first(log: InMemoryActivityLogRepo, at: str) -> None:
    records = [record(actor_id="lister") for _ in range(4)]
    log.append_many(records)
    wanted = [str(r.record_id) for r in records[-2:]]
    assert ids(get(at, "/v1/audit/actors/lister?limit=2")[2]) == wanted
    assert ids(get(at, "/v1/audit/actors/lister?limit=2&order=desc")[2]) == wanted[::-1]


def test_requests_go_on_while_a_slow_query_runs() -> None:
    import threading

    asked, release = threading.Event(), threading.Event()

    class Slow(InMemoryActivityLogRepo):
        def get_by_id(self, record_id: Any) -> None:
            asked.set()
            release.wait(20)

    with serving(create_app(Slow())) as at:
        slow = threading.Thread(target=get, args=(at, "/v1/audit/records/x"))
        slow.start()
        assert asked.wait(10)
        assert requests.get(f"{at}/v1/audit/count", timeout=10).json() == {"count": 0}
        assert slow.is_alive()
        release.set()
        slow.join(10)


def test_an_empty_page_in_log_order_names_its_log(log: InMemoryActivityLogRepo, at: str) -> None:
    log.append(record())
    name = json.loads(get(at, "/v1/audit/records?after=:-1&limit=1")[2])["position"]["log"]
    empty = json.loads(get(at, "/v1/audit/records?after=:-1&actor_id=nobody-at-all")[2])
    assert (empty["records"], empty["position"]) == ([], {"log": name, "log_index": -1})
