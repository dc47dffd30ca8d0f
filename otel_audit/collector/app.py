"""Routing, as a plain ASGI application: on the way of a record there is no framework."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from otel_audit._version import __version__
from otel_audit.collector.admin import PREFIX as ADMIN_PREFIX
from otel_audit.collector.admin import answer_admin
from otel_audit.collector.admission import ByteBudget
from otel_audit.collector.answers import (
    CLOSE,
    Answer,
    ASGIApp,
    Dialect,
    Receive,
    Scope,
    Send,
    answer_for,
    json_answer,
    reason_for,
    refusal,
    send_answer,
    success,
)
from otel_audit.collector.connections import is_surplus
from otel_audit.collector.hosts import host_allowed
from otel_audit.collector.intake import Intake
from otel_audit.collector.metrics import Metrics
from otel_audit.collector.notices import Notices
from otel_audit.collector.request import (
    ClientGone,
    Head,
    Incoming,
    header_values,
    parse_head,
    peer_address,
    read_body,
    reserve,
)
from otel_audit.config import Settings
from otel_audit.errors import OtelAuditError, OverloadedError, UnwritableError
from otel_audit.events import report
from otel_audit.log.engine import ActivityLog

__all__ = ["CollectorApp"]

LOGS_PATH = "/v1/logs"
READS_PREFIX = "/v1/audit"
_OTHER_SIGNALS = {"/v1/traces": "TRACES", "/v1/metrics": "METRICS"}


class CollectorApp:
    """Takes OTLP/HTTP in, answers for its health, and hands reading on.

    `stopping` is set by the server that runs it: from then on `/readyz` says so.
    """

    def __init__(
        self,
        log: ActivityLog,
        settings: Settings,
        intake: Intake,
        budget: ByteBudget,
        metrics: Metrics,
        notices: Notices,
        *,
        reads: ASGIApp | None,
        check_host: bool,
    ) -> None:
        self.stopping = False
        self._log = log
        self._intake = intake
        self._budget = budget
        self._metrics = metrics
        self._reads = reads
        self._check_host = check_host
        self._most_bytes: int = settings.max_request_bytes
        self._read_timeout_s: float = settings.read_timeout_s
        self._notices = notices
        self._pages: dict[str, Callable[[], Awaitable[Answer]]] = {
            "/healthz": self._healthz,
            "/readyz": self._readyz,
            "/metrics": self._exposition,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request. Every way out is an answer, but for a client that left."""
        if scope["type"] != "http":
            return
        head = parse_head(scope)
        incoming = Incoming(head, receive)
        try:
            answer = await self._answer(scope, head, incoming, receive, send)
        except ClientGone:
            self._metrics.refused.labels("client_gone").inc()
            return
        except asyncio.CancelledError:
            # The time for stopping is over. What was in work may be kept or not; the client will send it again.
            error = OverloadedError("the time for stopping was over before the request was committed")
            answer = answer_for(error, _dialect(scope, head))
            self._refused("stopping", answer, scope, str(error))
        except OtelAuditError as error:
            answer = answer_for(error, _dialect(scope, head))
            self._refused(reason_for(error), answer, scope, str(error))
        except Exception as error:  # noqa: BLE001 - whatever it is, the request is answered
            answer = answer_for(error, _dialect(scope, head))
            self._metrics.refused.labels("internal").inc()
            report("collector", "error", "internal fault", path=scope["path"], exc_info=error)
        if answer is not None:
            await send_answer(answer, send, None if incoming.finished else receive)

    async def _answer(
        self, scope: Scope, head: Head, incoming: Incoming, receive: Receive, send: Send
    ) -> Answer | None:
        path: str = scope["path"]
        if self._check_host and not host_allowed(header_values(scope, b"host")):
            return self._routing(403, "the Host header must name this machine's loopback", scope, head)
        if is_surplus(scope) and path not in self._pages:
            raise OverloadedError("every connection there is room for is at work")
        if path == LOGS_PATH:
            if scope["method"] != "POST":
                return self._routing(405, "use POST", scope, head, ((b"allow", b"POST"),))
            if not head.tells_length:
                message = "send Content-Length, or a chunked body; without either a body has no end"
                return self._routing(411, message, scope, head, (CLOSE,))
            return await self._take(scope, head, incoming)
        if path in self._pages:
            if scope["method"] not in {"GET", "HEAD"}:
                return self._routing(405, "use GET", scope, head, ((b"allow", b"GET, HEAD"),))
            return await self._pages[path]()
        if path.startswith(ADMIN_PREFIX):
            return await answer_admin(scope, incoming, self._log)
        if self._reads is not None and (path == READS_PREFIX or path.startswith(READS_PREFIX + "/")):
            await self._read(self._reads, scope, receive, send)
            return None
        if path in _OTHER_SIGNALS:
            return self._other_signal(_OTHER_SIGNALS[path], scope, head)
        hint = "; log records are taken at /v1/logs" if scope["method"] == "POST" else ""
        return self._routing(404, f"no such path: {path}{hint}", scope, head)

    def _other_signal(self, signal: str, scope: Scope, head: Head) -> Answer:
        message = (
            f"{scope['path']}: no {signal.lower()} are taken here, only audit records at /v1/logs; set "
            f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT to where they go, or OTEL_{signal}_EXPORTER=none; or name this "
            "collector by OTEL_AUDIT_ENDPOINT or OTEL_EXPORTER_OTLP_LOGS_ENDPOINT alone"
        )
        answer = refusal(404, message, _dialect(scope, head))
        self._refused("signal", answer, scope, message)
        return answer

    async def _take(self, scope: Scope, head: Head, incoming: Incoming) -> Answer:
        head.check_served()
        if not self._log.ready:
            raise UnwritableError(self._log.not_ready_reason or "not ready")
        with reserve(self._budget, head, self._most_bytes) as hold:
            body = await read_body(
                incoming, head, hold, self._budget, most_bytes=self._most_bytes, timeout_s=self._read_timeout_s
            )
            committed = await self._intake.take(body, peer_address(scope), hold)
        return success(committed)

    async def _read(self, reads: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def watched(message: dict[str, object]) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await reads(scope, receive, watched)  # type: ignore[arg-type]
        except asyncio.CancelledError:
            # The time for stopping is over. Of an answer that has begun nothing can be taken back, and to send another
            # would wait for a client that takes nothing; the server cuts it off.
            if not started:
                raise
        except Exception:
            if not started:
                raise
            # Half an answer is out; the server closes the connection, so that nobody takes it for a whole one.
            report("collector", "error", "a read failed while it was being answered", path=scope["path"], exc_info=True)

    async def _healthz(self) -> Answer:
        return json_answer(200, {"status": "ok", "log": self._log.name, "version": __version__})

    async def _readyz(self) -> Answer:
        if self.stopping:
            return json_answer(503, {"status": "stopping", "log": self._log.name})
        if reason := self._log.not_ready_reason:
            return json_answer(503, {"status": "not ready", "reason": reason, "log": self._log.name})
        said = {"notice": notice} if (notice := self._log.notice) else {}
        return json_answer(200, {"status": "ready", "log": self._log.name, **said})

    async def _exposition(self) -> Answer:
        body = await asyncio.to_thread(self._metrics.exposition)
        return Answer(200, body, self._metrics.content_type)

    def _routing(
        self, status: int, message: str, scope: Scope, head: Head, headers: tuple[tuple[bytes, bytes], ...] = ()
    ) -> Answer:
        answer = refusal(status, message, _dialect(scope, head), headers)
        self._refused({403: "host", 404: "path", 405: "method", 411: "length"}[status], answer, scope, message)
        return answer

    def _refused(self, reason: str, answer: Answer, scope: Scope, message: str) -> None:
        """Count a refusal and tell of it."""
        self._metrics.refused.labels(reason).inc()
        self._notices.refused(reason, status=answer.status, path=scope["path"], peer=peer_address(scope), why=message)


def _dialect(scope: Scope, head: Head) -> Dialect:
    """OTLP is answered in OTLP; whatever else was asked is answered as a problem."""
    if head.dialect is Dialect.OTLP_JSON and scope["path"] not in {LOGS_PATH, *_OTHER_SIGNALS}:
        return Dialect.PROBLEM
    return head.dialect
