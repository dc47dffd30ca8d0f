"""From a body's bytes to a durable commit: decode, submit, wait. Whoever gets a result may answer success."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from otel_audit.collector.admission import Hold
from otel_audit.collector.decoding import Decoder, is_large
from otel_audit.collector.metrics import Metrics
from otel_audit.collector.notices import Notices
from otel_audit.config import Settings
from otel_audit.errors import OverloadedError
from otel_audit.log.engine import ActivityLog, Committed

__all__ = ["Intake"]


class Intake:
    """The way into the log. Belongs to one event loop."""

    def __init__(
        self,
        log: ActivityLog,
        decoder: Decoder,
        metrics: Metrics,
        notices: Notices,
        settings: Settings,
        clock_ns: Callable[[], int],
    ) -> None:
        self._log = log
        self._decoder = decoder
        self._metrics = metrics
        self._notices = notices
        self._clock_ns = clock_ns
        self._max_records: int = settings.max_request_records
        self._wait_s: float = settings.queue_wait_s
        self._slots = asyncio.Semaphore(decoder.slots)
        self._large_slots = asyncio.Semaphore(decoder.large_slots)

    async def take(self, body: bytes, received_from: str, hold: Hold) -> Committed | None:
        """Returns when every activity of the request is durable (or in quarantine, when it is no valid one).

        Returns:
            What became of it; None when it held nothing for us.

        Raises:
            MalformedRequestError, RequestTooLargeError: nothing of the request was kept.
            OverloadedError, StorageError: something may have been kept; sending it all again is harmless.
        """
        arrival_ns = self._clock_ns()
        slots = self._large_slots if is_large(body) else self._slots
        try:
            async with asyncio.timeout(self._wait_s):
                await slots.acquire()
        except TimeoutError:
            raise OverloadedError(f"waited {self._wait_s:g} s for a place to decode") from None
        try:
            decoded = await self._decoder.decode(body, received_from, arrival_ns, self._max_records)
        finally:
            slots.release()
        hold.cover_decoded(len(body) + decoded.size_bytes)
        self._metrics.received.inc(decoded.total)
        committed = None
        if decoded.kept:
            # Shielded: a commit cannot be called back, and cancelling its future would hit the log's own thread.
            committed = await asyncio.shield(asyncio.wrap_future(self._log.submit(decoded)))
            self._notices.stored(decoded, committed, received_from)
        self._metrics.discarded.inc(decoded.others)
        return committed
