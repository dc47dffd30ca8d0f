"""The process that answers reads: a crash, a full memory or a busy query there is none of the collector's.

It is started again when it ends, and ended when it takes more memory than it may. It listens on a Unix socket in a
folder that only this user can enter, and whose name nobody can know before it is made; all its temporary files are in
that folder too, so that removing the folder removes everything.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import tempfile
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from otel_audit.config import Settings
from otel_audit.errors import ConfigError
from otel_audit.events import report

__all__ = ["ReadProcess", "ServeReads"]

ServeReads = Callable[[dict[str, Any], str, Connection], None]
"""Serves /v1/audit on a Unix socket: given all settings, the socket's path, and where to say that it listens. Runs in
the child, so it must be a module's own function."""

_MOST_PATH_BYTES = 60
"""Of the folder for temporary files: what is added to it for a socket has some forty more."""
_CHECK_S = 1.0
_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 10.0
_END_S = 10.0


class ReadProcess:
    """Keeps one such process running from `start()` to `close()`."""

    def __init__(self, settings: Settings, serve: ServeReads) -> None:
        """Nothing is started yet."""
        self._settings = settings
        self._serve = serve
        self._most_bytes: int = settings.read_memory_bytes
        self._folder: Path | None = None
        self._process: BaseProcess | None = None
        self._path: str | None = None
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="otel-audit-reads", daemon=True)

    @property
    def path(self) -> str | None:
        """The socket to connect to; None while nobody listens."""
        return self._path

    @property
    def pid(self) -> int | None:
        """The process's id; None while there is none."""
        process = self._process
        return None if process is None else process.pid

    def start(self) -> None:
        """Returns at once; until the process listens, `path` is None.

        Raises:
            ConfigError: no folder for its socket can be made.
        """
        try:
            self._folder = _private_folder()
        except OSError as error:
            raise ConfigError(f"no folder for temporary files can be made: {error}") from error
        self._thread.start()

    def close(self) -> None:
        """End the process and remove its folder; a second call does nothing."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> ReadProcess:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _keep(self) -> None:
        pause, number = _PAUSE_S, 0
        while not self._closing.is_set():
            number += 1
            listened = self._run(number)
            pause = _PAUSE_S if listened else min(2 * pause, _LONGEST_PAUSE_S)
            self._closing.wait(pause)

    def _run(self, number: int) -> bool:
        """One life of the process; whether it came so far as to listen."""
        assert self._folder is not None
        folder = self._folder / str(number)
        listened = False
        try:
            folder.mkdir(mode=0o700)
            path = str(folder / "socket")
            # Spawned, as decoders are: a fork would copy threads' locks in whatever state they are.
            spawn = multiprocessing.get_context("spawn")
            said, saying = spawn.Pipe(duplex=False)
            process = spawn.Process(
                target=self._serve, args=(dict(self._settings), path, saying), name="otel-audit-reads", daemon=True
            )
            process.start()
            saying.close()
            self._process = process
            try:
                listened = self._wait_until_it_listens(process, said)
                if listened:
                    self._path = path
                    self._watch(process)
            finally:
                said.close()
                self._path = None
                self._end(process)
        except OSError as error:
            report("collector", "error", "reads cannot be served", why=str(error))
        finally:
            self._process = None
            # What it was spilling when it ended would otherwise stay until the collector stops.
            shutil.rmtree(folder, ignore_errors=True)
        return listened

    def _wait_until_it_listens(self, process: BaseProcess, said: Connection) -> bool:
        while process.is_alive() and not self._closing.is_set():
            if said.poll(_CHECK_S / 10):
                try:
                    said.recv_bytes()
                except EOFError:
                    break
                return True
        return False

    def _watch(self, process: BaseProcess) -> None:
        while not self._closing.wait(_CHECK_S):
            if not process.is_alive():
                return
            held = _resident_bytes(process.pid)
            if held > self._most_bytes:
                report("collector", "warning", "reads take too much memory", bytes=held, most=self._most_bytes)
                return

    def _end(self, process: BaseProcess) -> None:
        # It writes nothing, so there is nothing to wait for.
        alive = process.is_alive()
        process.kill()
        process.join(_END_S)
        if not self._closing.is_set():
            report("collector", "warning", "reads are started again", exit_code=None if alive else process.exitcode)


def _private_folder() -> Path:
    """A new folder that only this user can enter. Raises OSError.

    Among the temporary files; where that makes the path of a Unix socket too long (sun_path has 104 bytes on some
    systems), in /tmp.
    """
    folder = tempfile.gettempdir()
    if len(os.fsencode(folder)) > _MOST_PATH_BYTES:
        folder = "/tmp"  # noqa: S108 - mkdtemp makes a name that nobody can know, with 0700
    return Path(tempfile.mkdtemp(prefix="otel-audit-reads-", dir=folder))


def _resident_bytes(pid: int | None) -> int:
    """Memory that a process has in use; 0 where /proc does not tell."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    except (OSError, IndexError, ValueError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
