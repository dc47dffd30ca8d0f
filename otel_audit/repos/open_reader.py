"""Finds the reader of a log that is written over OTLP: a URL, a data folder, or the collector behind the endpoint."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from otel_audit.config import Settings
from otel_audit.delivery.delivery import Delivery
from otel_audit.errors import ConfigError, MissingExtraError, ReaderUnavailableError
from otel_audit.model.printing import public_url
from otel_audit.model.reading import RecordReads
from otel_audit.repos.http_reader import HttpReader

__all__ = ["OpenedReader", "ReaderSource", "open_reader"]

ReaderSource = str | os.PathLike[str] | RecordReads
OpenedReader = tuple[RecordReads, Callable[[], None]]
"""A reader, and what closes it."""

_CHOICES = (
    "give reader= (or OTEL_AUDIT_READER) the URL of an otel-audit collector, or of an application that serves "
    "/v1/audit, or the path of the collector's data folder"
)


def open_reader(source: ReaderSource | None, delivery: Delivery, settings: Settings) -> OpenedReader:
    """The reader that a source names; for None, the collector behind the delivery's endpoint.

    Raises:
        ConfigError: no such reader, or nothing readable behind the endpoint; says what to give instead.
        MissingExtraError: a data folder without the packages that read it.
        ReaderUnavailableError: the endpoint does not answer now.
    """
    if isinstance(source, RecordReads):
        # Handed in, so its owner closes it.
        return source, _nothing
    if source is None:
        return _over_http(_behind_endpoint(delivery), delivery)
    text = os.fspath(source)
    if text.lower().startswith(("http://", "https://")):
        return _over_http(text, delivery)
    if "://" in text:
        raise ConfigError(f"reader: {public_url(text)!r} is neither an http(s) URL nor a folder; {_CHOICES}")
    return _over_folder(Path(text), settings)


def _over_http(url: str, delivery: Delivery) -> OpenedReader:
    access = delivery.access(url)
    if access is None:
        reader = HttpReader(url)
        return reader, reader.close
    # The server that records are sent to: it gets the same headers and certificates, and nobody else does.
    session, headers = access
    reader = HttpReader(url, headers=headers, session=session)

    def close() -> None:
        reader.close()
        session.close()

    return reader, close


def _over_folder(path: Path, settings: Settings) -> OpenedReader:
    try:
        from otel_audit.query.reader import DuckDBReader
    except ImportError as error:
        raise MissingExtraError("reading a data folder", "query") from error
    reader = DuckDBReader(path, settings)
    return reader, reader.close


def _behind_endpoint(delivery: Delivery) -> str:
    endpoint = delivery.endpoint
    base = endpoint.base_url
    if base is None:
        raise ConfigError(f"{endpoint.shown_url} ({endpoint.source}) does not say where to read; {_CHOICES}")
    if delivery.stats().state == "acknowledged":
        return base
    try:
        answer = delivery.probe(f"{base}/healthz")
    except ReaderUnavailableError as error:
        raise ReaderUnavailableError(f"{error}; if records are read elsewhere, {_CHOICES}") from error
    if answer is None:
        raise ConfigError(
            f"what answers at {endpoint.shown_url} ({endpoint.source}) is no otel-audit collector; {_CHOICES}"
        )
    return base


def _nothing() -> None:
    pass
