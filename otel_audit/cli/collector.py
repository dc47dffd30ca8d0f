"""`otel-audit collector`: receive OTLP, keep it, answer reads."""

from __future__ import annotations

import typer

from otel_audit.cli.examples import examples
from otel_audit.cli.flags import with_settings
from otel_audit.config import Settings

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Add the command `collector`."""
    app.command(
        "collector",
        epilog=examples(
            "otel-audit collector",
            "otel-audit collector --data /var/lib/otel-audit --port 14318",
            "otel-audit collector --port 0    # a free port; `otel-audit status` tells which",
        ),
    )(with_settings(_collector, lambda setting: setting.side in ("collector", "reading")))


def _collector(settings: Settings) -> None:
    """Take OTLP/HTTP log records, commit them to Parquet before answering, and serve reads under /v1/audit.

    Stops on SIGTERM or Ctrl-C, when the requests under way are answered. `otel-audit status` tells its address.
    """
    # Here and not at the top: the server takes longer to import than most commands take to run.
    from otel_audit import bootstrap
    from otel_audit.web.serving import serve_reads

    with bootstrap.open_collector(settings, serve_reads=serve_reads) as collector:
        collector.serve()
