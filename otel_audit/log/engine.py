"""The log engine: requests in, durable and exactly-once rows out. It knows nothing of networks.

Requests that arrive while a commit runs are committed together next (group commit). One thread commits; a second one
merges, seals, removes what is hidden and moves ids to disk. Both go through `Store`, and `settle` is the only repair.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from otel_audit.config import Settings, load_settings
from otel_audit.disk import Disk
from otel_audit.errors import (
    ArchiveFaultError,
    ClosedError,
    OtelAuditError,
    StorageError,
)
from otel_audit.log import place
from otel_audit.log.decisions import Decisions
from otel_audit.log.folder import FolderLock, open_identity
from otel_audit.log.maintenance import Maintenance
from otel_audit.log.saying import say
from otel_audit.log.stats import Counters, LogStats
from otel_audit.log.stores import Stores
from otel_audit.log.writer import Committed, Writer
from otel_audit.otlp.decode import Decoded

__all__ = ["ActivityLog", "Committed"]

_MAX_WINDOW_ROWS = 262_144
_MAX_WINDOW_BYTES = 512 << 20
_RETRY_S = 1.0
_IDLE_S = 0.1


@dataclass(frozen=True, slots=True)
class _Pending:
    decoded: Decoded
    future: Future[Committed]


class ActivityLog:
    """An open data folder. Open it with `ActivityLog.open`; safe to share between threads; a context manager."""

    def __init__(self, root: Path, settings: Settings, clock: Callable[[], int], disk: Disk) -> None:
        self._root = root
        self._clock = clock
        self.name = open_identity(root, "activity", disk, clock).log
        self._lock = FolderLock(root)
        try:
            self._stores = Stores(root, self.name, settings, clock, disk)
            place.check(root)
            self._stores.load()
            place.claim(root, disk)
        except BaseException:
            self._lock.release()
            raise
        self._counters = Counters()
        self._writer = Writer(self._stores, settings, self._counters)
        self._maintenance = Maintenance(self._stores, settings, clock, self._counters)
        self.decisions = Decisions(root, self._stores, self._writer, self._task, self.submit, clock)
        """What an operator decides about held records and about streams."""
        self._tasks = threading.RLock()
        """Held by whoever changes files other than by a commit: maintenance, seal, recovery."""
        self._fault: OtelAuditError | None = None
        self._pending: deque[_Pending] = deque()
        self._wake = threading.Condition()
        self._closing = False
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._commit_loop, name="otel-audit-commit", daemon=True),
            threading.Thread(target=self._maintain_loop, name="otel-audit-maintain", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    @classmethod
    def open(
        cls,
        data_dir: Path | str,
        settings: Settings | None = None,
        clock: Callable[[], int] = time.time_ns,
        disk: Disk | None = None,
    ) -> Self:
        """Own a data folder and bring it to order.

        Args:
            clock: nanoseconds since 1970.

        Raises:
            FolderLockedError, NotADataFolderError, NewerFormatError, ArchiveFaultError, UnwritableError: nothing was
                changed.
        """
        return cls(Path(data_dir), settings or load_settings(), clock, disk or Disk())

    # --- what a server asks ---

    def submit(self, decoded: Decoded) -> Future[Committed]:
        """Hand over one decoded request.

        Returns:
            A future that is done when every activity of the request is durable in the log, was durable before, or is
            held in quarantine, and what is to be noted of streams is too. It fails with UnwritableError or
            OverloadedError (retryable: send the request again, repeats are harmless), with ArchiveFaultError when the
            folder contradicts itself, or ClosedError.
        """
        future: Future[Committed] = Future()
        future.set_running_or_notify_cancel()  # whoever stops waiting cannot take the record back
        with self._wake:
            if self._closing:
                future.set_exception(ClosedError("the log is closed"))
            else:
                self._pending.append(_Pending(decoded, future))
                self._wake.notify_all()
        return future

    @property
    def ready(self) -> bool:
        """Whether a request handed over now would be taken."""
        return not self._refusal()

    @property
    def not_ready_reason(self) -> str:
        """Why it would not, and why its commit may well fail; or ""."""
        return "; ".join(filter(None, dict.fromkeys((self._refusal(), self._stores.health.trouble))))

    @property
    def notice(self) -> str:
        """What an operator should do something about though requests are taken, or ""."""
        return self._stores.budget.notice

    def _refusal(self) -> str:
        if self._closing:
            return "the log is closing"
        if self._fault is not None:
            return str(self._fault)
        if not self._stores.settled:
            return "the folder is being read again after a write that failed at an unknown point"
        return self._stores.health.lack_of_room

    def announce(self, url: str) -> None:
        """Write into the lock file where the owner of the folder can be reached."""
        self._lock.announce(url)

    def stats(self) -> LogStats:
        """Counts since the log was opened, and what is on disk now."""
        return self._counters.stats(
            self._stores.health, self._maintenance.scrub.state, self._stores.budget, *self._stores.every
        )

    # --- what an operator asks ---

    def seal(self) -> int:
        """Seal everything committed before the call; how many files that made.

        Raises:
            StorageError: the hot files are still there.
            ClosedError: after `close`.
        """
        with self._task():
            return self._maintenance.seal_everything()

    @contextmanager
    def _task(self) -> Iterator[None]:
        """An operator's change: alone, on a settled folder, and only while the folder is ours."""
        with self._tasks:
            if self._closing:
                raise ClosedError("the log is closed")
            self._settle_if_needed()
            yield

    # --- the two threads ---

    def _commit_loop(self) -> None:
        while True:
            with self._wake:
                while not self._pending and not self._closing:
                    self._wake.wait()
                if not self._pending:
                    return
                window = self._take_window()
            self._commit(window)

    def _take_window(self) -> list[_Pending]:
        window = [self._pending.popleft()]
        rows, size = window[0].decoded.table.num_rows, window[0].decoded.table.nbytes
        while self._pending:
            table = self._pending[0].decoded.table
            rows, size = rows + table.num_rows, size + table.nbytes
            if rows > _MAX_WINDOW_ROWS or size > _MAX_WINDOW_BYTES:
                break
            window.append(self._pending.popleft())
        return window

    def _commit(self, window: list[_Pending]) -> None:
        """Answer every request of the window, one way or the other."""
        self._stores.health.began()
        try:
            self._settle_if_needed()
            answers = self._writer.write([pending.decoded for pending in window])
        except OtelAuditError as error:
            self._stores.health.failed(error)
            for pending in window:
                pending.future.set_exception(error)
        except Exception as error:  # noqa: BLE001  a fault of ours: unknown state, so recovery decides
            self._stores.activity.settled = False
            self._stores.health.failed(error)
            for pending in window:
                pending.future.set_exception(StorageError(f"the commit failed: {error!r}"))
            say("error", "commit_failed", exc_info=True)
        else:
            self._stores.health.worked()
            for pending, answer in zip(window, answers, strict=True):
                if isinstance(answer, Committed):
                    pending.future.set_result(answer)
                else:
                    pending.future.set_exception(answer)
            if self._stores.index.spill_due:
                self._stores.index.begin_spill()
            if self._stores.held_index.spill_due:
                self._stores.held_index.begin_spill()

    def _settle_if_needed(self) -> None:
        if self._fault is not None:
            raise self._fault
        if not self._stores.settled:
            with self._tasks, self._writer.exclusive:
                # No commit may be under way: recovery takes what it lists for the whole truth.
                try:
                    self._stores.settle()
                except ArchiveFaultError as error:
                    self._fault = error
                    raise

    def _maintain_loop(self) -> None:
        pause_s = _IDLE_S
        while not self._stop.wait(pause_s):
            pause_s = _IDLE_S
            try:
                with self._tasks:
                    self._settle_if_needed()
                    self._maintenance.run_one()
            except ArchiveFaultError as error:
                if self._fault is None:
                    say("error", "archive_fault", error=str(error), advice=error.advice)
                self._fault = error
                pause_s = _RETRY_S
            except Exception as error:  # noqa: BLE001
                # Merging and sealing lose nothing by waiting; the commit path reports the same disk to every sender.
                self._stores.health.maintenance_failures += 1
                ours = not isinstance(error, StorageError)
                say("warning", "maintenance_failed", error=str(error), retry_in_s=_RETRY_S, exc_info=ours)
                pause_s = _RETRY_S

    # --- the end ---

    def close(self) -> None:
        """Commit what was handed over, then let go of the folder. A second call does nothing."""
        with self._wake:
            if self._closing:
                return
            self._closing = True
            self._wake.notify_all()
        self._stop.set()
        for thread in self._threads:
            thread.join()
        with self._tasks:  # an operator's task under way ends first; a later one is refused
            try:
                self._stores.high_water.write()
                self._stores.close()
                if self._fault is None:
                    self._maintenance.remove_superseded()
            except StorageError as error:
                say("warning", "not_tidied_up", error=str(error))
            finally:
                self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
