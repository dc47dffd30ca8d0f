"""The sender: takes parcels from the outbox and brings each to the peer, however long that takes.

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
from collections.abc import Callable, Iterator
from typing import Protocol

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
from otel_audit.delivery.outbox import Parcel
from otel_audit.delivery.transport import Transport
from otel_audit.delivery.verdict import Delivered, Refused, Retry, TooLarge, Verdict, can_pass, judge
from otel_audit.otlp.encode import frame_request
from otel_audit.otlp.names import LOG_HEADER, ROWS_HEADER

__all__ = ["Sender", "Source", "unobserved"]

_HTTP_LOGGERS = ("urllib3.connectionpool", "urllib3.connection", "urllib3.util.retry", "urllib3.response")

_SAY_AGAIN_S = 30.0
_LONGEST_WISH_S = 300.0
"""A peer that asks for more (a day, or a date by a clock that is wrong) may be back a second later."""
_KEPT_WISH_S, _SOONEST_S = 1.0, 0.2
"""What is kept of the peer's wish while somebody waits, and of our own pause when somebody begins to wait."""
_STUCK_AFTER, _STUCK_LONGEST = 10, 1_000
"""Tries before an answer that may never change counts as a refusal."""
_TELLING_RECORDS = 8
"""Where so many are refused, each, the peer takes nothing; fewer may all be at fault."""


class Source(Protocol):
    """What a sender asks of an outbox; see `Outbox`."""

    trouble: str
    kept: str

    def take(self) -> Parcel | None: ...

    def settle(self, parcel: Parcel, start: int, stop: int, log: str | None, rows: str) -> None: ...

    def refuse(self, parcel: Parcel, start: int, stop: int, reason: str, rejected: int) -> None: ...

    def pause(self, until_s: float, *, hurried_s: float, soonest_s: float) -> bool: ...

    def let_go(self) -> None: ...


class Sender:
    """Empties an outbox through a transport until the outbox says stop.

    Args:
        retry_initial_s, retry_max_s: the exponential backoff's first and longest pause, before jitter.
        jitter: gives a number between its two arguments, all equally likely ("full jitter").
        wall_s: seconds since 1970.

    Attributes:
        log: name of the collector's log, from its last success; None while the peer is not known to be ours.
        answered: whether any request succeeded yet.
        retries: requests that had to be sent again.
        acknowledged, forwarded: records delivered to a collector of ours, and to another OTLP peer.
        refused: records that a peer refused for good.
        under_way: the parcel that nobody has answered for yet.
    """

    def __init__(
        self,
        outbox: Source,
        transport: Transport,
        *,
        retry_initial_s: float,
        retry_max_s: float,
        jitter: Callable[[float, float], float] = random.uniform,
        wall_s: Callable[[], float] = time.time,
    ) -> None:
        self._outbox = outbox
        self._transport = transport
        self._retry_initial_s, self._retry_max_s = retry_initial_s, retry_max_s
        self._jitter = jitter
        self._wall_s = wall_s
        self.log: str | None = None
        self.answered = False
        self.retries = self.acknowledged = self.forwarded = self.refused = 0
        self.under_way: Parcel | None = None
        self._rows = ""
        self._said_s = 0.0
        self._stuck_after, self._takes_nothing = _STUCK_AFTER, ""

    def run(self) -> None:
        """Send until the outbox is closed and empty, or stopped."""
        try:
            with unobserved():
                while (parcel := self._outbox.take()) is not None:
                    if not self._deliver(parcel):
                        break
        finally:
            self._transport.close()
            self._outbox.let_go()

    def _deliver(self, parcel: Parcel) -> bool:
        """Bring a parcel to its end; False if the outbox said stop before.

        What is refused for the sake of some records is halved until these are alone: some log2(n) requests for each.
        Where nothing passes, halving ends after two such descents, and what is left is asked for once.
        """
        parts = [(0, len(parcel.records))]
        descent = len(parcel.records).bit_length() + 1
        passed = refused = 0
        while parts:
            start, stop = parts.pop()
            halves = refused < descent * (2 + passed)
            verdict = self._send(parcel, start, stop, halves)
            if verdict is None:
                return False
            passed += isinstance(verdict, Delivered)
            refused += isinstance(verdict, Refused)
            if self._is_halved(verdict, stop - start, halves):
                middle = (start + stop) // 2
                parts += [(middle, stop), (start, middle)]
        if passed:
            self._stuck_after, self._takes_nothing = _STUCK_AFTER, ""
        elif len(parcel.records) >= _TELLING_RECORDS and isinstance(verdict, Refused):
            self._takes_nothing = verdict.reason
        return True

    def _is_halved(self, verdict: Verdict, count: int, halves: bool) -> bool:
        if isinstance(verdict, Refused) and verdict.divisible and halves:
            # A peer that takes nothing at all is not asked for each half; what can pass is tried, and halved, later.
            return count > 1 and not (self._takes_nothing == verdict.reason and can_pass(verdict.reason))
        return count > 1 and isinstance(verdict, TooLarge)

    def _is_stuck(self, verdict: Verdict, failures: int, *, is_part: bool) -> bool:
        if not (isinstance(verdict, Retry) and verdict.stuck and failures >= (0 if is_part else self._stuck_after)):
            return False
        if not is_part:  # perhaps it is no record's fault: the next one is waited for longer, until one passes
            self._stuck_after = min(self._stuck_after * 10, _STUCK_LONGEST)
        return True

    def _send(self, parcel: Parcel, start: int, stop: int, halves: bool) -> Delivered | TooLarge | Refused | None:
        """Send until there is a final verdict, and let the outbox know it, unless halves will be sent; None if the
        outbox said stop before."""
        body: bytes | None = None
        failures = 0
        is_part = stop - start < len(parcel.records)
        while True:
            verdict: Verdict
            self.under_way = parcel
            try:
                if body is None:
                    body = frame_request(parcel.resource, parcel.records[start:stop], parcel.schema_url)
                verdict = self._exchange(body)
                if self._is_stuck(verdict, failures, is_part=is_part):
                    assert isinstance(verdict, Retry)
                    verdict = Refused(verdict.reason, divisible=True)
                if not isinstance(verdict, Retry):
                    # Before anybody who waits hears of the success.
                    self._outbox.trouble, self.under_way = "", None
                if not self._is_halved(verdict, stop - start, halves):
                    self._note(parcel, start, stop, verdict)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is no proof of delivery, and the thread must live
                verdict = Retry(cause(error))
                # A server may close an idle connection just as a request goes out on it: the next try opens a new one.
                if failures == 0 and self.answered and isinstance(error, requests.ConnectionError):
                    verdict = Retry(verdict.reason, 0.0)
            if not isinstance(verdict, Retry):
                if failures:
                    report("info", "delivery goes on", after_failures=failures)
                return verdict
            self._outbox.trouble = verdict.reason
            if not self._wait(verdict, failures, 0 if parcel.is_marker else stop - start):
                return None
            failures += 1
            self.retries += 1

    def _note(self, parcel: Parcel, start: int, stop: int, verdict: Verdict) -> None:
        """Tell the outbox. Where its disk refuses that, it counts as no answer: sent again, the peer drops repeats."""
        counted = self.acknowledged, self.forwarded, self.refused
        try:
            self._tell(parcel, start, stop, verdict)
        except BaseException:
            self.acknowledged, self.forwarded, self.refused = counted
            raise

    def _tell(self, parcel: Parcel, start: int, stop: int, verdict: Verdict) -> None:
        match verdict:
            case Delivered(warning):
                if warning:
                    report("warning", "the peer took the records with a remark", remark=warning)
                if not parcel.is_marker:
                    self.acknowledged += stop - start if self.log else 0
                    self.forwarded += 0 if self.log else stop - start
                if parcel.is_second_try:
                    report("info", "the peer took activity records that it had refused", count=stop - start)
                self._outbox.settle(parcel, start, stop, self.log, self._rows)
            case TooLarge(reason):
                self._hold(parcel, start, stop, reason, None)
            case Refused(reason, rejected):
                self._hold(parcel, start, stop, reason, rejected)

    def _hold(self, parcel: Parcel, start: int, stop: int, reason: str, rejected: int | None) -> None:
        count = stop - start if rejected is None else min(rejected, stop - start)
        if not parcel.is_marker:
            self.refused += 0 if parcel.is_second_try else count
            self.forwarded += stop - start - count
        self._outbox.refuse(parcel, start, stop, reason, count)
        if parcel.is_marker:  # nothing of the application's, so nothing is held
            report("warning", "the peer refused what is told about a stream", answer=reason)
            return
        if parcel.is_second_try:
            report("warning", "the peer refused activity records again that it had refused", count=count, answer=reason)
            return
        held = f"; they are held in {self._outbox.kept or 'memory'}"
        if self._outbox.kept and can_pass(reason):
            held += ", and tried again now and then"
        report("error", f"the peer refused activity records{held}", count=count, answer=reason)

    def _exchange(self, body: bytes) -> Verdict:
        answer = self._transport.post(body)
        verdict = judge(answer, self._wall_s())
        if isinstance(verdict, Delivered):
            self.answered = True
            self.log = answer.headers.get(LOG_HEADER)
            self._rows = answer.headers.get(ROWS_HEADER, "")
        return verdict

    def _wait(self, verdict: Retry, failures: int, count: int) -> bool:
        now_s = time.monotonic()
        if verdict.after_s == 0.0 and failures == 0:
            return self._outbox.pause(now_s, hurried_s=now_s, soonest_s=now_s)
        # 2**64 times anything is past every limit; larger exponents would overflow a float.
        longest_s = min(self._retry_initial_s * 2.0 ** min(failures, 64), self._retry_max_s)
        own_s = self._jitter(0.0, longest_s)
        asked_s = min(verdict.after_s or 0.0, _LONGEST_WISH_S)
        kept_s = min(asked_s, _KEPT_WISH_S)
        if failures == 0 or now_s - self._said_s >= _SAY_AGAIN_S:
            # Once per outage and then now and then: a collector that is away for an hour must not fill the log.
            self._said_s = now_s
            report(
                "warning",
                "delivery failed, trying again",
                reason=verdict.reason,
                records=count,
                pause_s=round(own_s + asked_s, 2),
            )
        return self._outbox.pause(
            now_s + asked_s + own_s,
            hurried_s=now_s + kept_s + own_s,
            soonest_s=now_s + kept_s + min(own_s, _SOONEST_S),
        )


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
