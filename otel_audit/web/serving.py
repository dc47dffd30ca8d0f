"""The process in which a collector has its reads answered: what runs there, and how it stays out of the way.

Where the processors are busy its threads get about a tenth of what others get: so much a read may slow a commit or a
health check. At the very lowest priority a busy machine would answer no read at all.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import tempfile
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import uvicorn

from otel_audit.bootstrap import open_folder_inspector, open_folder_reader
from otel_audit.collector.child import become_child
from otel_audit.config import load_settings
from otel_audit.web.app import create_app

__all__ = ["serve_reads"]

_NICENESS = 10


def serve_reads(settings: dict[str, Any], path: str, listening: Connection) -> None:
    """Answer /v1/audit on a Unix socket for as long as the parent lives.

    Args:
        settings: all of them, by name.
        path: of the socket, in a folder within one that only this user can enter and that goes with its parent.
        listening: told once, when it listens.
    """
    folder = Path(path).parent
    become_child(partial(shutil.rmtree, folder.parent, ignore_errors=True))
    tempfile.tempdir = str(folder)  # DuckDB's spill goes away with the folder, whoever ends this process
    known = load_settings({}, **settings)
    with (
        open_folder_reader(Path(known.data_dir), known) as reader,
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener,
    ):
        listener.bind(path)
        config = uvicorn.Config(
            create_app(
                reader,
                time_limit_s=known.read_time_limit_s,
                folder=open_folder_inspector(Path(known.data_dir)),
            ),
            lifespan="off",
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
        )
        _Server(config, listening).run(sockets=[listener])


class _Server(uvicorn.Server):  # type: ignore[misc]
    """uvicorn, without its signal handling; steps back once it listens."""

    def __init__(self, config: uvicorn.Config, listening: Connection) -> None:
        super().__init__(config)
        self._listening = listening

    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        """None are captured here."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As the library; then says that it listens."""
        await super().startup(sockets)
        _step_back()
        self._listening.send_bytes(b"listening")


def _step_back() -> None:
    """Take a lower priority, where that is allowed. Threads started later have it as well."""
    threads = Path("/proc/self/task")
    # By thread, as Linux counts it: DuckDB's are running by now.
    for thread in [int(each.name) for each in threads.iterdir()] if threads.is_dir() else [0]:
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, thread, _NICENESS)
