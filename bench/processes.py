"""Starting what a benchmark measures as processes of their own, and ending them by their ids."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from otel_audit.log.folder import read_owner

__all__ = ["CollectorProcess", "PostgresServer", "cpu_seconds", "running_collector", "running_postgres"]

_START_S = 30.0
_STOP_S = 120.0


@dataclass(frozen=True)
class CollectorProcess:
    """A running collector: where it listens, and its process."""

    url: str
    pid: int


@contextmanager
def running_collector(data_dir: Path, **settings: object) -> Iterator[CollectorProcess]:
    """A collector on a free loopback port until the block is left; then it has committed, and let go of its folder.

    Args:
        settings: by name, as `OTEL_AUDIT_*` variables.
    """
    environment = {name: text for name, text in os.environ.items() if not name.startswith("OTEL_")}
    environment |= {f"OTEL_AUDIT_{name.upper()}": str(value) for name, value in settings.items()}
    environment |= {"OTEL_AUDIT_DATA_DIR": str(data_dir), "OTEL_AUDIT_PORT": "0"}
    run = "from otel_audit.cli.main import main; main(['collector'])"
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen([sys.executable, "-c", run], env=environment, stdout=said, stderr=said)
        try:
            yield CollectorProcess(_url(process, data_dir, said.fileno()), process.pid)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _url(process: subprocess.Popen[bytes], data_dir: Path, said: int) -> str:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline and process.poll() is None:
        owner = read_owner(data_dir) if data_dir.is_dir() else None
        if owner and owner.get("url"):
            return str(owner["url"])
        time.sleep(0.05)
    raise SystemExit("the collector did not start:\n" + os.pread(said, 8_192, 0).decode(errors="replace"))


def cpu_seconds(pid: int) -> float:
    """CPU that a process has used so far, in seconds; 0 where /proc does not tell."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class PostgresServer:
    """A running server: how to connect, and its version."""

    conninfo: str
    version: str


@contextmanager
def running_postgres() -> Iterator[PostgresServer | None]:
    """A PostgreSQL of its own in a temporary folder, or None where none is installed.

    Durable as it comes (fsync and synchronous_commit are on); memory and WAL limits are raised, so that a young table
    is not slowed by defaults made for small machines.
    """
    programs = _postgres_programs()
    if programs is None:
        yield None
        return
    # The server refuses to run as root.
    user = "postgres" if os.geteuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="otel-audit-bench-pg-"))
    if user:
        shutil.chown(folder, user)
    data, port = folder / "data", _free_port()
    process = None
    try:
        subprocess.run(
            [programs / "initdb", "-D", data, "-U", "bench", "-A", "trust", "-E", "UTF8", "--no-locale"],
            user=user,
            cwd=folder,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        options = {"shared_buffers": "1GB", "max_wal_size": "8GB", "port": port, "listen_addresses": "127.0.0.1"}
        options |= {"unix_socket_directories": folder, "fsync": "on", "synchronous_commit": "on"}
        command: list[str | Path] = [programs / "postgres", "-D", data]
        for name, value in options.items():
            command += ["-c", f"{name}={value}"]
        process = subprocess.Popen(command, user=user, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        conninfo = f"host=127.0.0.1 port={port} user=bench dbname=postgres"
        yield PostgresServer(conninfo, _wait_for_postgres(process, conninfo))
    finally:
        if process is not None:
            process.send_signal(signal.SIGINT)  # "fast": ends sessions, writes a checkpoint
            with suppress(subprocess.TimeoutExpired):
                process.wait(60)
            if process.poll() is None:
                process.kill()
                process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _postgres_programs() -> Path | None:
    """The folder of the newest PostgreSQL's programs."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    on_path = shutil.which("postgres")
    folders = [*reversed(found), *([Path(on_path).resolve().parent] if on_path else [])]
    try:
        import psycopg  # noqa: F401
    except ImportError:
        return None
    return next((folder for folder in folders if (folder / "postgres").exists() and (folder / "initdb").exists()), None)


def _wait_for_postgres(process: subprocess.Popen[bytes], conninfo: str) -> str:
    import psycopg

    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with psycopg.connect(conninfo) as connection:
                row = connection.execute("show server_version").fetchone()
                assert row is not None
                return str(row[0]).split()[0]
        except psycopg.OperationalError:
            time.sleep(0.1)
    raise SystemExit("PostgreSQL did not start")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
