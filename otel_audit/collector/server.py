"""Running the collector: sockets, signals, and the order of starting and stopping.

Stopping, once: no new connection is accepted and `/readyz` says 503; requests under way have `stop_timeout_s` to be
committed and answered (then they are answered 503); the decoders end; the log is closed. A second signal ends the
process on the spot, which loses nothing that was acknowledged: what was answered is on disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

import uvicorn

from otel_audit._version import __version__
from otel_audit.collector.admission import ByteBudget
from otel_audit.collector.answers import ASGIApp
from otel_audit.collector.app import CollectorApp
from otel_audit.collector.connections import KEEP_ALIVE_S, Connection, Limits, most_connections, sweep
from otel_audit.collector.decoding import Decoder, make_decoder
from otel_audit.collector.guard import Guard
from otel_audit.collector.hosts import is_loopback
from otel_audit.collector.intake import Intake
from otel_audit.collector.metrics import Metrics
from otel_audit.collector.notices import Notices
from otel_audit.config import Settings
from otel_audit.errors import ConfigError
from otel_audit.events import report
from otel_audit.log.engine import ActivityLog
from otel_audit.otlp.names import LOG_HEADER

__all__ = ["Collector"]

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Collector:
    """Our OTLP/HTTP server in front of an open log.

    Either `serve()` (in this thread, until SIGTERM, SIGINT or `stop()`), or `start()` and `stop()` (in a thread of its
    own; also as a context manager). Runs once; stopping closes the log.
    """

    def __init__(
        self,
        log: ActivityLog,
        settings: Settings,
        *,
        reads: ASGIApp | None = None,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        """Nothing is opened yet.

        Args:
            log: open, and this collector's from now on.
            reads: serves every path under /v1/audit; without it they are 404.

        Raises:
            ConfigError: an address that other machines reach without `insecure`, or limits that contradict.
        """
        self._host: str = settings.host
        self._loopback = is_loopback(self._host)
        if not self._loopback and not settings.insecure:
            raise ConfigError(
                f"host={self._host!r} can be reached by other machines, and there is no TLS and no token here; "
                "use 127.0.0.1, or set insecure if the network itself keeps strangers out"
            )
        if settings.ingest_max_bytes < 2 * settings.max_request_bytes:
            raise ConfigError(
                f"ingest_max_bytes={settings.ingest_max_bytes} must be at least twice "
                f"max_request_bytes={settings.max_request_bytes}: the largest request needs room packed and unpacked"
            )
        self._log = log
        self._settings = settings
        self._reads = reads
        self._clock_ns = clock_ns
        self._port: int = settings.port
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None
        self._up = threading.Event()
        self._down = threading.Event()

    @property
    def port(self) -> int:
        """The port listened on; known once started."""
        return self._port

    @property
    def host(self) -> str:
        """The address listened on, as set."""
        return self._host

    @property
    def url(self) -> str:
        """Base URL for a client on this machine."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(self._host, self._host)  # noqa: S104
        return f"http://[{host}]:{self._port}" if ":" in host else f"http://{host}:{self._port}"

    def serve(self) -> None:
        """Serve until told to stop, then close the log. In the main thread, signals are handled meanwhile.

        Raises:
            ConfigError: the address cannot be used, or decoding processes do not start.
        """
        decoder = make_decoder(self._settings.decode_workers)
        sockets: list[socket.socket] = []
        try:
            decoder.start()
            sockets = _bind(self._host, self._settings.port)
            self._port = sockets[0].getsockname()[1]
            self._server = self._make_server(decoder)
        except BaseException:
            for listener in sockets:
                listener.close()
            decoder.close()
            raise
        try:
            with self._signals(self._server):
                self._server.run(sockets=sockets)
        finally:
            decoder.close()
            self._log.close()
            report("collector", "info", "stopped", log=self._log.name)
            self._down.set()

    def start(self) -> None:
        """Serve in a background thread; returns when requests are taken. Raises what `serve` raises."""
        self._thread = threading.Thread(target=self._serve_in_thread, name="otel-audit-collector", daemon=True)
        self._thread.start()
        self._up.wait()
        if self._failure is not None:
            self._thread.join()
            raise self._failure

    def stop(self) -> None:
        """Stop, and wait until the log is closed. May be called again, and from any thread but the serving one."""
        if self._server is None:
            return
        self._server.stop()
        self._down.wait()
        if self._thread is not None:
            self._thread.join()

    def __enter__(self) -> Collector:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _serve_in_thread(self) -> None:
        try:
            self.serve()
        except BaseException as error:  # noqa: BLE001 - carried to the thread that waits in start()
            self._failure = error
        finally:
            self._up.set()

    def _make_server(self, decoder: Decoder) -> _Server:
        settings = self._settings
        budget = ByteBudget(settings.ingest_max_bytes)
        metrics = Metrics(self._log, lambda: budget.held_bytes, lambda: len(server.server_state.connections))
        notices = Notices()
        intake = Intake(self._log, decoder, metrics, notices, settings, self._clock_ns)
        app = CollectorApp(
            self._log, settings, intake, budget, metrics, notices, reads=self._reads, check_host=self._loopback
        )

        def refused(reason: str, peer: str, why: str) -> None:
            metrics.refused.labels(reason).inc()
            notices.refused(reason, status=400, path="", peer=peer, why=why)

        limits = Limits(
            most_connections(), settings.read_timeout_s, lambda reason: metrics.closed.labels(reason).inc(), refused
        )
        config = uvicorn.Config(
            Guard(app),
            http=partial(Connection, limits),
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="warning",
            access_log=False,
            proxy_headers=False,  # whoever connects is the peer, whatever a header says
            server_header=False,
            headers=[(LOG_HEADER, self._log.name)],
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=settings.stop_timeout_s,
        )
        server = _Server(config, app, self._announce)
        return server

    def _announce(self) -> None:
        self._log.announce(self.url)
        report(
            "collector",
            "info",
            "listening",
            url=self.url,
            data=str(Path(self._settings.data_dir).absolute()),
            log=self._log.name,
            version=__version__,
        )
        self._up.set()

    @contextlib.contextmanager
    def _signals(self, server: _Server) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def handle(number: int, _frame: FrameType | None) -> None:
            if server.should_exit:
                os._exit(128 + number)
            server.stop()

        before = {number: signal.signal(number, handle) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class _Server(uvicorn.Server):  # type: ignore[misc]
    """uvicorn, without its signal handling: that one ends the process before the log is closed."""

    def __init__(self, config: uvicorn.Config, app: CollectorApp, announce: Callable[[], None]) -> None:
        super().__init__(config)
        config.load()
        # uvicorn sets these once a second; the first requests must have them as well.
        self.server_state.default_headers = list(config.encoded_headers)
        self._app = app
        self._announce = announce

    def stop(self) -> None:
        """Begin to stop; returns at once. Safe in a signal handler."""
        self._app.stopping = True
        self.should_exit = True

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """None are captured here."""
        yield

    async def on_tick(self, counter: int) -> bool:
        """As uvicorn, ten times a second; every tenth time the connections are held to their times."""
        if counter % 10 == 0:
            sweep(self.server_state.connections, asyncio.get_running_loop().time())
        return bool(await super().on_tick(counter))

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn, and then say so."""
        await super().startup(sockets)
        self._announce()


def _bind(host: str, port: int) -> list[socket.socket]:
    """A bound socket for each address of the host, all on one port. Raises ConfigError."""
    bound: list[socket.socket] = []
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, address in dict.fromkeys(found):
            chosen = bound[0].getsockname()[1] if bound else port
            listener = _bind_one(family, kind, protocol, (address[0], chosen, *address[2:]))
            if listener is not None:
                bound.append(listener)
        if not bound:
            raise OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
    except (OSError, OverflowError) as error:
        for listener in bound:
            listener.close()
        raise ConfigError(f"host={host!r} port={port}: cannot listen there: {error}") from error
    return bound


def _bind_one(family: int, kind: int, protocol: int, address: tuple[Any, ...]) -> socket.socket | None:
    """None where this machine does not have the address: `localhost` names ::1 even without IPv6."""
    try:
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        if error.errno == errno.EAFNOSUPPORT:
            return None
        raise
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRNOTAVAIL:
            return None
        raise
    except BaseException:
        listener.close()
        raise
    return listener
