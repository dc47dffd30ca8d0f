"""What an operator decides about held records and about producers' streams; each is a durable row of a log."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager
from pathlib import Path

from otel_audit.errors import InvalidRecordError
from otel_audit.log.held import held_records
from otel_audit.log.quarantine import decision_rows
from otel_audit.log.stores import Stores
from otel_audit.log.streams import settled_rows
from otel_audit.log.writer import Committed, Writer
from otel_audit.model.ids import MAX_ID_CHARS
from otel_audit.model.text import checked_text
from otel_audit.otlp.decode import Decoded, decode_logs

__all__ = ["Decisions"]

_MAX_REASON_CHARS = 1024


class Decisions:
    """Safe to share between threads; each waits for maintenance under way, and for the commit under way.

    Args:
        writer: whose commits a decision waits for.
        task: gives an operator's task the folder to itself; raises ClosedError after the log was closed.
        submit: commits a decoded request.
    """

    def __init__(
        self,
        root: Path,
        stores: Stores,
        writer: Writer,
        task: Callable[[], AbstractContextManager[None]],
        submit: Callable[[Decoded], Future[Committed]],
        clock: Callable[[], int],
    ) -> None:
        self._root = root
        self._stores = stores
        self._writer = writer
        self._task = task
        self._submit = submit
        self._clock = clock

    def release(self, digest: str) -> Committed:
        """Try a held record again; when it is a valid activity now, it is committed and no longer held.

        Raises:
            RecordNotFoundError: no such record is held.
            InvalidRecordError: it is still not valid; it stays held.
        """
        (held,) = held_records(self._root, digest)
        decoded = decode_logs(
            held.request, received_from=held.received_from, arrival_ns=self._clock(), max_records=1_000
        )
        if decoded.rejected or not decoded.kept:
            reason = decoded.rejected[0].reason if decoded.rejected else "no activity"
            raise InvalidRecordError(held.sha256[:16], f"is still not valid: {reason}")
        done = self._submit(decoded).result()
        if done.conflicts:
            raise InvalidRecordError(held.sha256[:16], "another record with this id and other content is in the log")
        self._decide(held.sha256, "released", "valid now")
        return done

    def drop(self, digest: str, reason: str = "dropped by an operator") -> None:
        """Decide that a held record is not wanted. Its bytes stay in the quarantine's files.

        Raises:
            RecordNotFoundError: no such record is held.
        """
        (held,) = held_records(self._root, digest)
        self._decide(held.sha256, "dropped", reason)

    def _decide(self, digest: str, decision: str, reason: str) -> None:
        with self._task(), self._writer.exclusive:
            # A crash here leaves the record held (or committed and held): the operator asks again, and it is a repeat.
            self._stores.quarantine.commit(decision_rows(digest, decision, reason))
            self._stores.held_index.add([], [], self._stores.quarantine.next_index)
            self._stores.count_held()

    def settle_stream(self, stream_id: str, upto: int, disregarded: int | None, reason: str) -> None:
        """Record that an operator has looked into what a producer's stream lacks.

        Args:
            upto: no number up to this one is looked for any longer; 0 for none.
            disregarded: this number and those above it are a producer's fault, and no part of the stream.

        Raises:
            InvalidRecordError: an empty id or reason, or numbers that cannot be such.
            UnwritableError: nothing was decided.
        """
        checked_text(stream_id, "stream_id", MAX_ID_CHARS)
        checked_text(reason, "reason", _MAX_REASON_CHARS)
        if not 0 <= upto < 2**63 or (disregarded is not None and not upto < disregarded < 2**63):
            raise InvalidRecordError("upto", f"no such numbers: {upto}, {disregarded}")
        with self._task(), self._writer.exclusive:
            # A crash here leaves the stream as it was, or settled: the operator asks again, and it is the same.
            self._stores.streams.commit(settled_rows(stream_id, upto, disregarded, reason))
