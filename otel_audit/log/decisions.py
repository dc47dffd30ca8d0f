"""What an operator decides about held records and about producers' streams; each is a durable row of a log."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Literal

from otel_audit.errors import InvalidRecordError, OtelAuditError, RecordNotFoundError, StillHeldError
from otel_audit.log.held import HeldRecord, held_records
from otel_audit.log.quarantine import decision_rows
from otel_audit.log.stores import Stores
from otel_audit.log.streams import settled_rows
from otel_audit.log.writer import Committed, Writer
from otel_audit.model.ids import MAX_ID_CHARS
from otel_audit.model.text import checked_text
from otel_audit.otlp.decode import Decoded, decode_logs

__all__ = ["Decisions"]

_MAX_REASON_CHARS = 1024
_AT_ONCE = 256
_DROPPED = "dropped by an operator"
_VALID_NOW = "valid now"


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
            StillHeldError: it is not valid, or contradicts a record in the log; it stays held.
        """
        (one,) = held_records(self._root, digest)
        done = self._outcome(one, self._submit(self._valid(one)))
        self._decide([one.sha256], "released", _VALID_NOW)
        return done

    def drop(self, digest: str, reason: str = _DROPPED) -> None:
        """Decide that a held record is not wanted. Its bytes stay in the quarantine's files.

        Raises:
            RecordNotFoundError: no such record is held.
        """
        (one,) = held_records(self._root, digest)
        self._decide([one.sha256], "dropped", reason)

    def decide_all(self, digests: Sequence[str], decision: Literal["release", "drop"]) -> dict[str, OtelAuditError]:
        """Release or drop records, each by its whole SHA-256; reads the quarantine twice, however many they are.

        Returns:
            Those about which nothing was decided, and why; the others are decided, durably.

        Raises:
            UnwritableError, ArchiveFaultError: the decisions are not known to be durable. Asked again, what was
                released already is a repeat.
        """
        found = held_records(self._root, set(digests))
        failed: dict[str, OtelAuditError] = {
            digest: RecordNotFoundError("not held any longer")
            for digest in set(digests) - {one.sha256 for one in found}
        }
        if decision == "release":
            for at in range(0, len(found), _AT_ONCE):
                failed |= self._released(found[at : at + _AT_ONCE])
        decided = [one.sha256 for one in found if one.sha256 not in failed]
        if decided and decision == "release":
            self._decide(decided, "released", _VALID_NOW)
        elif decided:
            self._decide(decided, "dropped", _DROPPED)
        return failed

    def _released(self, some: list[HeldRecord]) -> dict[str, OtelAuditError]:
        """Submit records together, so that they share a commit; those that failed."""
        failed: dict[str, OtelAuditError] = {}
        waiting: list[tuple[HeldRecord, Future[Committed]]] = []
        for one in some:
            try:
                waiting.append((one, self._submit(self._valid(one))))
            except StillHeldError as error:
                failed[one.sha256] = error
        for one, future in waiting:
            try:
                self._outcome(one, future)
            except OtelAuditError as error:
                failed[one.sha256] = error
        return failed

    def _valid(self, one: HeldRecord) -> Decoded:
        decoded = decode_logs(one.request, received_from=one.received_from, arrival_ns=self._clock(), max_records=1_000)
        if decoded.rejected or not decoded.kept:
            reason = decoded.rejected[0].reason if decoded.rejected else "it holds none"
            raise StillHeldError(f"held record {one.sha256[:12]}", f"it is no valid activity: {reason}")
        return decoded

    @staticmethod
    def _outcome(one: HeldRecord, future: Future[Committed]) -> Committed:
        done = future.result()
        if done.conflicts:
            raise StillHeldError(
                f"held record {one.sha256[:12]}", "another record with its id and other content is in the log"
            )
        return done

    def _decide(self, digests: list[str], decision: str, reason: str) -> None:
        with self._task(), self._writer.exclusive:
            # A crash here leaves the records held (or committed and held): the operator asks again, and it is a repeat.
            self._stores.quarantine.commit(decision_rows(digests, decision, reason))
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
