"""Which outbox goes with which durability, and everything it is made of."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from otel_audit.config import Settings
from otel_audit.delivery.backlog import Backlog
from otel_audit.delivery.endpoint import Endpoint
from otel_audit.delivery.identity import authentication
from otel_audit.delivery.marking import marking
from otel_audit.delivery.notices import report
from otel_audit.delivery.outbox import Outbox
from otel_audit.delivery.queue import DeliveryQueue
from otel_audit.delivery.resource import EncodedResource
from otel_audit.delivery.second_tries import SecondTries
from otel_audit.delivery.spooled import SpoolOutbox
from otel_audit.disk import Disk
from otel_audit.errors import ConfigError, SpoolUnwritableError
from otel_audit.model.printing import public_url
from otel_audit.otlp.stamp import stream_stamp
from otel_audit.spool.destination import Destination, identity_of
from otel_audit.spool.places import POOLS
from otel_audit.spool.pools import Pools
from otel_audit.spool.stream import OwnStream, open_spool

__all__ = ["OutboxMaker", "spool_root"]

_CHOICES = "Set OTEL_AUDIT_SPOOL_DIR to a folder that can be written, or OTEL_AUDIT_DURABILITY to memory or collector"


def spool_root(settings: Settings, env: Mapping[str, str] | None = None) -> Path:
    """The spool's folder: the setting, else the user's state folder (XDG Base Directory Specification).

    Raises:
        ConfigError: it is in a home that nobody knows.
    """
    env = os.environ if env is None else env
    state = env.get("XDG_STATE_HOME", "")
    try:
        if settings.spool_dir:
            return Path(settings.spool_dir).expanduser().absolute()
        base = Path(state) if Path(state).is_absolute() else Path.home() / ".local" / "state"
    except RuntimeError as error:  # a container's user that has no entry and no HOME
        raise ConfigError(f"no folder for the spool: {error} {_CHOICES}") from None
    return base / "otel-audit" / "spool"


class OutboxMaker:
    """Makes an outbox, once for each process.

    Raises:
        ConfigError: the spool's folder cannot be used.
    """

    def __init__(
        self,
        settings: Settings,
        endpoint: Endpoint,
        resource: EncodedResource,
        clock_ns: Callable[[], int],
        new_stream_id: Callable[[], str],
        disk: Disk,
    ) -> None:
        self._settings, self._resource, self._mark = settings, resource, marking(clock_ns)
        self._endpoint = public_url(endpoint.url)
        self._authentication = authentication(endpoint)
        self._new_stream_id, self._disk = new_stream_id, disk
        self._root: Path | None = None
        if settings.durability in {"disk", "process"}:
            self._root = spool_root(settings)
            try:
                open_spool(self._root, POOLS, disk)
            except SpoolUnwritableError as error:
                raise ConfigError(f"{error}. {_CHOICES}") from error
            for folder in (self._root / name for name in POOLS):
                if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
                    raise ConfigError(f"{folder} cannot be written. {_CHOICES}")

    def __call__(self) -> Outbox:
        """A new outbox. Touches no disk: it may be called in a child just forked."""
        return self._in_memory() if self._root is None else self._on_disk(self._root)

    def _in_memory(self) -> DeliveryQueue:
        settings = self._settings
        stream_id = self._new_stream_id()
        return DeliveryQueue(
            stamp=stream_stamp(stream_id),
            mark=lambda state, last: self._mark(stream_id, state, last),
            resource=self._resource.current,
            max_records=settings.queue_max_records,
            max_bytes=settings.queue_max_bytes,
            batch_records=settings.batch_max_records,
            batch_bytes=settings.batch_max_bytes,
            # Whoever waits for the answer waits for nothing else.
            batch_delay_s=0.0 if settings.durability == "collector" else settings.batch_delay_s,
            heartbeat_s=settings.heartbeat_s,
            holds_refused=settings.durability != "collector",
        )

    def _on_disk(self, root: Path) -> SpoolOutbox:
        settings, disk = self._settings, self._disk
        pools = Pools(root, disk, settings.spool_keep_s, settings.spool_keep_bytes, on_mended=_say_mended)
        destination = Destination(
            self._endpoint, lambda: identity_of(self._authentication, root, disk), self._resource.current
        )
        return SpoolOutbox(
            pools=pools,
            open_stream=lambda: OwnStream(
                root,
                disk,
                new_stream_id=self._new_stream_id,
                endpoint=self._endpoint,
                resource=self._resource.current,
                stamp=stream_stamp,
                synced=settings.durability == "disk",
                segment_bytes=settings.spool_segment_bytes,
                identity=destination.identity(),
            ),
            mark=self._mark,
            backlog=Backlog(pools, disk, destination, self._mark, self._resource.current, SecondTries()),
            max_bytes=settings.spool_max_bytes,
            batch_records=settings.batch_max_records,
            batch_bytes=settings.batch_max_bytes,
            batch_delay_s=settings.batch_delay_s,
            heartbeat_s=settings.heartbeat_s,
        )


def _say_mended(gone: list[str]) -> None:
    report("error", "somebody has removed the spool or a part of it; it is made anew", missing=", ".join(gone))
