"""A repo for commands that send: what is not acknowledged when a command ends is gone, and the error says so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from otel_audit.config import load_settings
from otel_audit.delivery.remedy import remedy
from otel_audit.errors import BacklogFullError, NotDeliveredError, UndeliveredError

if TYPE_CHECKING:
    from otel_audit.repos.otel import OTelActivityLogRepo

__all__ = ["opened_repo"]

_RETRY_MAX_S = 2.0
_CLOSE_S = 1.0


@contextmanager
def opened_repo(endpoint: str | None = None, reader: str | None = None) -> Iterator[OTelActivityLogRepo]:
    """The configured repo, or one with another endpoint and reader; closed afterwards.

    Raises:
        NotDeliveredError: records were left that nobody acknowledged.
    """
    from otel_audit import bootstrap

    # The command has flushed with its own patience; closing only tells the collector that the stream ends.
    settings = load_settings(endpoint=endpoint, reader=reader, exit_flush_s=_CLOSE_S)
    # Somebody waits: a collector that is back is found within seconds, and what could not be sent is told now, and not
    # left for a later command to deliver.
    for name, value in {"retry_max_s": _RETRY_MAX_S, "durability": "memory"}.items():
        if settings.source(name) == "default":
            settings = settings.with_arguments(**{name: value})
    try:
        with bootstrap.open_repo(settings) as repo:
            yield repo
    except (UndeliveredError, BacklogFullError) as error:
        raise NotDeliveredError(f"{error}. {remedy(str(error))}") from error
