"""Builds the product's parts from settings: the one place that knows which implementation goes where.

Whoever calls closes what is given back. The web layer stands above this one, so the collector is handed it as an
argument.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import requests

from otel_audit.config import Settings
from otel_audit.delivery.endpoint import Endpoint, resolve_endpoint
from otel_audit.errors import ConfigError, MissingExtraError, NoLogError
from otel_audit.model.printing import public_url
from otel_audit.otlp.names import LOG_HEADER
from otel_audit.ports import ActivityLogReader
from otel_audit.repos.http_inspector import HttpInspector
from otel_audit.repos.http_reader import HttpReader
from otel_audit.repos.otel import OTelActivityLogRepo

if TYPE_CHECKING:
    from otel_audit.collector.answers import ASGIApp
    from otel_audit.collector.read_process import ServeReads
    from otel_audit.collector.server import Collector
    from otel_audit.log.engine import ActivityLog
    from otel_audit.log.inspector import LocalInspector
    from otel_audit.query.reader import DuckDBReader
    from otel_audit.query.session import SqlSession

__all__ = [
    "endpoint_of",
    "open_collector",
    "open_folder_inspector",
    "open_folder_reader",
    "open_inspector",
    "open_log",
    "open_reader",
    "open_repo",
    "open_sql",
]

_PROBE_S = 2.0
_OF_A_POST = {"content-type", "user-agent"}


def open_repo(settings: Settings) -> OTelActivityLogRepo:
    """The repo an application uses, by its settings. Raises ConfigError."""
    return OTelActivityLogRepo(settings=settings)


def endpoint_of(settings: Settings, env: Mapping[str, str] | None = None) -> Endpoint:
    """Where records go. Raises ConfigError."""
    return resolve_endpoint(
        os.environ if env is None else env,
        audit_endpoint=settings.endpoint,
        audit_source=settings.source("endpoint"),
    )


def open_reader(
    settings: Settings,
    env: Mapping[str, str] | None = None,
    *,
    headers: Mapping[str, str] | None = None,
    cacert: str | None = None,
) -> HttpReader | DuckDBReader:
    """Where to read: what `reader` names, else the collector behind the endpoint if ours answers there, else the data
    folder if there is one.

    Args:
        headers: sent to a collector with each request.
        cacert: CA certificates that a collector's own must go back to.

    Raises:
        ConfigError: none of them is there; or a folder is, to which headers and certificates do not apply.
        NoLogError: `reader` names a folder that does not exist.
    """
    found = _find(settings, env, headers, cacert)
    return found if isinstance(found, HttpReader) else open_folder_reader(found, settings)


@contextmanager
def open_inspector(
    settings: Settings,
    env: Mapping[str, str] | None = None,
    *,
    headers: Mapping[str, str] | None = None,
    cacert: str | None = None,
) -> Iterator[HttpInspector | LocalInspector]:
    """What tells about the folder that `open_reader` reads, or its collector does; arguments and errors as there."""
    found = _find(settings, env, headers, cacert)
    if isinstance(found, HttpReader):
        with found:
            yield HttpInspector(found)
    else:
        yield open_folder_inspector(found)


def open_folder_inspector(data_dir: Path) -> LocalInspector:
    """What tells about a data folder. Raises MissingExtraError."""
    try:
        from otel_audit.log.inspector import LocalInspector
    except ModuleNotFoundError as error:
        raise _missing(error, "looking into a data folder", "collector") from error
    return LocalInspector(data_dir)


def _find(
    settings: Settings, env: Mapping[str, str] | None, headers: Mapping[str, str] | None, cacert: str | None
) -> HttpReader | Path:
    if settings.reader:
        if settings.reader.lower().startswith(("http://", "https://")):
            return HttpReader(settings.reader, headers=headers, cacert=cacert)
        if "://" in settings.reader:
            raise ConfigError(f"reader: {public_url(settings.reader)!r} is neither an http(s) URL nor a folder")
        return _folder(settings.reader, headers, cacert)
    endpoint = endpoint_of(settings, env)
    if endpoint.base_url is not None:
        # The server that records are sent to: it gets the same headers and certificates.
        sent = {name: value for name, value in endpoint.headers.items() if name not in _OF_A_POST}
        sent |= {name.lower(): value for name, value in (headers or {}).items()}
        trusted = cacert or (endpoint.verify if isinstance(endpoint.verify, str) else None)
        if _is_ours(endpoint.base_url, sent, trusted):
            return HttpReader(endpoint.base_url, headers=sent, cacert=trusted)
    if Path(settings.data_dir).is_dir():
        return _folder(settings.data_dir, headers, cacert)
    asked = public_url(endpoint.base_url or endpoint.url)
    raise ConfigError(
        f"nothing to read: no collector of ours answers at {asked}, and there is no data folder {settings.data_dir}. "
        "Name a folder or a collector's URL"
    )


def open_folder_reader(data_dir: Path, settings: Settings) -> DuckDBReader:
    """A reader over a data folder, beside a running collector or without one.

    Raises:
        NoLogError: no such folder.
        MissingExtraError: DuckDB is not installed.
    """
    if not data_dir.is_dir():
        raise NoLogError(f"{data_dir}: no such folder")
    try:
        from otel_audit.query.reader import DuckDBReader
    except ModuleNotFoundError as error:
        raise _missing(error, "reading a data folder", "query") from error
    return DuckDBReader(data_dir, settings)


def open_sql(data_dir: Path, settings: Settings) -> SqlSession:
    """Plain SQL over a data folder, with the views of query/views.sql; errors as for `open_folder_reader`."""
    if not data_dir.is_dir():
        raise NoLogError(f"{data_dir}: no such folder")
    try:
        from otel_audit.query.session import SqlSession
    except ModuleNotFoundError as error:
        raise _missing(error, "SQL over a data folder", "query") from error
    return SqlSession(data_dir, settings)


def open_log(settings: Settings) -> ActivityLog:
    """The log in `data_dir`, owned by this process until it is closed. Raises StorageError and its family."""
    try:
        from otel_audit.log.engine import ActivityLog
    except ModuleNotFoundError as error:
        raise _missing(error, "writing a data folder", "collector") from error
    return ActivityLog.open(Path(settings.data_dir), settings)


@contextmanager
def open_collector(
    settings: Settings,
    mount: Callable[[ActivityLogReader], ASGIApp] | None = None,
    *,
    serve_reads: ServeReads | None = None,
) -> Iterator[Collector]:
    """A collector over `data_dir`, not serving yet; its log and what reads are closed on leaving.

    Args:
        mount: makes the application that serves /v1/audit from a reader, within this process.
        serve_reads: serves it in a process of its own instead, which cannot slow the collector down. Without either
            no reading is served.

    Raises:
        ConfigError: the address or the limits; MissingExtraError.
        StorageError: the folder cannot be used.
    """
    try:
        from otel_audit.collector.read_process import ReadProcess
        from otel_audit.collector.reads import Reads
        from otel_audit.collector.server import Collector
    except ModuleNotFoundError as error:
        raise _missing(error, "the collector", "collector") from error
    with open_log(settings) as log:
        if serve_reads is not None:
            with ReadProcess(settings, serve_reads) as process:
                yield Collector(log, settings, reads=Reads(process, settings))
        elif mount is not None:
            with open_folder_reader(Path(settings.data_dir), settings) as reader:
                yield Collector(log, settings, reads=mount(reader))
        else:
            yield Collector(log, settings)


def _folder(path: str, headers: Mapping[str, str] | None, cacert: str | None) -> Path:
    if headers or cacert:
        raise ConfigError(f"headers and CA certificates are for a collector's URL; {path!r} is a folder")
    return Path(path)


def _is_ours(base_url: str, headers: Mapping[str, str], cacert: str | None) -> bool:
    """Whether a collector of ours answers at this address now."""
    try:
        answer = requests.get(
            f"{base_url.rstrip('/')}/healthz",
            timeout=_PROBE_S,
            allow_redirects=False,
            headers=dict(headers),
            verify=cacert or True,
            auth=lambda request: request,  # or a .netrc entry would take the place of the header given
        )
    except (requests.RequestException, OSError):  # the latter for a file of certificates that cannot be read
        return False
    return LOG_HEADER in answer.headers


def _missing(error: ModuleNotFoundError, feature: str, extra: str) -> Exception:
    # A module of ours that is missing is a broken installation, and no extra helps.
    if (error.name or "").partition(".")[0] == "otel_audit":
        return error
    return MissingExtraError(feature, extra)
