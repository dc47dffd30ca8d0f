"""What a person asks of a running collector: `POST /admin/seal`, `/admin/quarantine/<sha256>/release` and `/drop`,
`/admin/quarantine/release` and `/drop` (of the hashes in the body, one a line), `/admin/streams/settle`.

The collector owns its data folder, so the command line comes here for what changes it. Only this machine may ask. A
loopback address alone proves too little: a proxy on this machine asks for others, and says so in a header; a web page
can send a POST to 127.0.0.1, and its browser says so in another.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any, Literal, cast
from urllib.parse import parse_qsl

from otel_audit.collector.answers import Answer, Dialect, Scope, json_answer, refusal
from otel_audit.collector.hosts import host_allowed, is_loopback
from otel_audit.collector.request import Incoming, header_values, peer_address
from otel_audit.errors import MalformedRequestError, OverloadedError, RequestTooLargeError, StillHeldError
from otel_audit.log.engine import ActivityLog

__all__ = ["PREFIX", "answer_admin"]

PREFIX = "/admin/"
_FOR_OTHERS = re.compile(
    rb"forwarded|via|x-forwarded-.*|x-real-ip|x-client-ip|x-original-.*|true-client-ip|cf-connecting-ip"  # a proxy
    rb"|origin|referer|sec-fetch-.*"  # a browser
)
_SETTLE = "/admin/streams/settle"
_DECISION = re.compile(r"/admin/quarantine/([0-9a-f]{64})/(release|drop)")
_DECISIONS = re.compile(r"/admin/quarantine/(release|drop)")
_HASHES = re.compile(rb"(?:[0-9a-f]{64}\n)*")
_MAX_BODY_BYTES = 1024 * 1024
_BODY_TIMEOUT_S = 30.0


async def answer_admin(scope: Scope, incoming: Incoming, log: ActivityLog) -> Answer:
    """Do what the path says. Raises what the log raises."""
    local = is_loopback(peer_address(scope)) and host_allowed(header_values(scope, b"host"))
    if not local or any(_FOR_OTHERS.fullmatch(name) for name, _ in scope["headers"]):
        return refusal(403, "/admin is for this machine's command line only", Dialect.PROBLEM)
    path = scope["path"]
    decision = _DECISION.fullmatch(path)
    many = _DECISIONS.fullmatch(path)
    if path not in ("/admin/seal", _SETTLE) and decision is None and many is None:
        return refusal(404, f"no such path: {path}", Dialect.PROBLEM)
    if scope["method"] != "POST":
        return refusal(405, "use POST", Dialect.PROBLEM, ((b"allow", b"POST"),))
    if many is not None:
        digests = await _hashes(incoming)
        return json_answer(200, await asyncio.to_thread(_decide_all, log, digests, many[1]))
    if path == _SETTLE:
        values = dict(parse_qsl(scope["query_string"].decode("latin-1"), errors="strict"))
        return json_answer(200, await asyncio.to_thread(_settle, log, values))
    if decision is None:
        return json_answer(200, {"sealed_files": await asyncio.to_thread(log.seal)})
    return json_answer(200, await asyncio.to_thread(_decide, log, decision[1], decision[2]))


def _decide(log: ActivityLog, sha256: str, decision: str) -> dict[str, Any]:
    if decision == "release":
        log.decisions.release(sha256)
    else:
        log.decisions.drop(sha256)
    return {"sha256": sha256, "decision": "released" if decision == "release" else "dropped"}


async def _hashes(incoming: Incoming) -> list[str]:
    body = bytearray()
    try:
        async with asyncio.timeout(_BODY_TIMEOUT_S):
            while (piece := await incoming.next_piece()) is not None:
                body += piece
                if len(body) > _MAX_BODY_BYTES:
                    raise RequestTooLargeError(f"more than {_MAX_BODY_BYTES} bytes")
    except TimeoutError:
        raise OverloadedError(f"the body did not come within {_BODY_TIMEOUT_S:g} s") from None
    if not _HASHES.fullmatch(body):
        raise MalformedRequestError("the body must be SHA-256 hashes in lower-case hex, one a line")
    return body.decode().split()


def _decide_all(log: ActivityLog, digests: list[str], decision: str) -> dict[str, Any]:
    failed = log.decisions.decide_all(digests, cast('Literal["release", "drop"]', decision))
    return {
        "failed": [
            {
                "sha256": digest,
                "error": type(error).__name__,
                "reason": error.rule if isinstance(error, StillHeldError) else str(error),
            }
            for digest, error in failed.items()
        ]
    }


def _settle(log: ActivityLog, values: dict[str, str]) -> dict[str, Any]:
    """The parameters are those of `Decisions.settle_stream`."""
    numbers = {name: int(values[name]) for name in ("upto", "disregarded") if values.get(name, "").isdecimal()}
    stream_id, upto, disregarded = values.get("stream_id", ""), numbers.get("upto", -1), numbers.get("disregarded")
    log.decisions.settle_stream(stream_id, upto, disregarded, values.get("reason", ""))
    return {"stream_id": stream_id, "decision": "settled", "upto": upto, "disregarded": disregarded}
