"""Whatever bytes a request is made of, the answer is JSON and never a 500."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import unquote

from hypothesis import given, settings
from hypothesis import strategies as st

from otel_audit.repos.memory import InMemoryActivityLogRepo
from otel_audit.web import create_app
from otel_audit.web.examples import EXAMPLE_RECORDS
from otel_audit.web.parameters import SEARCH, STREAMS

LOG = InMemoryActivityLogRepo()
LOG.append_many(EXAMPLE_RECORDS)
APP = create_app(LOG)

escaped = st.binary(max_size=12).map(lambda raw: "".join(f"%{byte:02X}" for byte in raw))
written = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="?#"), max_size=12)
pieces = st.lists(escaped | written | st.sampled_from(["/", "alice", "Task/42"]), max_size=4).map("".join)
starts = st.sampled_from(["records", "records/", "entities/", "actors/", "owners/", "actions/", "count", "streams", ""])
names = st.sampled_from([parameter.name for parameter in (*SEARCH, *STREAMS)] + ["by"]) | written
queries = st.lists(st.tuples(names, pieces), max_size=3).map(lambda pairs: "&".join(f"{n}={v}" for n, v in pairs))


async def ask(path: str, query: str) -> tuple[int, bytes]:
    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [],
        "client": None,
        "server": ("127.0.0.1", 80),
    }
    await APP(scope, receive, send)
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent)


@settings(max_examples=300, deadline=None)
@given(starts, pieces, queries)
def test_any_path_and_query_is_answered_or_refused(start: str, rest: str, query: str) -> None:
    status, body = asyncio.run(ask(f"/v1/audit/{start}{rest}", query))
    assert status in (200, 400, 404)
    answered = json.loads(body)
    assert status == 200 or answered["status"] == status
