"""Where request bodies become Arrow tables: in one thread, or in processes of their own.

Decoding in Python keeps one core busy; processes are how it gets more than one. What comes back from a process is
Arrow IPC, which is read without copying; pickled tables would cost as much as the decoding saved.

The largest request that is allowed takes seconds. So large ones (`is_large`) are decoded beside the others and not
before them: in a thread of their own, or in all processes but one. With a single process they share it.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import traceback
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from typing import Protocol

import pyarrow as pa

from otel_audit.collector.child import become_child
from otel_audit.errors import ConfigError, OverloadedError, PeerBytesError
from otel_audit.otlp.decode import Decoded, Rejected, decode_logs
from otel_audit.otlp.markers import Marker
from otel_audit.otlp.work import is_dense

__all__ = ["Decoder", "ProcessDecoder", "ThreadDecoder", "is_large", "make_decoder"]

_WARM_UP_S = 60.0
_LARGE_BYTES, _LARGE_UNITS = 4 << 20, 1 << 20
"""Where a request begins to be a large one: about a third of a second."""
_Parts = tuple[bytes, tuple[Rejected, ...], int, int, tuple[Marker, ...]]


class Decoder(Protocol):
    """Decodes without keeping the event loop.

    Attributes:
        slots: so many requests at a time keep it busy; more only wait inside.
        large_slots: so many of them may be large.
    """

    slots: int
    large_slots: int

    def start(self) -> None:
        """Get ready. Raises ConfigError when that is impossible."""
        ...

    async def decode(self, body: bytes, received_from: str, arrival_ns: int, max_records: int) -> Decoded:
        """As `otlp.decode.decode_logs`; also raises OverloadedError when the decoder itself broke down."""
        ...

    def close(self) -> None:
        """Give everything back."""
        ...


def is_large(body: bytes) -> bool:
    """Whether a request may take long to decode."""
    return len(body) > _LARGE_BYTES or is_dense(body, _LARGE_UNITS)


def make_decoder(workers: int) -> Decoder:
    """A thread for 0 workers, else that many processes."""
    return ProcessDecoder(workers) if workers else ThreadDecoder()


class ThreadDecoder:
    """One thread, as a second one would only fight for the interpreter lock; and one for large requests, which does."""

    slots = large_slots = 2  # one in work, one at the door

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="otel-audit-decode")
        self._large = ThreadPoolExecutor(1, thread_name_prefix="otel-audit-decode-large")

    def start(self) -> None:
        """Nothing to wait for."""

    async def decode(self, body: bytes, received_from: str, arrival_ns: int, max_records: int) -> Decoded:
        """See Decoder."""
        pool = self._large if is_large(body) else self._pool
        return await asyncio.wrap_future(pool.submit(_decode, body, received_from, arrival_ns, max_records))

    def close(self) -> None:
        """Waits for the requests in work."""
        for pool in (self._pool, self._large):
            pool.shutdown(wait=True, cancel_futures=True)


class ProcessDecoder:
    """Worker processes. When one dies, the requests in work are answered "later" and the workers are replaced."""

    def __init__(self, workers: int) -> None:
        self.slots = 2 * workers
        self.large_slots = max(1, workers - 1)
        self._workers = workers
        self._pool = self._new_pool()
        self._closed = False

    def start(self) -> None:
        """Start all workers and wait until they have imported what they need."""
        try:
            for future in [self._pool.submit(_worker_pid) for _ in range(self._workers)]:
                future.result(_WARM_UP_S)
        except (BrokenExecutor, TimeoutError, OSError) as error:
            self.close()
            raise ConfigError(f"decode_workers={self._workers}: the processes do not start: {error}") from error

    async def decode(self, body: bytes, received_from: str, arrival_ns: int, max_records: int) -> Decoded:
        """See Decoder."""
        if self._closed:
            raise OverloadedError("the collector is stopping")
        pool = self._pool
        try:
            future: Future[_Parts] = pool.submit(_decode_to_parts, body, received_from, arrival_ns, max_records)
            ipc, rejected, others, total, markers = await asyncio.wrap_future(future)
        except BrokenExecutor as error:
            self._replace(pool)
            raise OverloadedError("a decoding process died") from error
        table = pa.ipc.open_stream(pa.py_buffer(ipc)).read_all()
        return Decoded(table, rejected, others, total, markers)

    def close(self) -> None:
        """Waits for the requests in work."""
        self._closed = True
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _replace(self, broken: ProcessPoolExecutor) -> None:
        # Every request that was in the broken pool comes here; the first one replaces it.
        if self._pool is broken and not self._closed:
            self._pool = self._new_pool()
            broken.shutdown(wait=False, cancel_futures=True)

    def _new_pool(self) -> ProcessPoolExecutor:
        spawn = multiprocessing.get_context("spawn")  # fork would copy threads' locks in whatever state they are
        return ProcessPoolExecutor(self._workers, mp_context=spawn, initializer=become_child)


def _worker_pid() -> int:
    return os.getpid()


def _decode(body: bytes, received_from: str, arrival_ns: int, max_records: int) -> Decoded:
    try:
        return decode_logs(body, received_from=received_from, arrival_ns=arrival_ns, max_records=max_records)
    except PeerBytesError:
        raise
    except BaseException as error:  # noqa: BLE001 - a worker must outlive any body
        # Native code may raise what is no Exception, or what cannot be pickled; neither may take a worker down.
        raise RuntimeError("".join(traceback.format_exception(error))) from None


def _decode_to_parts(body: bytes, received_from: str, arrival_ns: int, max_records: int) -> _Parts:
    decoded = _decode(body, received_from, arrival_ns, max_records)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, decoded.table.schema) as writer:
        writer.write_table(decoded.table)
    return sink.getvalue().to_pybytes(), decoded.rejected, decoded.others, decoded.total, decoded.markers
