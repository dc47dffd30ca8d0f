"""`otel-audit gaps --settle`: an operator's decision about a stream, asked of the collector or put into its folder."""

from __future__ import annotations

from urllib.parse import urlencode

from otel_audit import bootstrap
from otel_audit.cli.options import Source, data_folder
from otel_audit.cli.output import printable, tell
from otel_audit.cli.running import ask, owner_url
from otel_audit.config import load_settings
from otel_audit.errors import RecordNotFoundError
from otel_audit.model.streams import StreamReport

__all__ = ["settle_stream"]


def settle_stream(report: StreamReport | None, stream_id: str, reason: str, source: Source) -> None:
    """Settle what a report says, and nothing that comes later.

    Raises:
        RecordNotFoundError: there is no such stream here.
    """
    if report is None:
        raise RecordNotFoundError(f"no stream {stream_id!r} here")
    disregarded = None if report.implausible is None else report.implausible[0]
    folder = data_folder(source.data)
    named = source if source.url is not None else Source(url=owner_url(folder))  # headers are for whom they name alone
    url = named.url
    if url is not None:
        values = {"stream_id": stream_id, "upto": report.emitted, "reason": reason}
        if disregarded is not None:
            values["disregarded"] = disregarded
        ask(url, f"/admin/streams/settle?{urlencode(values)}", headers=named.headers, cacert=named.cacert)
    else:
        with bootstrap.open_log(load_settings(data_dir=str(folder))) as log:
            log.decisions.settle_stream(stream_id, report.emitted, disregarded, reason)
    tell(f"settled {printable(stream_id)} up to {report.emitted:,}")
