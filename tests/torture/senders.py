"""The two ways to send that are put to the torture: ours, and the stock OpenTelemetry SDK's log pipeline."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Protocol

from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.resources import Resource

from otel_audit import ActivityRecord, OTelActivityLogRepo
from otel_audit.delivery.emitter import LoggerProviderEmitter
from otel_audit.errors import BacklogFullError, DeliveryError, SpoolUnwritableError, UndeliveredError
from otel_audit.model.receipts import Receipt
from tests.torture.plan import Plan


class NotTaken(Exception):
    """The append raised and said that nothing was accepted."""


class InDoubt(Exception):
    """The append raised; whether the records are on their way is not known."""


class Sender(Protocol):
    """What a producer does with records."""

    def append(self, records: Sequence[ActivityRecord]) -> Sequence[Receipt]:
        """Append all. Raises NotTaken or InDoubt."""
        ...

    async def aappend(self, record: ActivityRecord) -> Sequence[Receipt]:
        """The same on an event loop."""
        ...

    def flush(self, timeout_s: float) -> bool:
        """Whether everything appended before is with the peer, as far as the sender says."""
        ...

    def close(self) -> None:
        """The end of a process that ends well."""
        ...


class OurSender:
    """An `OTelActivityLogRepo`, with small settings, so that files are begun, finished and dropped all the time."""

    def __init__(self, plan: Plan, origin: str) -> None:
        self._repo = OTelActivityLogRepo(
            plan.url,
            durability=plan.durability,
            spool_dir=plan.spool_dir if plan.spooled else None,
            timeout_s=3.0 if plan.durability == "collector" else 1.0,
            resource=_resource(origin),
        )

    def append(self, records: Sequence[ActivityRecord]) -> Sequence[Receipt]:
        """`append` for one, `append_many` for several."""
        with _told_apart():
            if len(records) == 1:
                return (self._repo.append(records[0]),)
            return self._repo.append_many(records)

    async def aappend(self, record: ActivityRecord) -> Sequence[Receipt]:
        """`aappend`."""
        with _told_apart():
            return (await self._repo.aappend(record),)

    def flush(self, timeout_s: float) -> bool:
        """`flush`."""
        try:
            self._repo.flush(timeout_s)
        except UndeliveredError:
            return False
        return True

    def close(self) -> None:
        """`close`; what it could not deliver it says."""
        try:
            self._repo.close()
        except UndeliveredError as error:
            print(f"closed with {error}", flush=True)


@contextlib.contextmanager
def _told_apart() -> Iterator[None]:
    try:
        yield
    except (BacklogFullError, SpoolUnwritableError) as error:
        raise NotTaken(str(error)) from error
    except DeliveryError as error:
        raise InDoubt(str(error)) from error


class SdkSender:
    """LoggerProvider, BatchLogRecordProcessor and OTLPLogExporter as they come, with the same attributes."""

    def __init__(self, plan: Plan, origin: str) -> None:
        self._provider = LoggerProvider(resource=_resource(origin))
        exporter = OTLPLogExporter(endpoint=f"{plan.url}/v1/logs")
        self._provider.add_log_record_processor(BatchLogRecordProcessor(exporter))
        self._emitter = LoggerProviderEmitter(self._provider)

    def append(self, records: Sequence[ActivityRecord]) -> Sequence[Receipt]:
        """Emit each."""
        for record in records:
            self._emitter.append(record)
        return ()

    async def aappend(self, record: ActivityRecord) -> Sequence[Receipt]:
        """Emit it; that never waits."""
        return self.append((record,))

    def flush(self, timeout_s: float) -> bool:
        """`force_flush`."""
        return self._provider.force_flush(int(timeout_s * 1_000))

    def close(self) -> None:
        """`shutdown`."""
        self._provider.shutdown()


def _resource(origin: str) -> Resource:
    return Resource.create({"service.name": origin})


def make_sender(plan: Plan, origin: str) -> Sender:
    """The sender of the plan, for a process of that name."""
    return OurSender(plan, origin) if plan.sender == "otel-audit" else SdkSender(plan, origin)
