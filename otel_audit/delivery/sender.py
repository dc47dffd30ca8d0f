"""The sender: takes batches from the queue and brings each to the peer, however long that takes.

One request is under way at a time, so records arrive in order and a flush is simple to answer. Every answer becomes a
verdict (`verdict.py`); here is only what follows from it: go on, wait and send again, halve, or hold as refused.
Anything that is no answer (no connection, one that breaks, a failing credential provider) proves nothing: send again.
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence

import requests
from opentelemetry.context import (
    _SUPPRESS_HTTP_INSTRUMENTATION_KEY,
    _SUPPRESS_INSTRUMENTATION_KEY,
    attach,
    detach,
    set_value,
)

from otel_audit.delivery.cause import cause
from otel_audit.delivery.notices import report
from otel_audit.delivery.outcome import Refusal
from otel_audit.delivery.queue import DeliveryQueue
from otel_audit.delivery.transport import Transport
from otel_audit.delivery.verdict import Delivered, Refused, Retry, TooLarge, Verdict, judge
from otel_audit.otlp.names import LOG_HEADER

__all__ = ["Sender", "unobserved"]

"""Every answer of our collector carries it, with the name of its log; another OTLP peer's does not."""

_HTTP_LOGGERS = ("urllib3.connectionpool", "urllib3.connection", "urllib3.util.retry", "urllib3.response")

_SAY_AGAIN_S = 30.0


class Sender:
    """Empties a queue through a transport until the queue says stop.

    Args:
        frame: makes a request body of encoded records.
        retry_initial_s, retry_max_s: the exponential backoff's first and longest pause, before jitter.
        jitter: gives a number between its two arguments, all equally likely ("full jitter").
        wall_s: seconds since 1970.

    Attributes:
        log: name of the collector's log, from its last success; None while the peer is not known to be ours.
        answered: whether any request succeeded yet.
        retries: requests that had to be sent again.
    """

    def __init__(
        self,
        queue: DeliveryQueue,
        transport: Transport,
        frame: Callable[[Sequence[bytes]], bytes],
        *,
        retry_initial_s: float,
        retry_max_s: float,
        jitter: Callable[[float, float], float] = random.uniform,
        wall_s: Callable[[], float] = time.time,
    ) -> None:
        self._queue = queue
        self._transport = transport
        self._frame = frame
        self._retry_initial_s, self._retry_max_s = retry_initial_s, retry_max_s
        self._jitter = jitter
        self._wall_s = wall_s
        self.log: str | None = None
        self.answered = False
        self.retries = 0
        self._said_s = 0.0

    def run(self) -> None:
        """Send until the queue is closed and empty, or stopped."""
        with unobserved():
            while (batch := self._queue.take()) is not None:
                if not self._deliver(batch):
                    break
        self._transport.close()

    def _deliver(self, batch: Sequence[bytes]) -> bool:
        """Bring a batch to its end; False if the queue said stop before."""
        parts = [tuple(batch)]
        while parts:
            records = parts.pop()
            verdict = self._send(records)
            match verdict:
                case None:
                    return False
                case Delivered(warning):
                    if warning:
                        report("warning", "the peer took the records with a remark", remark=warning)
                    self._queue.settle(records)
                case TooLarge() if len(records) > 1:
                    half = len(records) // 2
                    parts += [records[half:], records[:half]]
                case TooLarge(reason):
                    self._hold(records, reason, None)
                case Refused(reason, rejected):
                    self._hold(records, reason, rejected)
        return True

    def _hold(self, records: tuple[bytes, ...], reason: str, rejected: int | None) -> None:
        count = len(records) if rejected is None else min(rejected, len(records))
        self._queue.refuse(Refusal(reason, records, count))
        report("error", "the peer refused activity records; they are held in memory", count=count, answer=reason)

    def _send(self, records: Sequence[bytes]) -> Delivered | TooLarge | Refused | None:
        """Send until there is a final verdict; None if the queue said stop before."""
        body: bytes | None = None
        failures = 0
        while True:
            verdict: Verdict
            try:
                if body is None:
                    body = self._frame(records)
                verdict = self._exchange(body)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is no proof of delivery, and the thread must live
                verdict = Retry(cause(error))
                # A server may close an idle connection just as a request goes out on it: the next try opens a new one.
                if failures == 0 and self.answered and isinstance(error, requests.ConnectionError):
                    verdict = Retry(verdict.reason, 0.0)
            if not isinstance(verdict, Retry):
                if failures:
                    report("info", "delivery goes on", after_failures=failures)
                self._queue.trouble = ""
                return verdict
            self._queue.trouble = verdict.reason
            if not self._wait(verdict, failures, len(records)):
                return None
            failures += 1
            self.retries += 1

    def _exchange(self, body: bytes) -> Verdict:
        answer = self._transport.post(body)
        verdict = judge(answer, self._wall_s())
        if isinstance(verdict, Delivered):
            self.answered = True
            self.log = answer.headers.get(LOG_HEADER)
        return verdict

    def _wait(self, verdict: Retry, failures: int, count: int) -> bool:
        now_s = time.monotonic()
        if verdict.after_s == 0.0 and failures == 0:
            return self._queue.pause(now_s, cut_short=True)
        # 2**64 times anything is past every limit; larger exponents would overflow a float.
        longest_s = min(self._retry_initial_s * 2.0 ** min(failures, 64), self._retry_max_s)
        own_s = self._jitter(0.0, longest_s)
        asked_s = verdict.after_s or 0.0
        if failures == 0 or now_s - self._said_s >= _SAY_AGAIN_S:
            # Once per outage and then now and then: a collector that is away for an hour must not fill the log.
            self._said_s = now_s
            report(
                "warning",
                "delivery failed, trying again",
                reason=verdict.reason,
                records=count,
                pause_s=round(max(own_s, asked_s), 2),
            )
        # The peer's wish is kept even at the end; our own pause gives way to a last try.
        return self._queue.pause(now_s + asked_s, cut_short=False) and self._queue.pause(now_s + own_s, cut_short=True)


@contextlib.contextmanager
def unobserved() -> Iterator[None]:
    """No span and no log of what this thread does inside: auditing must not feed the telemetry it runs beside.

    The context keys are what every instrumentation and the SDK's own exporters go by. Log handlers do not, so the HTTP
    library's loggers leave out this thread.
    """
    token = attach(set_value(_SUPPRESS_HTTP_INSTRUMENTATION_KEY, True, set_value(_SUPPRESS_INSTRUMENTATION_KEY, True)))
    here = (os.getpid(), threading.get_ident())

    def elsewhere(record: logging.LogRecord) -> bool:
        return (record.process, record.thread) != here

    loggers = [logging.getLogger(name) for name in _HTTP_LOGGERS]
    for logger in loggers:
        logger.addFilter(elsewhere)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(elsewhere)
        detach(token)
